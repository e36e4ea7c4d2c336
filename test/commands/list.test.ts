import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CheckpointSummary, ListedCheckpoint } from '../../src/checkpoint/index.js'
import { began, checkpointValue, writeCheckpointFolder, writeValue } from './checkpoints.js'
import { runCommand } from './run-command.js'
import { checkedJson } from './schema.js'
import { matchSnapshot } from './snapshot.js'

interface Listing {
  folder: string
  summary: CheckpointSummary
  checkpoints: ListedCheckpoint[]
}

describe('list', () => {
  let folder: string
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-list-'))
    await writeCheckpointFolder(folder)
  })
  after(() => rmSync(folder, { recursive: true }))

  const list = async (...args: string[]): Promise<Listing> => {
    const { stdout, stderr, status } = await runCommand(['list', folder, '--json', ...args])
    assert.equal(status, 0, stderr)
    return checkedJson('list', stdout) as Listing
  }
  const names = ({ checkpoints }: Listing): string[] => checkpoints.map(({ name }) => name)
  const regular = (epoch: number, phase: number, after: number): string =>
    `regular/checkpoint_epoch_${epoch}_phase_${phase}_${began + after}.pth`

  it('prints a table and a line of counts', async () => {
    const { stdout, stderr, status } = await runCommand(['list', folder, '--recursive'])
    assert.equal(status, 0, stderr)
    assert.equal(stderr, '')
    matchSnapshot('list', stdout, [[folder, '<folder>']])
  })

  it('looks into the folder, regular/, best/ and phases/, and with --recursive everywhere', async () => {
    const near = names(await list('--sort', 'name'))
    assert.deepEqual(near, [
      'best/best_model_epoch_2_phase_1.pth',
      'best/latest_best.pth',
      'latest.pth',
      'notes.pt',
      regular(1, 1, 0),
      regular(2, 1, 60),
      regular(3, 1, 120),
      regular(10, 2, 600),
    ])
    const all = names(await list('--recursive'))
    assert.deepEqual(all.filter((name) => !near.includes(name)).sort(), [
      `backups/backup_${began + 700}_latest.pth`,
      'exports/model.pth',
    ])
  })

  it('tells backups, exports, foreign and damaged files apart', async () => {
    const { checkpoints } = await list('--recursive')
    const of = (name: string): ListedCheckpoint =>
      checkpoints.find((file) => file.name.endsWith(name)) as ListedCheckpoint
    assert.equal(of('backup_1760000700_latest.pth').role, 'backup')
    assert.deepEqual([of('model.pth').role, of('model.pth').kind], ['export', 'inference_export'])
    assert.deepEqual([of('notes.pt').role, of('notes.pt').structure], ['foreign', 'bad'])
    const cut = of(regular(3, 1, 120))
    assert.deepEqual([cut.role, cut.structure], ['checkpoint', 'bad'])
    assert.ok(cut.findings.length > 0)
    const good = of(regular(2, 1, 60))
    assert.deepEqual(
      [good.kind, good.epoch, good.phase, good.validationLoss, good.title, good.tags, good.structure],
      ['training_checkpoint', 2, 1, 0.5, '最初の実験', ['baseline'], 'ok'],
    )
    assert.equal(good.metrics['val_accuracy'], 0.875)
  })

  it('marks every copy of the best, and nothing that is no checkpoint of the run', async () => {
    const { checkpoints } = await list('--recursive')
    const best = checkpoints
      .filter((file) => file.best)
      .map(({ name }) => name)
      .sort()
    assert.deepEqual(best, ['best/best_model_epoch_2_phase_1.pth', 'best/latest_best.pth', regular(2, 1, 60)])
  })

  it('sorts by epoch, loss, size, age, name and any metric, what has no value last, and --reverse', async () => {
    const epochs = (listing: Listing): (number | null)[] => listing.checkpoints.map(({ epoch }) => epoch)
    assert.deepEqual(epochs(await list()), [1, 2, 2, 2, 10, 10, null, null])
    assert.deepEqual(epochs(await list('--reverse')), [10, 10, 2, 2, 2, 1, null, null])
    const losses = (await list('--sort', 'loss')).checkpoints.map(({ validationLoss }) => validationLoss)
    assert.deepEqual(losses, [0.5, 0.5, 0.5, 0.75, 0.75, 2, null, null])
    const accuracies = (await list('--sort', 'val_accuracy', '-r')).checkpoints.map(
      ({ metrics }) => metrics['val_accuracy'],
    )
    assert.deepEqual(accuracies.slice(0, 6), [0.875, 0.875, 0.875, 0.8125, 0.8125, 0.5])
    assert.equal(names(await list('--sort', 'age')).at(0), 'latest.pth')
    const sizes = (await list('--sort', 'size')).checkpoints.map(({ sizeBytes }) => sizeBytes)
    assert.deepEqual(
      sizes,
      [...sizes].sort((a, b) => a - b),
    )
    assert.deepEqual(
      names(await list('--sort', 'name')).slice(4),
      [1, 2, 3, 10].map((epoch) =>
        regular(epoch, epoch === 10 ? 2 : 1, { 1: 0, 2: 60, 3: 120, 10: 600 }[epoch] as number),
      ),
    )
  })

  it('filters by kind, phase, tags and verdict', async () => {
    assert.deepEqual(names(await list('--phase', '2')).sort(), ['latest.pth', regular(10, 2, 600)])
    assert.deepEqual(names(await list('--tag', 'baseline')), [regular(2, 1, 60), regular(10, 2, 600)])
    assert.deepEqual(names(await list('--tag', 'baseline', '--tag', 'long')), [regular(10, 2, 600)])
    assert.deepEqual(names(await list('--invalid')).sort(), ['notes.pt', regular(3, 1, 120)])
    assert.equal(names(await list('--valid')).length, 6)
    assert.deepEqual(names(await list('-R', '--kind', 'inference_export')), ['exports/model.pth'])
  })

  it('sums up: totals, best, newest, oldest, other files; keys of the older system in camelCase', async () => {
    const { stdout } = await runCommand(['list', folder, '-R', '--summary', '--json'])
    const { summary, checkpoints } = checkedJson('list', stdout) as Listing
    assert.equal(checkpoints, undefined)
    assert.deepEqual([summary.totalCheckpoints, summary.validCheckpoints, summary.unreadableCheckpoints], [7, 6, 0])
    assert.equal(summary.invalidCheckpoints + summary.recoverableCheckpoints, 1)
    assert.deepEqual(Object.keys(summary.otherFiles).sort(), ['backup', 'export', 'foreign'])
    assert.equal(summary.bestCheckpoint?.validationLoss, 0.5)
    assert.equal(summary.oldestCheckpoint?.modifiedTime, began)
    assert.equal(summary.newestCheckpoint?.modifiedTime, began + 600)
    const sizes = ['latest.pth', 'best/latest_best.pth'].map((name) => statSync(join(folder, name)).size)
    assert.ok(summary.totalSizeBytes > sizes.reduce((sum, size) => sum + size))
    assert.equal(summary.totalSizeMb, summary.totalSizeBytes / 2 ** 20)
    const { stdout: text } = await runCommand(['list', folder, '-R', '--summary'])
    matchSnapshot('list-summary', text, [[folder, '<folder>']])
  })

  it('says what is wrong with a folder that is not there, and makes none', async () => {
    const missing = join(folder, 'checkpionts')
    const { stdout, status } = await runCommand(['list', missing, '--json'])
    assert.equal(status, 3)
    const { error } = checkedJson('list', stdout) as { error: { code: string; message: string } }
    assert.equal(error.code, 'ERR_CHECKPOINT_MISSING')
    assert.match(error.message, /checkpionts/)
    assert.ok(!existsSync(missing))
  })

  it('knows nothing of an empty folder and changes nothing', async () => {
    const empty = join(folder, 'empty')
    mkdirSync(empty)
    const { stdout, status } = await runCommand(['list', empty])
    assert.deepEqual([status, stdout], [0, `no checkpoints in ${empty}\n`])
    assert.deepEqual(readdirSync(empty), [])
    rmSync(empty, { recursive: true })
  })

  it('names the orders for a word that is none, and ends with 2', async () => {
    const { stdout, status } = await runCommand(['list', folder, '--sort', 'val_acuracy', '--json'])
    assert.equal(status, 2)
    const { error } = checkedJson('list', stdout) as { error: { code: string; message: string; suggestions: string[] } }
    assert.equal(error.code, 'ERR_INVALID_ARGUMENT')
    assert.match(error.message, /--sort val_acuracy: expected one of epoch, loss, size, age, name, .*val_accuracy/)
    assert.deepEqual(error.suggestions, ['--sort val_accuracy'])
  })

  it('says of a file that may not be read that it is unreadable, not bad', async function () {
    if (process.getuid?.() === 0) {
      console.log('      skipped: root may read everything')
      return this.skip()
    }
    const path = await writeValue(
      join(folder, 'locked', 'a.pth'),
      checkpointValue({ epoch: 1, phase: 1, valLoss: 1, timestamp: began }),
    )
    chmodSync(path, 0)
    const { stdout, status } = await runCommand(['list', join(folder, 'locked'), '--json'])
    assert.equal(status, 0)
    const { checkpoints } = checkedJson('list', stdout) as Listing
    assert.deepEqual(
      checkpoints.map(({ structure }) => structure),
      ['unreadable'],
    )
  })

  it('prints no escape sequence that a file holds', async () => {
    const path = join(folder, 'escape')
    await writeValue(
      join(path, 'a.pth'),
      checkpointValue({ epoch: 1, phase: 1, valLoss: 1, timestamp: began, title: '\x1b[2J\x07evil\u202e' }),
    )
    const { stdout } = await runCommand(['list', path])
    assert.match(stdout, /\\x1b\[2J\\x07evil\\x202e/)
    assert.doesNotMatch(stdout, /[\x07\x1b\u202e]/)
    rmSync(path, { recursive: true })
  })
})
