/** Properties of the pickle writer and reader over arbitrary values and arbitrary damage. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { TorchkeepError } from '../../src/format/index.js'
import { readPickle } from '../../src/format/pickle.js'
import { findPickleEnd } from '../../src/format/pickle-scan.js'
import { writePickle } from '../../src/format/pickle-write.js'
import { anyValue, weightsOnlyValue } from './pickle-arbitrary.js'

function read(bytes: Uint8Array) {
  const findings: { id: string }[] = []
  const options = { label: 'pickle', keepFloats: true, globals: new Set<string>(), findings: findings as never }
  const content = readPickle(Buffer.from(bytes), {
    ...options,
    persistentLoad: (_, reader) => reader.fail('no storages'),
  })
  return { ...content, findings }
}

const write = (value: unknown, foreign: 'refuse' | 'keep') => writePickle(value, () => 'unknown', foreign)

describe('format: properties of pickles', function () {
  this.timeout(60_000)

  it('reads what it wrote, and weights_only would too', () => {
    fc.assert(
      fc.property(weightsOnlyValue, (value) => {
        const bytes = write(value, 'refuse')
        const content = read(bytes)
        assert.deepEqual(content.value, value)
        assert.deepEqual(content.findings, [])
        assert.equal(findPickleEnd(Buffer.from(bytes)), bytes.length)
      }),
      { numRuns: 500 },
    )
  })

  it('reads what it wrote of values that weights_only refuses', () => {
    fc.assert(
      fc.property(anyValue, (value) => assert.deepEqual(read(write(value, 'keep')).value, value)),
      { numRuns: 500 },
    )
  })

  it('writes what it read, byte for byte', () => {
    fc.assert(
      fc.property(anyValue, (value) => {
        const bytes = write(value, 'keep')
        assert.deepEqual(write(read(bytes).value, 'keep'), bytes)
      }),
      { numRuns: 200 },
    )
  })

  it('reads or refuses whatever was changed in a pickle, and raises nothing else', () => {
    const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(anyValue, damage, fc.nat(), (value, changes, cut) => {
        const bytes = write(value, 'keep')
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte
        for (const part of [bytes, bytes.subarray(0, cut % bytes.length)]) readOrRefuse(part)
      }),
      { numRuns: 1000 },
    )
  })

  it('reads or refuses any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => readOrRefuse(bytes)),
      { numRuns: 1000 },
    )
  })
})

function readOrRefuse(bytes: Uint8Array): void {
  try {
    read(bytes)
  } catch (error) {
    assert(error instanceof TorchkeepError, String(error))
    assert(error.finding !== null && error.code.startsWith('ERR_CHECKPOINT_'), error.message)
  }
}
