/** What is found in a folder, and what part a file plays there. */
import assert from 'node:assert/strict'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { findCheckpointFiles, roleOf, type CheckpointKind, type CheckpointRole } from '../../src/checkpoint/index.js'
import { withFolder } from '../format/fixtures.js'

const make = async (folder: string, ...names: string[]): Promise<void> => {
  for (const name of names) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), 'x')
  }
}
const found = async (folder: string, recursive?: boolean): Promise<string[]> => {
  const paths = await findCheckpointFiles(folder, recursive === undefined ? {} : { recursive })
  return paths.map((path) => relative(folder, path))
}

describe('findCheckpointFiles', () => {
  it('finds files by their endings, in all folders, sorted', async () => {
    await withFolder(async (folder) => {
      await make(
        folder,
        'b.pth',
        'a.PT',
        'x.bin',
        'x.ckpt',
        'x.safetensors',
        'x.pt2',
        'x.tar',
        'notes.txt',
        'sub/deep/c.pth',
      )
      await make(folder, '.hidden.pth', '.git/d.pth')
      assert.deepEqual(await found(folder), [
        'a.PT',
        'b.pth',
        'sub/deep/c.pth',
        'x.bin',
        'x.ckpt',
        'x.pt2',
        'x.safetensors',
        'x.tar',
      ])
      assert.ok(!(await found(folder, false)).includes('sub/deep/c.pth'))
    })
  })

  it('takes an index file for its shards, and a folder with .metadata for one checkpoint', async () => {
    await withFolder(async (folder) => {
      const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
      await make(
        folder,
        'model.safetensors.index.json',
        ...shards,
        'model.safetensors',
        'step_10/.metadata',
        'step_10/__0_0.distcp',
      )
      assert.deepEqual(await found(folder), ['model.safetensors', 'model.safetensors.index.json', 'step_10'])
      assert.deepEqual(await found(join(folder, 'step_10')), [''])
    })
  })

  it('follows no links', async () => {
    await withFolder(async (folder) => {
      await make(folder, 'run/a.pth', 'outside/b.pth')
      await symlink(join(folder, 'outside'), join(folder, 'run', 'link'))
      await symlink(join(folder, 'outside', 'b.pth'), join(folder, 'run', 'b.pth'))
      assert.deepEqual(await found(join(folder, 'run')), ['a.pth'])
    })
  })

  it('says what it cannot look into', async () => {
    await withFolder(async (folder) => {
      await assert.rejects(findCheckpointFiles(join(folder, 'none')), { code: 'ERR_CHECKPOINT_MISSING' })
      await make(folder, 'a.pth')
      await assert.rejects(findCheckpointFiles(join(folder, 'a.pth')), { code: 'ERR_CHECKPOINT_UNREADABLE' })
    })
  })
})

describe('roleOf', () => {
  const training: CheckpointKind = 'training_checkpoint'
  const cases: [path: string, kind: CheckpointKind | null, role: CheckpointRole, recognized?: boolean][] = [
    ['run/regular/checkpoint_epoch_1_phase_1_17.pth', training, 'checkpoint'],
    ['run/any name.pth', training, 'checkpoint'],
    ['run/best_model.pth', 'state_dict', 'checkpoint'],
    ['run/combined_model.pth', 'state_dict', 'foreign'],
    ['run/weights.safetensors', 'safetensors', 'foreign'],
    ['run/best_model.safetensors', 'safetensors', 'foreign'],
    ['run/data.pt', 'other', 'foreign'],
    ['run/backups/backup_17_x.pth', training, 'backup'],
    ['run/backup_17_x.pth', training, 'backup'],
    ['run/exports/name_17/model.pth', 'inference_export', 'export'],
    ['run/model.pth', 'shared_export', 'export'],
    ['run/trash/x.pth', training, 'trash'],
    ['run/quarantine/x.pth', null, 'quarantine'],
    ['run/recovered_x.pth', training, 'recovered'],
    ['run/cut.pth', null, 'checkpoint', true],
    ['run/cut.bin', null, 'foreign', true],
    ['run/text.pth', null, 'foreign', false],
    ['run/checkpoint_epoch_1.pth', null, 'checkpoint', false],
  ]
  for (const [path, kind, role, recognized = true] of cases) {
    it(`${path}, ${kind ?? (recognized ? 'damaged' : 'of no known format')}: ${role}`, () => {
      assert.equal(roleOf({ path, kind, recognized }), role)
    })
  }

  it('asks no folder above the checkpoint folder', () => {
    const path = '/data/exports/run/x.pth'
    assert.equal(roleOf({ path, folder: '/data/exports/run', kind: training, recognized: true }), 'checkpoint')
    assert.equal(roleOf({ path, folder: '/data', kind: training, recognized: true }), 'export')
  })
})
