/** `cleanup`, `best` and `history` as processes of their own. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BestCheckpoint, CleanupResult, RunHistory } from '../../src/checkpoint/index.js'
import { PyFloat } from '../../src/format/index.js'
import { began, checkpointValue, writeCheckpointFolder, writeValue } from './checkpoints.js'
import { type CommandResult, runCommand } from './run-command.js'
import { checkedJson } from './schema.js'
import { matchSnapshot } from './snapshot.js'

describe('commands that manage a folder', () => {
  let folder: string
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-manage-'))
    await writeCheckpointFolder(folder)
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const files = (): string[] => (readdirSync(folder, { recursive: true }) as string[]).sort()
  const cut = `regular/checkpoint_epoch_3_phase_1_${began + 120}.pth`
  /** Runs a command that should end with `status`; its output goes to a snapshot where a name is given. */
  async function ends(status: number, args: string[], snapshot?: string): Promise<CommandResult> {
    const result = await runCommand(args)
    assert.equal(result.status, status, result.stderr)
    if (snapshot !== undefined) matchSnapshot(snapshot, result.stdout + result.stderr, [[folder, '<folder>']])
    return result
  }
  async function failure(
    command: string,
    args: string[],
  ): Promise<{ code: string; message: string; status: number | null }> {
    const { status, stdout } = await runCommand([command, ...args, '--json'])
    return { ...(checkedJson(command, stdout) as { error: { code: string; message: string } }).error, status }
  }

  describe('cleanup', () => {
    const cleanup = async (...args: string[]): Promise<CleanupResult> => {
      const { stdout } = await ends(0, ['cleanup', folder, '--json', ...args])
      return checkedJson('cleanup', stdout) as CleanupResult
    }

    it('says for each file why it stays or goes, and at last what to add', async () => {
      const before = files()
      await ends(0, ['cleanup', folder], 'cleanup')
      await ends(0, ['cleanup', folder, '--keep-best', '1', '--keep-last', '1', '--invalid'], 'cleanup-keep')
      assert.deepEqual(files(), before)
    })

    it('repeats the command line in a form that a shell takes', async () => {
      const path = join(folder, "it's a run")
      await writeValue(
        join(path, 'checkpoint_epoch_1.pth'),
        checkpointValue({ epoch: 1, phase: 1, valLoss: 1, timestamp: began }),
      )
      await writeValue(
        join(path, 'checkpoint_epoch_2.pth'),
        checkpointValue({ epoch: 2, phase: 1, valLoss: 1, timestamp: began + 1 }),
      )
      const { stdout } = await ends(0, ['cleanup', path, '--keep-last=1'])
      const shellQuoted = `'${path.replaceAll("'", "'\\''")}'`
      assert.equal(
        stdout.trimEnd().split('\n').at(-1),
        `to do it: torchkeep cleanup ${shellQuoted} --keep-last=1 --confirm`,
      )
    })

    it('moves with --confirm, deletes with --delete too', async () => {
      await ends(0, ['cleanup', folder, '--confirm'], 'cleanup-confirm')
      assert.ok(existsSync(join(folder, 'trash', cut)) && !existsSync(join(folder, cut)))
      await ends(0, ['cleanup', folder, '--keep-last', '1', '--delete', '--confirm'], 'cleanup-delete')
      assert.deepEqual(
        files().filter((name) => name.endsWith('.pth') && !name.startsWith('trash')),
        [
          `backups/backup_${began + 700}_latest.pth`,
          'best/latest_best.pth',
          'exports/model.pth',
          'latest.pth',
          `regular/checkpoint_epoch_10_phase_2_${began + 600}.pth`,
        ],
      )
      await ends(0, ['cleanup', folder], 'cleanup-nothing')
    })

    it('gives the plan and what became of it as JSON', async () => {
      const plan = await cleanup()
      assert.deepEqual([plan.confirmed, plan.removed, plan.trash], [false, [], {}])
      const goes = plan.plan.filter(({ keep }) => !keep)
      assert.deepEqual(
        goes.map(({ path, rule }) => [path, rule]),
        [[join(folder, cut), 'invalid']],
      )
      const done = await cleanup('--confirm')
      assert.deepEqual([done.confirmed, done.removed], [true, [join(folder, cut)]])
      assert.deepEqual(done.trash, { [join(folder, cut)]: join(folder, 'trash', cut) })
    })

    it('ends with 1 and says what could not be removed', async () => {
      // A file in the place of the trash folder: root may write into folders without permission, but not into a file as if it were one.
      writeFileSync(join(folder, 'trash'), '')
      const { stdout, status } = await runCommand(['cleanup', folder, '--confirm', '--json'])
      assert.equal(status, 1)
      const { removed, failedToRemove } = checkedJson('cleanup', stdout) as CleanupResult
      assert.deepEqual([removed, failedToRemove.map(({ path }) => path)], [[], [join(folder, cut)]])
      assert.ok(existsSync(join(folder, cut)))
      const text = await runCommand(['cleanup', folder, '--confirm'])
      assert.equal(text.status, 1)
      assert.match(text.stdout, /not removed: .*EEXIST|not removed: .*ENOTDIR/)
    })

    it('ends with 2 for wrong usage, with 3 where there is no folder', async () => {
      for (const args of [
        ['--keep-best', '0'],
        ['--keep-last', 'x'],
        ['--metric', 'val_loss'],
        ['--mode', 'min'],
        ['--keep-best', '1', '--mode', 'up'],
      ])
        await ends(2, ['cleanup', folder, ...args])
      const unknown = await failure('cleanup', [folder, '--keep-best', '1', '--metric', 'auc'])
      assert.deepEqual([unknown.status, unknown.code], [2, 'ERR_INVALID_ARGUMENT'])
      assert.match(unknown.message, /there are: train_loss, val_accuracy, val_loss/)
      const missing = await failure('cleanup', [join(folder, 'missing')])
      assert.deepEqual([missing.status, missing.code], [3, 'ERR_CHECKPOINT_MISSING'])
      assert.ok(!existsSync(join(folder, 'missing')))
    })
  })

  describe('best', () => {
    it('prints the path and nothing else', async () => {
      const { stdout, stderr } = await ends(0, ['best', folder])
      assert.deepEqual([stdout, stderr], [`${join(folder, 'best', 'best_model_epoch_2_phase_1.pth')}\n`, ''])
      const worst = await ends(0, ['best', folder, '--metric', 'val_accuracy', '--mode', 'min'])
      assert.equal(worst.stdout, `${join(folder, 'regular', `checkpoint_epoch_1_phase_1_${began}.pth`)}\n`)
    })

    it('gives metric, direction and value as JSON', async () => {
      const { stdout } = await ends(0, ['best', folder, '--metric', 'val_accuracy', '--json'])
      const { best } = checkedJson('best', stdout) as { best: BestCheckpoint }
      assert.deepEqual([best.metric, best.mode, best.value, best.epoch], ['val_accuracy', 'max', 0.875, 2])
    })

    it('ends with 1 and prints nothing where there is none', async () => {
      const { stdout, stderr } = await ends(1, ['best', join(folder, 'exports')])
      assert.equal(stdout, '')
      assert.match(stderr, /no training checkpoint in .*exports has a val_loss/)
      const json = await ends(1, ['best', join(folder, 'exports'), '--json'])
      assert.equal((checkedJson('best', json.stdout) as { best: null }).best, null)
    })

    it('ends with 2 for a metric that no checkpoint has, with 3 where there is no folder', async () => {
      const unknown = await failure('best', [folder, '--metric', 'auc'])
      assert.deepEqual([unknown.status, unknown.code], [2, 'ERR_INVALID_ARGUMENT'])
      assert.match(unknown.message, /there are: train_loss, val_accuracy, val_loss/)
      assert.equal((await failure('best', [join(folder, 'missing')])).status, 3)
    })
  })

  describe('history', () => {
    /** A run of eight epochs in two phases. */
    async function writeRun(name: string, factor: number): Promise<string> {
      const rows = Array.from({ length: 8 }, (_none, index) => {
        const loss = factor / (index + 1)
        const values = { train_loss: loss, val_loss: index === 5 ? NaN : loss + 0.1, val_accuracy: 1 - loss / 4 }
        return new Map<string, unknown>([
          ['epoch', index + 1],
          ['phase', index < 5 ? 1 : 2],
          ...Object.entries(values).map(([key, value]) => [key, new PyFloat(value)] as const),
        ])
      })
      const value = checkpointValue({ epoch: 8, phase: 2, valLoss: 1, timestamp: began })
      const path = join(folder, name, 'latest.pth')
      await writeValue(path, value.set('training_state', new Map([['metrics_history', rows]])))
      return join(folder, name)
    }

    it('draws the losses of one run with the border of its phases', async () => {
      await ends(0, ['history', await writeRun('a', 2)], 'history')
    })

    it('draws several runs over each other, one chart a metric, with marks that tell them apart', async () => {
      const [a, b] = [await writeRun('a', 2), await writeRun('b', 1.5)]
      await ends(0, ['history', a, b, '--metric', 'val_loss', '--metric', 'val_accuracy'], 'history-runs')
    })

    it('writes CSV that RFC 4180 has: CRLF, quotes, empty cells, NaN as text', async () => {
      const a = await writeRun('a, "b"', 2)
      await writeValue(join(folder, 'c.pth'), checkpointValue({ epoch: 2, phase: 1, valLoss: 0.5, timestamp: began }))
      const { stdout } = await ends(0, [
        'history',
        a,
        join(folder, 'c.pth'),
        '--csv',
        '--metric',
        'val_loss',
        '--metric',
        'train_loss',
      ])
      const lines = stdout.split('\r\n')
      assert.equal(stdout.includes('\n\n'), false)
      assert.deepEqual(lines.slice(0, 2), ['run,run_epoch,epoch,phase,val_loss,train_loss', '"a, ""b""",1,1,1,2.1,2'])
      assert.deepEqual(lines.slice(6, 7), ['"a, ""b""",6,6,2,NaN,0.3333333333333333'])
      assert.deepEqual(lines.slice(-3), ['c.pth,1,1,1,1.5,0.75', 'c.pth,2,2,1,0.5,0.75', ''])
      const all = await ends(0, ['history', join(folder, 'c.pth'), '--csv'])
      assert.equal(all.stdout.split('\r\n')[0], 'run,run_epoch,epoch,phase,train_loss,val_loss,val_accuracy')
    })

    it('takes latest and best of the checkpoint folder', async () => {
      const { stdout } = await ends(0, ['history', 'latest', 'best', '--checkpoint-dir', folder, '--json'])
      const { runs } = checkedJson('history', stdout) as { runs: RunHistory[] }
      assert.deepEqual(
        runs.map(({ path }) => path),
        [join(folder, 'latest.pth'), join(folder, 'best', 'latest_best.pth')],
      )
      assert.deepEqual(runs[0]?.rows[1], {
        runEpoch: 10,
        epoch: 10,
        phase: 2,
        metrics: { train_loss: 1, val_loss: 0.75, val_accuracy: 0.8125 },
      })
    })

    it('gives rows as strict JSON', async () => {
      const { stdout } = await ends(0, ['history', await writeRun('a', 2), '--json'])
      const { runs } = checkedJson('history', stdout) as { runs: RunHistory[] }
      assert.deepEqual(runs[0]?.rows[5]?.metrics['val_loss'], 'NaN')
      assert.deepEqual(runs[0]?.phaseBorders, [{ phase: 2, runEpoch: 6 }])
    })

    it('ends with 2 for a metric that no run has or without a run, with 3 where nothing is', async () => {
      const unknown = await failure('history', [folder, '--metric', 'auc'])
      assert.deepEqual([unknown.status, unknown.code], [2, 'ERR_INVALID_ARGUMENT'])
      assert.match(unknown.message, /no run has a metric 'auc'; there are: train_loss, val_accuracy, val_loss/)
      await ends(2, ['history'])
      assert.equal((await failure('history', [join(folder, 'missing.pth')])).status, 3)
      const none = await failure('history', [join(folder, 'exports')])
      assert.deepEqual([none.status, none.code], [3, 'ERR_CHECKPOINT_MISSING'])
    })

    it('writes nothing', async () => {
      const before = files().map((name) => [name, existsSync(join(folder, name))])
      await ends(0, ['history', folder])
      assert.deepEqual(
        files().map((name) => [name, existsSync(join(folder, name))]),
        before,
      )
      assert.ok(readFileSync(join(folder, 'notes.pt')).length > 0)
    })
  })
})
