/** `docs/format.md` names every container, dtype and opcode as the code has them; its table of writers and readers is checked in `test/interop/writers-readers.test.ts`. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { dtypes, readTorchFile } from '../../src/format/index.js'
import { opcode } from '../../src/format/opcodes.js'
import { torchFile, withFile } from '../format/fixtures.js'

const text = readFileSync(new URL('../../../docs/format.md', import.meta.url), 'utf8')
const listed = (name: string): string[] => {
  const part = new RegExp(`<!-- ${name} -->([^]*?)<!-- end -->`).exec(text)?.[1] ?? ''
  return [...part.matchAll(/`([^`]+)`/g)].map(([, item]) => item ?? '')
}

describe('docs/format.md', () => {
  it('lists the dtypes that tensors can have', () => assert.deepEqual(listed('dtypes'), Object.keys(dtypes)))

  it('lists the opcodes that are refused', async () => {
    const refused: string[] = []
    for (const [name, code] of Object.entries(opcode)) {
      const pickle = Buffer.from([0x80, 4, code, ...Buffer.alloc(9), 0x2e])
      const found = await withFile(torchFile(pickle), (path) =>
        readTorchFile(path).then(
          () => null,
          (error: { finding: string; subject: string | null }) =>
            error.finding === 'pickle.unsupported' ? error.subject : null,
        ),
      )
      if (found === name) refused.push(name)
    }
    assert.deepEqual(refused, listed('refused opcodes'))
  })
})
