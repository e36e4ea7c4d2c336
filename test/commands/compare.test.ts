import assert from 'node:assert/strict'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Comparison } from '../../src/checkpoint/index.js'
import { type OrderedDict, PyFloat } from '../../src/format/index.js'
import { began, checkpointValue, flipByte, float32, writeCheckpointFolder, writeValue } from './checkpoints.js'
import { runCommand } from './run-command.js'
import { checkedJson } from './schema.js'
import { matchSnapshot } from './snapshot.js'

describe('compare', () => {
  let folder: string
  const at = (name: string): string => join(folder, name)
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-compare-command-'))
    await writeCheckpointFolder(folder)
    const value = checkpointValue({ epoch: 10, phase: 2, valLoss: 0.75, timestamp: began + 700, title: 'renamed' })
    await writeValue(at('renamed.pth'), value)
    const other = checkpointValue({
      epoch: 11,
      phase: 2,
      valLoss: 0.7,
      timestamp: began + 800,
      weight: [0, 1, 2, NaN, Infinity, -5.5],
    })
    const state = other.get('model_state_dict') as OrderedDict
    state.set('first.bias', float32([3], [0.5, -0.5, 1]))
    state.set('third.weight', float32([1], [1]))
    other.set(
      'config',
      new Map<string, unknown>([
        ['hidden', 4],
        ['dropout', 0.1],
        ['seed', 1],
      ]),
    )
    other.set('scheduler_state', new Map([['last_epoch', 11]]))
    await writeValue(at('other.pth'), other)
    await writeValue(
      at('near.pth'),
      checkpointValue({ epoch: 10, phase: 2, valLoss: 0.75, timestamp: began, weight: [0, 1, 2, 3, 4, -5.0001] }),
    )
    await writeValue(at('bare.pth'), state as Map<string, unknown>)
    await writeValue(at('deep.pth'), new Map<string, unknown>([['epoch', new PyFloat(1)]]))
    copyFileSync(at('latest.pth'), at('damaged.pth'))
    flipByte(at('damaged.pth'), new Uint8Array(new Float32Array([0, 1, 2, 3, 4, -5]).buffer))
  })
  after(() => rmSync(folder, { recursive: true }))

  const run = (...args: string[]) => runCommand(['compare', '--checkpoint-dir', folder, ...args])
  const compare = async (status: number, ...args: string[]): Promise<Comparison> => {
    const { stdout, stderr, status: ended } = await run(...args, '--json')
    assert.equal(ended, status, stderr + stdout)
    return checkedJson('compare', stdout) as Comparison
  }
  const failure = async (...args: string[]) => {
    const { stdout, status } = await run(...args, '--json')
    const { error } = checkedJson('compare', stdout) as { error: { code: string; message: string } }
    return { status, ...error }
  }

  it('prints what differs, most changed first', async () => {
    const { stdout, stderr, status } = await run('latest', at('other.pth'))
    assert.deepEqual([status, stderr], [1, ''])
    matchSnapshot('compare', stdout, [[folder, '<folder>']])
    assert.ok(
      stdout.split('\n').every((line) => line.replace(folder, '').length <= 80),
      'fits 80 columns',
    )
  })

  it('prints that nothing differs', async () => {
    const { stdout, stderr, status } = await run('latest', at('renamed.pth'))
    assert.deepEqual([status, stderr], [0, ''])
    matchSnapshot('compare-same', stdout, [[folder, '<folder>']])
  })

  it('lists as much as --top says', async () => {
    const { stdout } = await run('latest', at('other.pth'), '--top', '1')
    matchSnapshot('compare-top', stdout, [[folder, '<folder>']])
  })

  it('ends with 0 for the same, 1 for different, by bits or within a tolerance', async () => {
    assert.equal((await compare(0, 'latest', at('renamed.pth'))).same, true)
    assert.equal((await compare(1, 'latest', at('near.pth'))).model.tensors[0]?.figures?.outside, null)
    const within = await compare(0, 'latest', at('near.pth'), '--rtol', '1e-4')
    assert.deepEqual(within.tolerance, { rtol: 1e-4, atol: 0 })
    assert.deepEqual((await compare(1, 'latest', at('near.pth'), '--atol', '1e-6')).differentParts, ['model'])
    assert.equal((await compare(0, at('other.pth'), at('bare.pth'))).same, true, 'what both have')
  })

  it('gives numbers that JSON does not have as strings', async () => {
    const { model } = await compare(1, at('other.pth'), 'latest')
    const weight = model.tensors.find(({ name }) => name === 'first.weight')
    assert.deepEqual([weight?.figures?.nanOnlyInA, weight?.figures?.infinityMismatches], [1, 1])
    assert.deepEqual(model.tensorsOnlyInA, ['third.weight'])
    const { a } = await compare(1, at('bare.pth'), at('exports/model.pth'))
    assert.equal(a.validationLoss, null)
  })

  it('ends with 3 and the culprit for damaged, missing and incomparable files, with 2 for a tolerance that is none', async () => {
    const damaged = await failure('latest', at('damaged.pth'))
    assert.deepEqual([damaged.status, damaged.code], [3, 'ERR_CHECKPOINT_CORRUPT'])
    assert.match(damaged.message, /damaged\.pth.*data\/0.*CRC-32/)
    const missing = await failure('latest', at('absent.pth'))
    assert.deepEqual([missing.status, missing.code], [3, 'ERR_CHECKPOINT_MISSING'])
    const unlike = await failure(at('deep.pth'), at('bare.pth'))
    assert.deepEqual([unlike.status, unlike.code], [3, 'ERR_CHECKPOINT_INCOMPATIBLE'])
    for (const tolerance of ['x', '', '-1', 'Infinity']) {
      const { status, code } = await failure('latest', 'best', `--rtol=${tolerance}`)
      assert.deepEqual([status, code], [2, 'ERR_INVALID_ARGUMENT'], tolerance)
    }
  })
})
