/** What an export is made from: which files are taken, which refused, and what is told. Needs no LibTorch. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CheckpointRecovery } from '../../src/checkpoint/recovery.js'
import { openExportSource, type ExportSource } from '../../src/export/model-source.js'
import { OrderedDict, PyFloat } from '../../src/format/index.js'
import { checkpoint, dict, fileOf, float32, stateDict } from '../checkpoint/judged.js'
import { flipped } from '../checkpoint/recovery-fixture.js'
import { withFolder } from '../format/fixtures.js'

/** Opens a value or bytes as a file. */
const open = (value: unknown): Promise<ExportSource> =>
  withFolder(async (folder) => {
    const path = join(folder, 'x.pth')
    await writeFile(path, Buffer.isBuffer(value) ? value : fileOf(value))
    return openExportSource(path)
  })

describe('the source of an export', () => {
  it('is weights as descriptions, the value under the keys of today and the hash of the file', async () => {
    const bytes = fileOf(checkpoint())
    const source = await open(bytes)
    assert.equal(source.fileSha256, createHash('sha256').update(bytes).digest('hex'))
    assert.deepEqual([...source.stateDict.keys()], [...stateDict().keys()])
    assert.equal(source.layout, 'L1')
    assert.equal(source.model, null)
    assert.deepEqual(source.gaps, [
      'The checkpoint holds no recorded model: --model FILE gives one (a module, or a .pt2 of torch.export).',
    ])
    const optimizer = source.normalized.get('optimizer_state_dict') as Map<string, Map<string, unknown>[]>
    assert.ok(optimizer.get('param_groups')?.[0]?.get('weight_decay') instanceof PyFloat, 'floats stay floats')
  })

  it('keeps the versions of a state dict', async () => {
    const weights = stateDict()
    weights.metadata = new OrderedDict([['norm', new Map([['version', 2]])]])
    const source = await open(weights)
    assert.deepEqual([...(source.stateDict.metadata as Map<string, unknown>).keys()], ['norm'])
  })

  it('is refused where a byte of the weights was changed, and told where it was one of the optimizer', async () => {
    await assert.rejects(open(flipped(fileOf(checkpoint()), 1, 2, 3, 1, 2, 3)), {
      code: 'ERR_CHECKPOINT_CORRUPT',
      finding: 'record.crc',
      subject: 'data/0',
      message: /record data\/0: CRC-32 is .*, expected .*: its bytes were changed/,
    })
    const { gaps } = await open(flipped(fileOf(checkpoint()), 0.2, 0.2, 0.2, 0.2, 0.2, 0.2))
    assert.match(gaps[0] ?? '', /^A part that is not exported is damaged: record data\/\d+: CRC-32 is/)
  })

  it('is refused from a later major version, and told of a later minor one', async () => {
    await assert.rejects(open(checkpoint({ version: '4.0' })), { code: 'ERR_CHECKPOINT_NEWER' })
    assert.match(
      (await open(checkpoint({ version: '3.9' }))).gaps.join(),
      /has version 3\.9, later than this Torchkeep/,
    )
  })

  it('is refused where a recovery left damaged values, and told of any other recovery', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'x.pth')
      await writeFile(path, flipped(fileOf(checkpoint()), 1, 2, 3, 1, 2, 3))
      const recover = async (damaged: 'keep' | 'zero'): Promise<string> => {
        const options = { backup: false, damaged }
        const result = await new CheckpointRecovery(folder).attemptRecovery(
          path,
          join(folder, `${damaged}.pth`),
          options,
        )
        return result.recoveredPath ?? assert.fail()
      }
      await assert.rejects(openExportSource(await recover('keep')), {
        code: 'ERR_CHECKPOINT_UNSUPPORTED',
        message: /still holds values known to be changed: model_state_dict\.first\.weight/,
      })
      const { gaps } = await openExportSource(await recover('zero'))
      assert.match(gaps.join(), /was recovered from a damaged file; what was done to it: .*first\.weight/)
    }))

  it('tells values of the model that are not finite, and no others', async () => {
    const nan = float32([3], 1, NaN)
    const ema = stateDict({ 'first.bias': float32([3], NaN) })
    const { gaps } = await open(
      checkpoint({ model_state_dict: stateDict({ 'last.weight': nan }), ema_state_dict: ema }),
    )
    const told = gaps.filter((gap) => gap.includes('NaN'))
    assert.equal(told.length, 1)
    assert.match(told[0] ?? '', /parameter last\.weight, float32 \[3\]: 1 NaN of 3 values/)
  })

  it('names what is no tensor, and files without weights', async () => {
    const extra = await open(stateDict({ 'first._extra_state': 'x' }))
    assert.match(extra.gaps.join(), /'first\._extra_state' of the state dict is no tensor/)
    assert.equal(extra.stateDict.has('first._extra_state'), false)
    await assert.rejects(open(checkpoint({ model_state_dict: stateDict({ scale: 2 }) })), {
      code: 'ERR_CHECKPOINT_UNSUPPORTED',
      message: /'scale' of its state dict is no tensor/,
    })
    await assert.rejects(open(dict({ epoch: 1 })), {
      code: 'ERR_CHECKPOINT_UNSUPPORTED',
      message: /\(other\) holds no weights by name/,
    })
  })

  it('ends when told', async () => {
    await withFolder(async (folder) => {
      const path = join(folder, 'x.pth')
      await writeFile(path, fileOf(checkpoint()))
      await assert.rejects(openExportSource(path, { signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' })
    })
  })
})
