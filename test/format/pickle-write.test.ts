import assert from 'node:assert/strict'
import { OpaqueObject } from '../../src/format/index.js'
import { writePickle } from '../../src/format/pickle-write.js'

describe('writing pickles', () => {
  it('names classes beyond Latin in UTF-8, as Python reads them', () => {
    const object = new OpaqueObject('модель.Слой', [], null, 'new')
    const bytes = Buffer.from(writePickle(object, () => 'unknown', 'keep'))
    assert.ok(bytes.includes(Buffer.from('cмодель\nСлой\n')))
  })
})
