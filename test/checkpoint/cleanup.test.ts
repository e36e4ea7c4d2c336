/** Carrying out a plan: what goes, where it goes, and that nothing is lost whatever fails. */
import assert from 'node:assert/strict'
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { type CleanupOptions, type CleanupResult, cleanCheckpoints } from '../../src/checkpoint/cleanup.js'
import { type FileOperations, nodeFiles } from '../../src/checkpoint/store.js'
import type { TorchkeepError } from '../../src/format/index.js'
import { began, checkpointValue, writeCheckpointFolder, writeValue } from '../commands/checkpoints.js'

describe('cleanCheckpoints', () => {
  let folder: string
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-cleanup-'))
    await writeCheckpointFolder(folder)
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const cut = `regular/checkpoint_epoch_3_phase_1_${began + 120}.pth`
  const first = `regular/checkpoint_epoch_1_phase_1_${began}.pth`
  const second = `regular/checkpoint_epoch_2_phase_1_${began + 60}.pth`

  /** All files of the folder with their bytes. */
  const contents = (): Record<string, string> =>
    Object.fromEntries(
      (readdirSync(folder, { recursive: true }) as string[])
        .filter((name) => statSync(join(folder, name)).isFile())
        .map((name) => [name, readFileSync(join(folder, name), 'latin1')]),
    )
  const invalid = (options: CleanupOptions = {}): Promise<CleanupResult> =>
    cleanCheckpoints(folder, { invalid: true }, options)
  const going = ({ plan }: CleanupResult): string[] =>
    plan.filter(({ keep }) => !keep).map(({ path }) => relative(folder, path))

  it('changes nothing without confirmation, and says what would go', async () => {
    const before = contents()
    const result = await invalid()
    assert.deepEqual(contents(), before)
    assert.deepEqual(going(result), [cut])
    assert.deepEqual(
      [result.confirmed, result.removed, result.failedToRemove, result.totalSpaceFreedMb],
      [false, [], [], 0],
    )
    assert.equal(result.plannedSpaceMb, (before[cut]?.length ?? 0) / 2 ** 20)
    assert.equal(result.plan.length, 10)
  })

  it('moves into trash/ under the same path, bytes as they were', async () => {
    const before = contents()
    const result = await invalid({ confirm: true })
    const after = contents()
    assert.equal(after[join('trash', cut)], before[cut])
    assert.deepEqual(
      { ...after, [cut]: before[cut], [join('trash', cut)]: undefined },
      { ...before, [join('trash', cut)]: undefined },
    )
    assert.deepEqual(result.removed, [join(folder, cut)])
    assert.deepEqual(result.trash, { [join(folder, cut)]: join(folder, 'trash', cut) })
    assert.equal(result.totalSpaceFreedMb, 0)
    assert.deepEqual(going(await invalid()), [], 'what lies in the trash is not looked at again')
  })

  it('never writes over what is in the trash already', async () => {
    mkdirSync(join(folder, 'trash', 'regular'), { recursive: true })
    writeFileSync(join(folder, 'trash', cut), 'older')
    const before = contents()
    const { trash } = await invalid({ confirm: true })
    const place = join(folder, 'trash', cut.replace('.pth', '-2.pth'))
    assert.deepEqual(Object.values(trash), [place])
    assert.equal(readFileSync(place, 'latin1'), before[cut])
    assert.equal(readFileSync(join(folder, 'trash', cut), 'latin1'), 'older')
  })

  it('deletes when told, and counts the space', async () => {
    const { size } = statSync(join(folder, cut))
    const result = await invalid({ confirm: true, delete: true })
    assert.ok(!existsSync(join(folder, cut)) && !existsSync(join(folder, 'trash')))
    assert.deepEqual([result.removed, result.trash], [[join(folder, cut)], {}])
    assert.equal(result.totalSpaceFreedMb, size / 2 ** 20)
  })

  it('counts no space for a name whose content has another one elsewhere', async () => {
    linkSync(join(folder, cut), join(folder, 'kept-elsewhere'))
    const result = await invalid({ confirm: true, delete: true })
    assert.deepEqual(result.removed, [join(folder, cut)])
    assert.equal(result.totalSpaceFreedMb, 0)
  })

  it('leaves sidecars outside the folder alone: they may be of checkpoints that were not looked at', async () => {
    const sidecar = join(folder, 'metrics', `metrics_epoch_1_phase_1_${began}.json`)
    mkdirSync(join(folder, 'metrics'), { recursive: true })
    writeFileSync(sidecar, '{}')
    const inside = join(folder, 'regular')
    const result = await cleanCheckpoints(inside, { keepLast: 1 }, { confirm: true })
    assert.ok(result.removed.includes(join(folder, first)))
    assert.ok(existsSync(sidecar))
    for (const place of Object.values(result.trash)) assert.ok(place.startsWith(join(inside, 'trash')), place)
  })

  it('takes the sidecars along, but for those of a checkpoint that stays', async () => {
    const sidecars = [
      `metrics/metrics_epoch_1_phase_1_${began}.json`,
      `regular/${first.slice(8, -4)}.json`,
      `${first}.config.json`,
    ]
    const shared = `metrics/metrics_epoch_2_phase_1_${began + 60}.json`
    mkdirSync(join(folder, 'metrics'))
    for (const name of [...sidecars, shared]) writeFileSync(join(folder, name), '{}')
    rmSync(join(folder, 'best', 'latest_best.pth'))
    const result = await cleanCheckpoints(folder, { keepLast: 2 }, { confirm: true })
    assert.deepEqual(going(result), [first])
    assert.deepEqual(result.removed.map((path) => relative(folder, path)).sort(), [first, ...sidecars].sort())
    for (const name of sidecars) assert.ok(existsSync(join(folder, 'trash', name)), name)
    assert.ok(existsSync(join(folder, shared)))
  })

  it('keeps the best of what is whole: damage that only the bytes show counts', async () => {
    // Written over in the last tensor, so that only a look at every byte finds it.
    const best = [
      join(folder, second),
      join(folder, 'best', 'best_model_epoch_2_phase_1.pth'),
      join(folder, 'best', 'latest_best.pth'),
    ]
    for (const path of best) {
      const bytes = readFileSync(path)
      const at = bytes.indexOf(Buffer.from(new Float32Array([0, 1, 2, 3]).buffer))
      bytes[at] = 1
      writeFileSync(path, bytes)
    }
    const keepBest = { count: 1, metric: 'val_loss', mode: 'min' } as const
    const result = await cleanCheckpoints(folder, { keepBest, invalid: true })
    assert.deepEqual(going(result).sort(), [...best.map((path) => relative(folder, path)), cut, first].sort())
    const fast = await cleanCheckpoints(folder, { keepBest }, { level: 'structure' })
    assert.ok(!going(fast).includes(second))
  })

  it('leaves alone what is not valid without being provably damaged', async () => {
    await writeValue(
      join(folder, 'half.pth'),
      new Map([
        [
          'model_state_dict',
          checkpointValue({ epoch: 1, phase: 1, valLoss: 1, timestamp: began }).get('model_state_dict'),
        ],
      ]),
    )
    writeFileSync(join(folder, 'best.pt'), 'some other format')
    writeFileSync(join(folder, 'regular', `checkpoint_epoch_4_phase_1_${began}.pth`), Buffer.alloc(5000))
    const result = await invalid()
    assert.deepEqual(going(result), [cut, `regular/checkpoint_epoch_4_phase_1_${began}.pth`])
    const why = (name: string) => result.plan.find(({ path }) => path.endsWith(name))
    assert.deepEqual([why('half.pth')?.rule, why('best.pt')?.rule], ['unknown', 'unknown'])
    assert.match(why('half.pth')?.reason ?? '', /not proven to be damaged: key\.missing/)
  })

  it('keeps what a symbolic link points to', async () => {
    symlinkSync('nowhere.pth', join(folder, 'pointer.pth'))
    assert.deepEqual(going(await invalid()), [cut], 'a link that points to nothing is no reason')
    rmSync(join(folder, 'pointer.pth'))
    symlinkSync(join(folder, cut), join(folder, 'pointer.pth'))
    const result = await invalid()
    assert.deepEqual(going(result), [])
    assert.equal(result.plan.find(({ path }) => path === join(folder, cut))?.rule, 'same-content')
  })

  it('refuses a metric that no checkpoint has, naming those that there are', async () => {
    const keepBest = { count: 1, metric: 'val_auc', mode: 'max' } as const
    await assert.rejects(cleanCheckpoints(folder, { keepBest }), (error: TorchkeepError) => {
      assert.equal(error.code, 'ERR_INVALID_ARGUMENT')
      assert.equal(error.message, "no checkpoint has a metric 'val_auc'; there are: train_loss, val_accuracy, val_loss")
      return true
    })
  })

  it('stops between two files when told', async () => {
    const controller = new AbortController()
    const files = { ...nodeFiles, remove: (path: string) => nodeFiles.remove(path).then(() => controller.abort()) }
    const options = { confirm: true, delete: true, files, signal: controller.signal }
    await assert.rejects(
      cleanCheckpoints(folder, { invalid: true, keepLast: 1 }, options),
      (error: TorchkeepError) => error.code === 'ERR_ABORTED' && error.message.includes('after 1 file'),
    )
    const goers = going(await cleanCheckpoints(folder, { invalid: true, keepLast: 1 }))
    assert.deepEqual(
      goers,
      [cut, first, second].sort(),
      'the copy of the second under best/ went, the others are there',
    )
  })

  it('does not make the folder that it looks at', async () => {
    const missing = join(folder, 'missing')
    await assert.rejects(
      cleanCheckpoints(missing, {}),
      (error: TorchkeepError) => error.code === 'ERR_CHECKPOINT_MISSING',
    )
    assert.ok(!existsSync(missing))
  })

  describe('when something fails', () => {
    const failing = (failure: Partial<FileOperations>): FileOperations => ({ ...nodeFiles, ...failure })
    const refuse = (code: string) => (): Promise<never> => Promise.reject(Object.assign(new Error(code), { code }))

    const steps: [string, Partial<FileOperations>][] = [
      ['the link into the trash', { link: refuse('EACCES') }],
      ['the flush of the trash folder', { syncFolder: refuse('EIO') }],
      ['the rename', { rename: refuse('EROFS') }],
    ]
    for (const [step, failure] of steps) {
      it(`keeps the file whole when ${step} fails, and goes on with the others`, async () => {
        const before = contents()
        const result = await cleanCheckpoints(
          folder,
          { invalid: true, keepLast: 1 },
          { confirm: true, files: failing(failure) },
        )
        assert.deepEqual(result.removed, [])
        assert.deepEqual(
          result.failedToRemove.map(({ path }) => path),
          result.plan.filter(({ keep }) => !keep).map(({ path }) => path),
        )
        for (const { error } of result.failedToRemove) assert.match(error, /EACCES|EIO|EROFS/)
        for (const [name, bytes] of Object.entries(before)) assert.equal(contents()[name], bytes, name)
      })
    }

    it('gives the file its name back when it cannot be deleted in the end', async () => {
      const before = contents()
      let hidden = 0
      const remove = (path: string) =>
        path.includes('.torchkeep-removing-') && hidden++ === 0 ? refuse('EPERM')() : nodeFiles.remove(path)
      const { failedToRemove } = await invalid({ confirm: true, delete: true, files: failing({ remove }) })
      assert.match(failedToRemove[0]?.error ?? '', /could not remove .*EPERM/)
      assert.deepEqual(contents(), before)
    })

    it('leaves no second copy in the trash when the file cannot leave its place', async () => {
      const before = contents()
      const rename = (from: string, to: string) =>
        to.includes('.torchkeep-removing-') ? refuse('EBUSY')() : nodeFiles.rename(from, to)
      const { failedToRemove } = await invalid({ confirm: true, files: failing({ rename }) })
      assert.equal(failedToRemove.length, 1)
      assert.deepEqual(contents(), before)
    })

    it('copies into a trash folder on another file system', async () => {
      const before = contents()
      const synced: string[] = []
      const files = failing({
        link: (path, name) => (path.includes('.torchkeep-tmp-') ? nodeFiles.link(path, name) : refuse('EXDEV')()),
        syncFile: (path) => {
          synced.push(path)
          return nodeFiles.syncFile(path)
        },
      })
      const { inode } = await invalid({ confirm: true, files }).then(() => ({
        inode: statSync(join(folder, 'trash', cut)).ino,
      }))
      assert.equal(contents()[join('trash', cut)], before[cut])
      assert.ok(!existsSync(join(folder, cut)))
      assert.equal(synced.length, 1, 'the copy was flushed before the original went')
      assert.ok(inode > 0)
    })

    it('copies into a trash folder that really lies on another file system', async function () {
      const memory = '/dev/shm'
      if (!existsSync(memory) || statSync(memory).dev === statSync(folder).dev) {
        console.log(`      skipped: ${memory} is not there, or no other file system than ${folder}`)
        return this.skip()
      }
      const elsewhere = mkdtempSync(join(memory, 'torchkeep-trash-'))
      try {
        symlinkSync(elsewhere, join(folder, 'trash'))
        const before = readFileSync(join(folder, cut), 'latin1')
        const { removed } = await invalid({ confirm: true })
        assert.deepEqual(removed, [join(folder, cut)])
        assert.equal(readFileSync(join(elsewhere, cut), 'latin1'), before)
        assert.ok(!existsSync(join(folder, cut)))
      } finally {
        rmSync(elsewhere, { recursive: true })
      }
    })

    it('keeps the original when the copy onto another file system fails', async () => {
      const before = contents()
      const files = failing({ link: refuse('EXDEV'), syncFile: refuse('ENOSPC') })
      const { failedToRemove } = await invalid({ confirm: true, files })
      assert.match(failedToRemove[0]?.error ?? '', /ENOSPC/)
      assert.deepEqual(contents(), before)
    })

    it('says so where a removal is not durable', async () => {
      const { failedToRemove, removed } = await invalid({
        confirm: true,
        delete: true,
        files: failing({ syncFolder: refuse('EIO') }),
      })
      assert.deepEqual(removed, [])
      assert.match(failedToRemove[0]?.error ?? '', /it is removed, but after a power cut it may be there again/)
    })
  })

  describe('when a file is replaced meanwhile', () => {
    const replace = (): void => {
      const fresh = join(folder, 'fresh')
      copyFileSync(join(folder, 'latest.pth'), fresh)
      renameSync(fresh, join(folder, cut))
    }
    const moments: [string, boolean, (files: FileOperations) => FileOperations][] = [
      [
        'before it is moved',
        false,
        (files) => ({
          ...files,
          link: (path, name) =>
            path === join(folder, cut) ? (replace(), files.link(path, name)) : files.link(path, name),
        }),
      ],
      [
        'after its second name was made, before the first goes',
        false,
        (files) => ({ ...files, rename: (from, to) => (replace(), files.rename(from, to)) }),
      ],
      [
        'before it is deleted',
        true,
        (files) => ({ ...files, rename: (from, to) => (replace(), files.rename(from, to)) }),
      ],
    ]
    for (const [moment, deletes, inject] of moments) {
      it(`the new file stays: ${moment}`, async () => {
        const { failedToRemove, removed } = await invalid({ confirm: true, delete: deletes, files: inject(nodeFiles) })
        assert.deepEqual(removed, [])
        assert.match(failedToRemove[0]?.error ?? '', /replaced or changed after it was judged/)
        assert.equal(contents()[cut], contents()['latest.pth'])
        assert.deepEqual(
          readdirSync(join(folder, 'regular')).filter((name) => name.startsWith('.')),
          [],
        )
      })
    }

    it('a file that was written to stays', async () => {
      const path = join(folder, cut)
      const link: FileOperations['link'] = (from, to) => {
        if (from === path) utimesSync(path, began + 1, began + 1)
        return nodeFiles.link(from, to)
      }
      const { failedToRemove } = await invalid({ confirm: true, files: { ...nodeFiles, link } })
      assert.match(failedToRemove[0]?.error ?? '', /replaced or changed/)
      assert.ok(existsSync(path) && !existsSync(join(folder, 'trash', cut)))
    })

    it('keeps both where another file takes the name while the first has none', async () => {
      const path = join(folder, cut)
      const before = contents()
      const remove: FileOperations['remove'] = (removed) => {
        if (!removed.includes('.torchkeep-removing-')) return nodeFiles.remove(removed)
        writeFileSync(path, 'a new one')
        return Promise.reject(Object.assign(new Error('EPERM'), { code: 'EPERM' }))
      }
      const { failedToRemove } = await invalid({ confirm: true, delete: true, files: { ...nodeFiles, remove } })
      assert.match(failedToRemove[0]?.error ?? '', /it is now called .*\.torchkeep-removing-.*taken by a new file/)
      assert.equal(readFileSync(path, 'latin1'), 'a new one')
      const [hidden = ''] = readdirSync(join(folder, 'regular')).filter((name) =>
        name.startsWith('.torchkeep-removing-'),
      )
      assert.equal(readFileSync(join(folder, 'regular', hidden), 'latin1'), before[cut])
    })
  })
})
