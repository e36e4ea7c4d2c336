/** Arbitrary values, written by us, read by Python, written by Python in every protocol, read by us: the same values. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { readPickle } from '../../src/format/pickle.js'
import { writePickle } from '../../src/format/pickle-write.js'
import { anyValue, weightsOnlyValue } from '../format/pickle-arbitrary.js'
import { needPython, runPython } from '../python.js'

const read = (bytes: Buffer): unknown =>
  readPickle(bytes, {
    label: 'pickle',
    keepFloats: true,
    globals: new Set(),
    findings: [],
    persistentLoad: (_, reader) => reader.fail('no storages'),
  }).value

describe('format: arbitrary values through Python', function () {
  this.timeout(120_000)
  let folder = ''

  before(async function () {
    needPython(this)
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-properties-'))
  })

  after(async () => {
    if (folder !== '') await rm(folder, { recursive: true })
  })

  it('come back equal, 300 at once', async () => {
    const safe = fc.sample(weightsOnlyValue, 150)
    const values = [...safe, ...fc.sample(anyValue, 150)]
    const pickles = values.map((value, index) =>
      writePickle(value, () => 'unknown', index < safe.length ? 'refuse' : 'keep'),
    )
    await writeFile(
      join(folder, 'in.json'),
      JSON.stringify(pickles.map((bytes) => Buffer.from(bytes).toString('base64'))),
    )
    const stdout = await runPython(`import base64, pickle, io, argparse
from torch._weights_only_unpickler import Unpickler
out = []
for i, text in enumerate(json.load(open('${folder}/in.json'))):
    bytes = base64.b64decode(text)
    value = pickle.loads(bytes)
    if i < ${safe.length}: assert repr(Unpickler(io.BytesIO(bytes), encoding='utf-8').load()) == repr(value)
    out.append([base64.b64encode(pickle.dumps(value, p)).decode() for p in range(6)])
print(json.dumps(out))`)
    const again = JSON.parse(stdout) as string[][]
    for (const [index, value] of values.entries()) {
      for (const [protocol, base64] of (again[index] ?? []).entries())
        assert.deepEqual(read(Buffer.from(base64, 'base64')), value, `value ${index}, protocol ${protocol}`)
    }
    assert.equal(again.length, values.length)
  })
})
