/** Folders are there whole or not at all. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { publishFolder } from '../../src/checkpoint/publish-folder.js'
import { type FileOperations, nodeFiles } from '../../src/checkpoint/store.js'
import { TorchkeepError } from '../../src/format/errors.js'

describe('publishFolder', () => {
  let parent: string
  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'torchkeep-publish-folder-'))
  })
  afterEach(() => rmSync(parent, { recursive: true }))

  const write = async (folder: string): Promise<void> => {
    mkdirSync(join(folder, 'inner'))
    writeFileSync(join(folder, 'inner', 'a'), 'A')
    writeFileSync(join(folder, 'b'), 'B')
  }

  it('makes what is missing above it, and takes the next free name', async () => {
    const path = join(parent, 'deep', 'er', 'export')
    assert.equal(await publishFolder(path, write), path)
    mkdirSync(`${path}-2`)
    writeFileSync(`${path}-3`, 'a file')
    assert.equal(await publishFolder(path, write), `${path}-4`)
    assert.deepEqual(readdirSync(`${path}-2`), [])
    assert.equal(readFileSync(join(path, 'inner', 'a'), 'utf8'), 'A')
    assert.deepEqual(readdirSync(join(parent, 'deep', 'er')), ['export', 'export-2', 'export-3', 'export-4'])
  })

  it('of several at once each gets a name and all are whole', async () => {
    const path = join(parent, 'export')
    const made = await Promise.all(Array.from({ length: 8 }, () => publishFolder(path, write)))
    assert.equal(new Set(made).size, 8)
    for (const folder of made) assert.deepEqual(readdirSync(folder), ['b', 'inner'])
  })

  it('has every file and folder on the disk before the name, and the name afterwards', async () => {
    const path = join(parent, 'export')
    const steps: string[] = []
    const temporary = (name: string): string => name.replace(/\.torchkeep-tmp-[\w-]+/, 'TEMPORARY').slice(parent.length)
    const files: FileOperations = {
      ...nodeFiles,
      syncFile: async (name) => void steps.push(`file ${temporary(name)}`),
      syncFolder: async (name) => void steps.push(`folder ${temporary(name)}`),
      rename: async (from, to) => {
        steps.push(`rename ${temporary(from)} ${temporary(to)}`)
        await nodeFiles.rename(from, to)
      },
    }
    await publishFolder(path, write, { files })
    assert.deepEqual(steps, [
      'file /TEMPORARY/b',
      'file /TEMPORARY/inner/a',
      'folder /TEMPORARY/inner',
      'folder /TEMPORARY',
      'rename /TEMPORARY /export',
      'folder ',
    ])
  })

  it('leaves nothing whatever fails, and says what', async () => {
    const path = join(parent, 'export')
    const fail = async (): Promise<never> => {
      throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
    }
    const failing: [Partial<FileOperations>, ((folder: string) => Promise<void>)?][] = [
      [{ syncFile: fail }],
      [{ syncFolder: fail }],
      [{ rename: fail }],
      [{}, fail],
    ]
    for (const [operations, writer = write] of failing) {
      await assert.rejects(publishFolder(path, writer, { files: { ...nodeFiles, ...operations } }), {
        code: 'ERR_DISK_FULL',
        message: /export: no space left/,
      })
      assert.deepEqual(readdirSync(parent), [])
    }
    const own = new TorchkeepError('ERR_CHECKPOINT_CORRUPT', 'as it is')
    await assert.rejects(
      publishFolder(path, () => Promise.reject(own)),
      own,
    )
    const stop = new AbortController()
    const stopped = publishFolder(
      path,
      async (folder) => {
        await write(folder)
        stop.abort()
      },
      { signal: stop.signal },
    )
    await assert.rejects(stopped, { code: 'ERR_ABORTED' })
    assert.deepEqual(readdirSync(parent), [])
  })

  it('says where the name may not survive', async () => {
    const path = join(parent, 'export')
    let renamed = false
    const files: FileOperations = {
      ...nodeFiles,
      rename: async (from, to) => {
        await nodeFiles.rename(from, to)
        renamed = true
      },
      syncFolder: async (name) => {
        if (renamed) throw new Error('I/O error')
        await nodeFiles.syncFolder(name)
      },
    }
    await assert.rejects(publishFolder(path, write, { files }), { message: /in place and whole, but its name may not/ })
    assert.deepEqual(readdirSync(path), ['b', 'inner'])
  })

  it('killed, leaves a hidden folder that the next one removes', async () => {
    const path = join(parent, 'export')
    const module = new URL('../../src/checkpoint/publish-folder.js', import.meta.url).href
    const program = `import { writeFileSync } from 'node:fs'
      const { publishFolder } = await import(${JSON.stringify(module)})
      await publishFolder(${JSON.stringify(path)}, async (folder) => {
        writeFileSync(folder + '/a', 'A')
        console.log('written')
        await new Promise(() => setInterval(() => undefined, 1000))
      })`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    child.kill('SIGKILL')
    await once(child, 'exit')
    assert.deepEqual(
      readdirSync(parent).map((name) => name.startsWith('.torchkeep-tmp-')),
      [true],
    )
    assert.equal(existsSync(path), false)
    await publishFolder(path, write)
    assert.deepEqual(readdirSync(parent), ['export'])
  })
})
