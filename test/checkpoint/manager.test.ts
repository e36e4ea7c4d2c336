import assert from 'node:assert/strict'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { CheckpointManager, type ExportedSummary, type JudgedCheckpoint } from '../../src/checkpoint/index.js'
import type { TorchkeepError } from '../../src/format/index.js'
import { began, checkpointValue, writeCheckpointFolder, writeValue } from '../commands/checkpoints.js'

describe('CheckpointManager', () => {
  let folder: string
  let manager: CheckpointManager
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-manager-'))
    await writeCheckpointFolder(folder)
    manager = new CheckpointManager(folder)
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const cut = `regular/checkpoint_epoch_3_phase_1_${began + 120}.pth`
  const empty = `regular/checkpoint_epoch_4_phase_1_${began + 180}.pth`
  const regular = (epoch: number, phase: number, after: number): string =>
    `regular/checkpoint_epoch_${epoch}_phase_${phase}_${began + after}.pth`
  const names = (files: readonly { path: string }[]): string[] => files.map(({ path }) => relative(folder, path))

  it('looks into checkpoints/ unless told', () => {
    assert.equal(new CheckpointManager().checkpointDir, 'checkpoints')
  })

  it('sorts all checkpoints into valid, recoverable and invalid ones, with their verdicts', async () => {
    writeFileSync(join(folder, empty), '')
    const { valid, invalid, recoverable, unreadable } = await manager.listAllCheckpoints()
    assert.deepEqual(names(valid), [
      'best/best_model_epoch_2_phase_1.pth',
      'best/latest_best.pth',
      'latest.pth',
      regular(10, 2, 600),
      regular(1, 1, 0),
      regular(2, 1, 60),
    ])
    assert.deepEqual([names(recoverable), names(invalid), unreadable], [[cut], [empty], []])
    const ids = ([{ validation } = {} as JudgedCheckpoint]: JudgedCheckpoint[]) => validation.errors.map(({ id }) => id)
    assert.deepEqual(ids(invalid), ['file.empty'])
    assert.deepEqual(ids(recoverable), ['file.truncated'])
  })

  it('calls a file invalid that has nothing left to recover', async () => {
    truncateSync(join(folder, cut), 20)
    const { invalid, recoverable } = await manager.listAllCheckpoints()
    assert.deepEqual([names(invalid), names(recoverable)], [[cut], []])
  })

  it('sums up with the keys of the older system', async () => {
    const summary = await manager.getCheckpointSummary()
    const { totalCheckpoints, validCheckpoints, invalidCheckpoints, recoverableCheckpoints } = summary
    assert.deepEqual([totalCheckpoints, validCheckpoints, invalidCheckpoints, recoverableCheckpoints], [7, 6, 0, 1])
    const sizes = [...names((await manager.listAllCheckpoints()).valid), cut].map(
      (name) => statSync(join(folder, name)).size,
    )
    assert.equal(summary.totalSizeMb, sizes.reduce((sum, size) => sum + size, 0) / 2 ** 20)
    const { size } = statSync(join(folder, regular(1, 1, 0)))
    assert.deepEqual(summary.oldestCheckpoint, {
      path: join(folder, regular(1, 1, 0)),
      sizeBytes: size,
      sizeMb: size / 2 ** 20,
      modifiedTime: began,
      validationLoss: 2,
      epoch: 1,
    })
    assert.equal(summary.newestCheckpoint?.modifiedTime, began + 600)
    assert.equal(summary.bestCheckpoint?.validationLoss, 0.5)
  })

  it('exports the summary as strict JSON, over an older one, whole', async () => {
    await writeValue(
      join(folder, regular(11, 2, 700)),
      checkpointValue({ epoch: 11, phase: 2, valLoss: NaN, timestamp: began + 700 }),
    )
    const path = join(folder, 'summary.json')
    writeFileSync(path, 'older')
    const exported = await manager.exportCheckpointSummary(path)
    const read = JSON.parse(readFileSync(path, 'utf8')) as ExportedSummary
    assert.deepEqual(
      [read.checkpointDir, read.totalCheckpoints, read.summaryGenerated],
      [folder, 8, exported.summaryGenerated],
    )
    assert.deepEqual(names(read.bestCheckpoints), ['best/best_model_epoch_2_phase_1.pth'])
    assert.deepEqual(names(read.regularCheckpoints), [
      regular(11, 2, 700),
      regular(10, 2, 600),
      cut,
      regular(2, 1, 60),
      regular(1, 1, 0),
    ])
    assert.equal(read.regularCheckpoints[0]?.validationLoss, 'NaN')
    assert.equal(exported.regularCheckpoints[0]?.validationLoss, NaN)
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.startsWith('.')),
      [],
    )
    const nowhere = join(folder, 'missing', 'summary.json')
    await assert.rejects(
      manager.exportCheckpointSummary(nowhere),
      (error: TorchkeepError) => error.code === 'ERR_CHECKPOINT_WRITE' && error.message.includes(nowhere),
    )
  })

  it('lists newest first, without the copies under lasting names', async () => {
    const all = await manager.listCheckpoints()
    assert.ok(!names(all).some((name) => /latest(_best)?\.pth$/.test(name)))
    assert.deepEqual(names(await manager.listCheckpoints('best')), ['best/best_model_epoch_2_phase_1.pth'])
    assert.deepEqual(names(await manager.listCheckpoints('regular')), [
      regular(10, 2, 600),
      cut,
      regular(2, 1, 60),
      regular(1, 1, 0),
    ])
    const [newest] = all
    assert.deepEqual(
      [newest?.epoch, newest?.phase, newest?.validationLoss, newest?.isBest, newest?.version],
      [10, 2, 0.75, false, '1.0'],
    )
    rmSync(join(folder, 'best', 'best_model_epoch_2_phase_1.pth'))
    rmSync(join(folder, regular(2, 1, 60)))
    assert.deepEqual(names(await manager.listCheckpoints('best')), ['best/latest_best.pth'], 'not a copy any more')
  })

  it('finds the best one by any metric', async () => {
    const best = join(folder, 'best', 'best_model_epoch_2_phase_1.pth')
    assert.equal(await manager.getBestCheckpointPath(), best)
    assert.equal(await manager.getBestCheckpointPath('val_accuracy'), best)
    rmSync(join(folder, 'best'), { recursive: true })
    rmSync(join(folder, 'regular'), { recursive: true })
    rmSync(join(folder, 'latest.pth'))
    assert.equal(await manager.getBestCheckpointPath(), null)
  })

  it('cleans up what is invalid: shows first, then moves', async () => {
    const dry = await manager.cleanupInvalidCheckpoints()
    assert.deepEqual([dry.removed, existsSync(join(folder, cut))], [[], true])
    const { removed, failedToRemove } = await manager.cleanupInvalidCheckpoints({ confirm: true })
    assert.deepEqual([names(removed.map((path) => ({ path }))), failedToRemove], [[cut], []])
    assert.ok(existsSync(join(folder, 'trash', cut)))
  })

  it('keeps a damaged checkpoint that can be recovered where nothing else is left, and removes one that cannot', async () => {
    for (const name of ['best', 'latest.pth', regular(1, 1, 0), regular(2, 1, 60), regular(10, 2, 600)])
      rmSync(join(folder, name), { recursive: true })
    writeFileSync(join(folder, empty), '')
    const { plan } = await manager.cleanupInvalidCheckpoints()
    const rules = Object.fromEntries(plan.map(({ path, rule }) => [relative(folder, path), rule]))
    assert.deepEqual([rules[cut], rules[empty]], ['last-hope', 'invalid'])
  })

  it('creates nothing by looking', async () => {
    const missing = new CheckpointManager(join(folder, 'missing'))
    const looks = [
      () => missing.listAllCheckpoints(),
      () => missing.getCheckpointSummary(),
      () => missing.listCheckpoints(),
      () => missing.getBestCheckpointPath(),
      () => missing.cleanupInvalidCheckpoints(),
    ]
    for (const look of looks)
      await assert.rejects(look, (error: TorchkeepError) => error.code === 'ERR_CHECKPOINT_MISSING')
    assert.ok(!existsSync(join(folder, 'missing')))
  })
})
