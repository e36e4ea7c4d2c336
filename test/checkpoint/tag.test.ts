import assert from 'node:assert/strict'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tagCheckpoint } from '../../src/checkpoint/index.js'
import { withFolder } from '../format/fixtures.js'
import { checkpoint, fileOf } from './judged.js'

describe('tagCheckpoint', () => {
  it('never replaces what was published meanwhile', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'latest.pth')
      /** A signal that is asked as the file is written; the last time, another file takes the name. */
      const asked = (last: number) => {
        let times = 0
        const ask = (): boolean => {
          if (++times === last) {
            writeFileSync(`${path}.new`, fileOf(checkpoint({ epoch: 3 })))
            renameSync(`${path}.new`, path)
          }
          return false
        }
        const signal = Object.defineProperty(new AbortController().signal, 'aborted', { get: ask })
        return { signal, times: () => times }
      }
      await writeFile(path, fileOf(checkpoint()))
      const first = asked(Infinity)
      await tagCheckpoint(path, { title: 'one' }, { signal: first.signal })
      const second = asked(first.times())
      await assert.rejects(tagCheckpoint(path, { title: 'two' }, { signal: second.signal }), {
        code: 'ERR_CHECKPOINT_CORRUPT',
        finding: 'file.changed',
      })
      assert.deepEqual(readFileSync(path), fileOf(checkpoint({ epoch: 3 })))
    }))
})
