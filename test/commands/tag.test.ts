import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CheckpointMetadata } from '../../src/checkpoint/index.js'
import { float32, writeCheckpointFolder, writeValue } from './checkpoints.js'
import { runCommand } from './run-command.js'
import { checkedJson } from './schema.js'
import { matchSnapshot } from './snapshot.js'

interface Tagged {
  path: string
  changed: boolean
  metadata: CheckpointMetadata
}

describe('tag', () => {
  let folder: string
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-tag-command-'))
    await writeCheckpointFolder(folder)
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const run = (...args: string[]) => runCommand(['tag', '--checkpoint-dir', folder, ...args])
  const tag = async (...args: string[]): Promise<Tagged> => {
    const { stdout, stderr, status } = await run(...args, '--json')
    assert.equal(status, 0, stderr + stdout)
    return checkedJson('tag', stdout) as Tagged
  }

  it('shows what a checkpoint says about itself, and writes nothing then', async () => {
    const before = readFileSync(join(folder, 'latest.pth'))
    const { stdout, stderr, status } = await run('latest')
    assert.deepEqual([status, stderr], [0, ''])
    matchSnapshot('tag-show', stdout)
    assert.deepEqual(readFileSync(join(folder, 'latest.pth')), before)
  })

  it('sets title, description and tags, with options after the path', async () => {
    const { stdout, stderr, status } = await run(
      'latest',
      '--title',
      'Wider head\u001b[31m',
      '--description',
      'two\nlines',
      '--tag',
      'wide',
      '--tag',
      'candidate',
    )
    assert.deepEqual([status, stderr], [0, ''])
    matchSnapshot('tag-set', stdout)
    const { metadata, changed } = await tag('latest')
    assert.equal(changed, false)
    assert.deepEqual([metadata.title, metadata.tags], ['Wider head\u001b[31m', ['wide', 'candidate']])
    const listed = await runCommand(['list', folder, '--json'])
    assert.match(listed.stdout, /"candidate"/)
  })

  it('takes tags away, and says where there was nothing to do', async () => {
    assert.deepEqual((await tag('latest', '--tag', 'a', '--tag', 'b')).metadata.tags, ['a', 'b'])
    const removed = await tag('latest', '--remove-tag', 'a', '--title', '')
    assert.deepEqual([removed.changed, removed.metadata.tags], [true, ['b']])
    const { stderr, status } = await run('latest', '--remove-tag', 'a')
    assert.deepEqual([status, stderr], [0, 'nothing was written: the file says all that already\n'])
  })

  it('ends with 3 for a file that has no place for metadata or is none, with 2 for an empty tag', async () => {
    await writeValue(join(folder, 'bare.pth'), new Map<string, unknown>([['weight', float32([1], [1])]]))
    const cases: [args: string[], status: number, code: string][] = [
      [[join(folder, 'bare.pth'), '--title', 'x'], 3, 'ERR_CHECKPOINT_UNSUPPORTED'],
      [[join(folder, 'notes.pt'), '--title', 'x'], 3, 'ERR_CHECKPOINT_CORRUPT'],
      [[join(folder, 'absent.pth')], 3, 'ERR_CHECKPOINT_MISSING'],
      [['latest', '--tag', ' '], 2, 'ERR_INVALID_ARGUMENT'],
    ]
    for (const [args, status, code] of cases) {
      const result = await run(...args, '--json')
      const { error } = checkedJson('tag', result.stdout) as { error: { code: string } }
      assert.deepEqual([result.status, error.code], [status, code], args.join(' '))
    }
  })
})
