/** What a saver takes away and when, also where it is killed meanwhile. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs, { copyFileSync, cpSync, existsSync, readdirSync, renameSync, rmSync } from 'node:fs'
import fsPromises from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describeCheckpoint } from '../../src/checkpoint/describe.js'
import { latestBestPath, latestPath } from '../../src/checkpoint/layout.js'
import type { TrainingMetrics } from '../../src/checkpoint/schema.js'
import { type FileOperations, nodeFiles } from '../../src/checkpoint/store.js'
import { tagCheckpoint } from '../../src/checkpoint/tag.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { ModelCheckpoint } from '../../src/training/model-checkpoint.js'
import { atEnd, failing, row, usedFolder } from './saver-fixture.js'

describe('rotation', function () {
  this.timeout(30_000)
  const run = usedFolder()
  const { epochs, names, open, saveEpochs } = run
  let folder: string
  beforeEach(() => (folder = run.folder))

  it('keeps the newest regular files with their sidecars', async () => {
    await saveEpochs(await open({ keepLast: 2 }), [1, 2, 3, 4])
    assert.deepEqual(epochs('regular'), [3, 4])
    assert.deepEqual(
      names('metrics'),
      [1, 3, 4].map((epoch) => `metrics_epoch_${epoch}_phase_1_${1_700_000_000 + epoch}.json`),
      'the first is the best',
    )
    assert.deepEqual(epochs('best'), [1])
  })

  it('keeps all where it is told to', async () => {
    await saveEpochs(
      await open({ keepLast: null, best: [{ monitor: 'val_loss', count: null }] }),
      [9, 8, 7, 6, 5, 4, 3],
    )
    assert.deepEqual([epochs('regular').length, epochs('best').length], [7, 7])
  })

  it('goes on after a restart and in a moved folder, and leaves no files over', async () => {
    const options = { keepLast: 2, best: [{ monitor: 'val_loss', count: 2 }] }
    const history = await saveEpochs(await open(options), [0.9, 0.8, 0.7])
    const moved = `${folder}-moved`
    renameSync(folder, moved)
    cpSync(moved, folder, { recursive: true })
    rmSync(moved, { recursive: true })
    const resumed = await open(options)
    resumed.newestPath = join(folder, 'regular', names('regular').at(-1) as string)
    await saveEpochs(resumed, [0.6, 0.65], { before: history })
    assert.deepEqual(
      [epochs('regular'), epochs('best')],
      [
        [4, 5],
        [4, 5],
      ],
    )
    assert.deepEqual(names('metrics').length, 2)
  })

  it('touches no file of another run, of another program, tagged, linked or unreadable', async () => {
    await saveEpochs(await open({ keepLast: 1 }), [0.1])
    const others = ['checkpoint_epoch_1_phase_1_5.pth', 'notes.pth', 'checkpoint_epoch_1_phase_1_6.pth']
    const [own] = names('regular').map((name) => join(folder, 'regular', name)) as [string]
    copyFileSync(own, join(folder, 'regular', others[1] as string))
    for (const name of [others[0], others[2]])
      copyFileSync(new URL(import.meta.url), join(folder, 'regular', name as string))
    const saver = await open({ keepLast: 1 })
    const history = await saveEpochs(saver, [0.5])
    await tagCheckpoint(saver.newestPath as string, { addTags: ['paper'] })
    const tagged = saver.newestPath as string
    await saveEpochs(saver, [0.6, 0.7], { before: history })
    assert.deepEqual(
      new Set(names('regular')),
      new Set([...others, basename(own), basename(tagged), basename(saver.newestPath as string)]),
    )
  })

  it('keeps the newest although the clock went back', async () => {
    const saver = await open({ keepLast: 2 })
    const history = await saveEpochs(saver, [0.3, 0.3, 0.3])
    const late = atEnd([...history, row({ epoch: 4 })], { timestamp: 1_600_000_000 })
    const { path } = await saver.write(late, { regular: true })
    assert.ok(existsSync(path))
  })

  it('is in the order: all names durable, then the sidecar, then removals', async () => {
    const order: string[] = []
    const note = <Args extends [string, ...string[]]>(what: string, act: (...args: Args) => Promise<void>) => {
      return async (...args: Args): Promise<void> => {
        await act(...args)
        order.push(`${what} ${args.at(-1)?.slice(folder.length)}`)
      }
    }
    const saver = await open({ keepLast: 1 })
    const history = await saveEpochs(saver, [0.3])
    const watched = await open(
      { keepLast: 1 },
      { ...nodeFiles, link: note('link', nodeFiles.link), rename: note('rename', nodeFiles.rename) },
    )
    watched.newestPath = saver.newestPath
    await saveEpochs(watched, [0.4], { before: history })
    assert.deepEqual(
      order.map((line) => line.replace(/\.torchkeep-(removing|tmp).*/, '(hidden)')),
      [
        'link /regular/checkpoint_epoch_2_phase_1_1700000002.pth',
        'link /(hidden)',
        'rename /latest.pth',
        'link /metrics/metrics_epoch_2_phase_1_1700000002.json',
        'rename /regular/(hidden)',
      ],
    )
  })

  it('that fails is a warning, once a file', async () => {
    const files = { ...nodeFiles, rename: failing(nodeFiles.rename, (_from, to) => to.includes('removing')) }
    const saver = await open({ keepLast: 1, saveBest: false }, files)
    const warnings: string[] = []
    const history: TrainingMetrics[] = []
    for (const epoch of [1, 2, 3]) {
      history.push(row({ epoch }))
      warnings.push(
        ...(await saver.write(atEnd([...history]), { regular: true })).warnings.map(({ message }) => message),
      )
    }
    assert.equal(warnings.length, 2)
    assert.match(warnings[0] ?? '', /could not remove .*checkpoint_epoch_1_.*: ENOSPC/)
    assert.deepEqual(epochs('regular'), [1, 2, 3])
  })

  it('takes nothing away where the disk is full', async () => {
    let full = false
    const files = { ...nodeFiles, syncFile: failing(nodeFiles.syncFile, () => full) }
    const saver = await open({ keepLast: 1 }, files)
    const history = await saveEpochs(saver, [0.5])
    const before = readdirSync(folder, { recursive: true }).sort()
    full = true
    await assert.rejects(
      saver.write(atEnd([...history, row({ epoch: 2 })], { isBest: true }), { regular: true }),
      (error: TorchkeepError) => {
        assert.equal(error.code, 'ERR_DISK_FULL')
        assert.match(
          error.message,
          /checkpoint_epoch_2_phase_1_1700000002\.pth: ENOSPC.*what was there before is untouched/,
        )
        return true
      },
    )
    assert.deepEqual(readdirSync(folder, { recursive: true }).sort(), before)
    assert.equal((await describeCheckpoint(latestPath(folder))).epoch, 1)
    assert.match(saver.newestPath as string, /epoch_1_/)
  })

  it('reads a file once while it does not change', async () => {
    const saver = await open({ keepLast: 4, best: [{ monitor: 'val_loss', count: null }] })
    const history = await saveEpochs(saver, [5, 4, 3, 2])
    const opened = await openedWhile(() => saveEpochs(saver, [1], { before: history }))
    const known = opened.filter((path) => /epoch_[1-4]_/.test(path))
    assert.deepEqual(known, [])
    assert.ok(
      opened.some((path) => /epoch_5_/.test(path)),
      'the new one is read',
    )
    assert.deepEqual(epochs('regular'), [2, 3, 4, 5])
  })
  it('stopped at any file operation of a save, leaves whole files and never fewer than before', async () => {
    const operations = ['syncFile', 'rename', 'link', 'syncFolder', 'remove'] as const
    let saves = 0
    for (let left = 0; ; left++) {
      const saver = await open({ keepLast: 2, best: [{ monitor: 'val_loss', count: 1 }] })
      const history = await saveEpochs(saver, [0.5, 0.4, 0.3])
      let until = left
      // What a killed process leaves: from some operation on, nothing happens any more.
      const stopping = Object.fromEntries(
        operations.map((name) => [
          name,
          (...args: [string, string]) => (until-- > 0 ? nodeFiles[name](...args) : new Promise<void>(() => stopped())),
        ]),
      ) as unknown as FileOperations
      let stopped = (): void => {}
      const hasStopped = new Promise<'stopped'>((resolve) => (stopped = () => resolve('stopped')))
      const resumed = new ModelCheckpoint(
        folder,
        { keepLast: 2, best: [{ monitor: 'val_loss', count: 1 }] },
        { files: stopping },
      )
      resumed.newestPath = saver.newestPath
      const checkpoint = atEnd([...history, row({ epoch: 4, valLoss: 0.2 })], { isBest: true })
      const outcome = await Promise.race([resumed.write(checkpoint, { regular: true }), hasStopped])
      const found = [...names('regular'), ...names('best')].filter((name) => name.endsWith('.pth'))
      for (const place of ['regular', 'best'])
        for (const name of names(place).filter((name) => name.endsWith('.pth')))
          assert.equal((await describeCheckpoint(join(folder, place, name))).structure, 'ok', `${left}: ${name}`)
      assert.ok(found.filter((name) => name.startsWith('checkpoint_')).length >= 2, `${left}: ${found.join()}`)
      assert.ok(found.filter((name) => name.startsWith('best_model_')).length >= 1, `${left}: ${found.join()}`)
      for (const path of [latestPath(folder), latestBestPath(folder)])
        assert.equal((await describeCheckpoint(path)).structure, 'ok', `${left}: ${path}`)
      rmSync(folder, { recursive: true })
      if (outcome !== 'stopped') break
      saves++
    }
    assert.ok(saves > 15, `${saves} operations were tried`)
  })

  it('ends the removals of a process that was killed', async () => {
    const program = fileURLToPath(new URL('killed-saver.js', import.meta.url))
    const { signal, stderr } = spawnSync(process.execPath, [program, folder], { encoding: 'utf8' })
    assert.equal(signal, 'SIGKILL', stderr)
    const hidden = (): string[] => readdirSync(join(folder, 'regular')).filter((name) => name.startsWith('.'))
    assert.equal(hidden().length, 1)
    const removing = join(folder, 'regular', hidden()[0] as string)
    const copied = removing.replace(/-\d+-(\d+)-(\d+)$/, '-1-$1-$2')
    copyFileSync(removing, copied)
    await open()
    assert.deepEqual(hidden(), [basename(copied)], 'one that is not the file that was judged stays')
    assert.deepEqual(epochs('regular'), [2, 3])
  })
})

/** The paths of files opened while something happens. */
async function openedWhile(act: () => Promise<unknown>): Promise<string[]> {
  const paths: string[] = []
  const [openSync, openSoon] = [fs.openSync, fsPromises.open]
  fs.openSync = (path, ...rest) => openSync((paths.push(String(path)), path), ...rest)
  fsPromises.open = (path, ...rest) => openSoon((paths.push(String(path)), path), ...rest)
  syncBuiltinESMExports()
  try {
    await act()
  } finally {
    Object.assign(fs, { openSync })
    Object.assign(fsPromises, { open: openSoon })
    syncBuiltinESMExports()
  }
  return paths
}
