/** A log file under writes that fail, come short, or are cut off by the end of the process. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { LogFile } from '../../src/training/log-file.js'
import { withFolder } from '../format/fixtures.js'

type Write = (buffer: Uint8Array, offset: number) => Promise<{ bytesWritten: number }>

/** Runs with every file's `write` in place of the system's; `real` is that. */
async function withWrite(write: (real: Write) => Write, act: () => Promise<void>): Promise<void> {
  const handle = await open(process.execPath)
  const prototype = Object.getPrototypeOf(handle) as { write: Write }
  await handle.close()
  const { write: real } = prototype
  prototype.write = function (this: FileHandle, buffer, offset) {
    return write(real.bind(this))(buffer, offset)
  }
  try {
    await act()
  } finally {
    prototype.write = real
  }
}

const numbers = (count: number): string[] => Array.from({ length: count }, (_none, index) => `line ${index}\n`)

describe('LogFile', () => {
  it('keeps every chunk whole and in order, and gathers what comes while it writes', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'log')
      let writes = 0
      await withWrite(
        (real) => (buffer, offset) => {
          writes++
          return real(buffer, offset)
        },
        async () => {
          const file = await LogFile.open(path, { mode: 'append', onFailure: assert.fail })
          for (const line of numbers(1000)) file.append(Buffer.from(line))
          await file.close()
        },
      )
      assert.equal(readFileSync(path, 'utf8'), numbers(1000).join(''))
      assert.equal(writes, 2, 'the first chunk, then all others at once')
    }))

  it('writes what failed, from the byte where it broke off, with what comes next', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'log')
      const failures: string[] = []
      let call = 0
      await withWrite(
        (real) => async (buffer, offset) => {
          call++
          if (call % 3 === 2) throw new Error(`no space at call ${call}`)
          return real(buffer.subarray(0, offset + 5), offset) // Five bytes of what is asked for: a short write.
        },
        async () => {
          const file = await LogFile.open(path, { mode: 'append', onFailure: ({ message }) => failures.push(message) })
          for (const line of numbers(20)) {
            file.append(Buffer.from(line))
            await new Promise((resolve) => setImmediate(resolve))
          }
          for (let left = true; left; left = readFileSync(path, 'utf8') !== numbers(20).join('')) {
            file.append(new Uint8Array())
            await new Promise((resolve) => setImmediate(resolve))
          }
          await file.close()
        },
      )
      assert.equal(readFileSync(path, 'utf8'), numbers(20).join(''))
      assert.ok(failures.length > 0)
    }))

  it('ends a line that a crash cut off, and no other', () =>
    withFolder(async (folder) => {
      const path = join(folder, 'log')
      for (const [before, after] of [
        ['', 'new\n'],
        ['whole\n', 'whole\nnew\n'],
        ['half', 'half\nnew\n'],
      ]) {
        writeFileSync(path, before as string)
        const file = await LogFile.open(path, { mode: 'append', endLastLine: true, onFailure: assert.fail })
        file.append(Buffer.from('new\n'))
        await file.close()
        assert.equal(readFileSync(path, 'utf8'), after)
      }
    }))

  it('writes what waits when the process exits', () =>
    withFolder((folder) => {
      const path = join(folder, 'log')
      const program = `
        import { LogFile } from ${JSON.stringify(new URL('../../src/training/log-file.js', import.meta.url).href)}
        const file = await LogFile.open(${JSON.stringify(path)}, { mode: 'append', onFailure: console.error })
        for (let line = 0; line < 1000; line++) file.append(Buffer.from('line ' + line + '\\n'))
        process.exit(3)`
      const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
        encoding: 'utf8',
      })
      assert.deepEqual([status, stderr], [3, ''])
      const lines = readFileSync(path, 'utf8').split(/(?<=\n)/)
      assert.deepEqual(lines.sort(), numbers(1000).sort())
      return Promise.resolve()
    }))
})
