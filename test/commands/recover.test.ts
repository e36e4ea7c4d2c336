import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RecoverableCheckpoint, RecoveryResult } from '../../src/checkpoint/index.js'
import { readTorchFile } from '../../src/format/index.js'
import { checkpoint, fileOf, float32, stateDict } from '../checkpoint/judged.js'
import { runCommand, type CommandResult } from './run-command.js'
import { checkedJson } from './schema.js'
import { matchSnapshot } from './snapshot.js'

describe('recover', () => {
  let folder: string
  const at = (...names: string[]): string => join(folder, ...names)
  const whole = fileOf(checkpoint())
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-recover-'))
    for (const name of ['run/best', 'run/backups']) mkdirSync(at(name), { recursive: true })
    writeFileSync(at('run/latest.pth'), whole.subarray(0, whole.indexOf('data/14FB') - 48))
    writeFileSync(at('run/best/latest_best.pth'), whole)
    const state = stateDict({ 'last.weight': float32([1, 3], NaN, 1, Infinity) })
    writeFileSync(
      at('run/checkpoint_epoch_2_phase_1_1760000002.pth'),
      fileOf(checkpoint({ model_state_dict: state, version: undefined, epoch: undefined })),
    )
    writeFileSync(at('run/nothing.pth'), 'a text')
    writeFileSync(at('run/backups/backup_1_x.pth'), 'broken')
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const recover = (...args: string[]): Promise<CommandResult> =>
    runCommand(['recover', ...args, '--checkpoint-dir', at('run')])
  const json = async (...args: string[]): Promise<{ status: number | null; result: RecoveryResult }> => {
    const { status, stdout } = await recover(...args, '--json')
    return { status, result: checkedJson('recover', stdout) as RecoveryResult }
  }

  it('prints what was saved, lost, repaired and filled', async () => {
    const cut = await recover('latest')
    assert.equal(cut.stderr, '')
    assert.equal(cut.status, 0)
    matchSnapshot('recover-cut', cut.stdout, [[folder, '<folder>']])
    const odd = await recover(at('run/checkpoint_epoch_2_phase_1_1760000002.pth'), '--no-backup')
    assert.equal(odd.status, 0)
    matchSnapshot('recover-values', odd.stdout, [[folder, '<folder>']])
    assert.equal(readdirSync(at('run/backups')).length, 2)
  })

  it('writes beside the damaged file, after a backup, and never over a file', async () => {
    const before = readFileSync(at('run/latest.pth'))
    const { status, result } = await json('latest')
    assert.equal(status, 0)
    assert.equal(result.recoveredPath, at('run/recovered_latest.pth'))
    assert.deepEqual(readFileSync(result.backupPath ?? ''), before)
    assert.deepEqual(readFileSync(at('run/latest.pth')), before)
    const again = await recover('latest', '--json')
    assert.equal(again.status, 2)
    const { error } = checkedJson('recover', again.stdout) as { error: { code: string; message: string } }
    assert.equal(error.code, 'ERR_INVALID_ARGUMENT')
    assert.ok(error.message.includes('recovered_latest.pth'))
    assert.equal((await recover('latest', '-o', at('run/latest.pth'))).status, 2)
    assert.deepEqual(readFileSync(at('run/latest.pth')), before)
    assert.equal((await recover('latest', '-o', at('mended.pth'), '--no-backup')).status, 0)
    assert.equal((await recover(at('mended.pth'))).status, 0)
  })

  it('takes policies and a donor', async () => {
    const broken = Buffer.from(whole)
    broken.fill(0, 0, 900)
    writeFileSync(at('run/headless.pth'), broken)
    const named = await json(at('run/headless.pth'), '--like', 'best', '--no-backup')
    assert.equal(named.status, 0)
    const value = (await readTorchFile(named.result.recoveredPath ?? '')).value as Map<string, Map<string, unknown>>
    assert.deepEqual([...(value.get('model_state_dict')?.keys() ?? [])], [...stateDict().keys()])
    const odd = at('run/checkpoint_epoch_2_phase_1_1760000002.pth')
    const mean = await json(odd, '--nonfinite', 'mean', '--no-backup')
    assert.ok(mean.result.repaired.includes('last.weight: 1 NaN and 1 infinite of 3 values replaced with the mean 1'))
    assert.equal((await recover(odd, '--nonfinite', 'donor', '-o', at('a.pth'))).status, 2)
    assert.equal((await recover(odd, '--nonfinite', 'median')).status, 2)
  })

  it('ends with 1 where nothing could be saved, 3 where there is no file, 0 where nothing had to be done', async () => {
    const nothing = await json(at('run/nothing.pth'))
    assert.equal(nothing.status, 1)
    assert.match(nothing.result.remainingIssues[0] ?? '', /^Recovery failed: /)
    assert.ok(!existsSync(at('run/recovered_nothing.pth')))
    assert.equal((await recover(at('none.pth'))).status, 3)
    assert.equal((await recover('best')).status, 0)
    assert.ok(!existsSync(at('run/best/recovered_latest_best.pth')))
    assert.equal((await recover()).status, 2)
  })

  it('lists what is damaged in a folder and how well it could be recovered', async () => {
    const { status, stdout } = await recover('--scan', at('run'))
    assert.equal(status, 0)
    matchSnapshot('recover-scan', stdout, [[folder, '<folder>']])
    const result = checkedJson('recover', (await recover('--scan', at('run'), '--json')).stdout)
    const { checkpoints } = result as { checkpoints: RecoverableCheckpoint[] }
    assert.deepEqual(
      checkpoints.map(({ name, potential }) => [name, potential]),
      [
        ['checkpoint_epoch_2_phase_1_1760000002.pth', 'high'],
        ['latest.pth', 'medium'],
        ['nothing.pth', 'none'],
      ],
    )
    assert.deepEqual(readdirSync(at('run/backups')), ['backup_1_x.pth'])
    assert.equal((await recover(at('run/latest.pth'), '--scan', at('run'))).status, 2)
    assert.equal((await recover('--scan', at('none'))).status, 3)
  })
})
