/** `publish`: at every instant the old file or the new one, whole. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { type FileHandle, open, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  type FileOperations,
  makeFolder,
  nodeFiles,
  publish,
  publishCopy,
  publishLink,
  publishNew,
  publishNewCopy,
  publishNewLink,
  removeStaleTemporaries,
} from '../../src/checkpoint/store.js'
import { TorchkeepError } from '../../src/format/errors.js'

const write = (text: string) => (path: string) => writeFile(path, text, { flag: 'wx' })

describe('checkpoint store', () => {
  let folder: string
  let path: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-store-'))
    path = join(folder, 'latest.pth')
  })
  afterEach(() => rmSync(folder, { recursive: true }))
  const names = (): string[] => readdirSync(folder).sort()

  it('publishes a new file and replaces an old one, in the order write, flush, check, rename, flush the folder', async () => {
    const calls: string[] = []
    const recorded = Object.fromEntries(
      Object.entries(nodeFiles).map(([name, operation]) => [
        name,
        (...args: [string, string]) => (calls.push(name), (operation as (...args: string[]) => Promise<void>)(...args)),
      ]),
    ) as unknown as FileOperations
    await publish(path, write('one'), { files: recorded, check: async () => void calls.push('check') })
    await publish(path, write('two'))
    assert.equal(readFileSync(path, 'utf8'), 'two')
    assert.deepEqual(names(), ['latest.pth'])
    assert.deepEqual(calls, ['syncFile', 'check', 'rename', 'syncFolder'])
  })

  it('copies without linking, so that writing onto one name leaves the other alone', async () => {
    const copy = join(folder, 'copy.pth')
    await publish(path, write('one'))
    await publishCopy(path, copy)
    writeFileSync(copy, 'written over in place, as torch.save does')
    assert.equal(readFileSync(path, 'utf8'), 'one')
  })

  it('really flushes the temporary file before the rename, and the folder after it', async function () {
    if (process.platform !== 'linux') {
      console.log('      skipped: needs /proc to tell which file a descriptor is')
      this.skip()
    }
    const handle = await open(folder, 'r')
    const prototype = Object.getPrototypeOf(handle) as FileHandle
    await handle.close()
    const flushed: string[] = []
    const sync = prototype.sync
    prototype.sync = function (this: FileHandle) {
      flushed.push(`${readlinkSync(`/proc/self/fd/${this.fd}`)} with ${names().join()}`)
      return sync.call(this)
    }
    try {
      await publish(path, write('one'))
    } finally {
      prototype.sync = sync
    }
    const [temporary, ...rest] = flushed
    assert.match(temporary ?? '', /^(.*\/\.torchkeep-tmp-\S+) with \.torchkeep-tmp-\S+$/)
    assert.deepEqual(rest, [`${realpathSync(folder)} with latest.pth`])
  })

  for (const step of ['write', 'syncFile', 'rename'] as const) {
    it(`keeps the old file and leaves nothing behind when ${step} fails`, async () => {
      await publish(path, write('old'))
      const failure = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })
      const fail = (): Promise<never> => Promise.reject(failure)
      const files = step === 'write' ? nodeFiles : { ...nodeFiles, [step]: fail }
      const failing = async (temporary: string): Promise<void> => {
        await write('new')(temporary)
        if (step === 'write') throw failure
      }
      await assert.rejects(publish(path, failing, { files }), (error: TorchkeepError) => {
        assert.equal(error.code, 'ERR_DISK_FULL')
        assert.match(error.message, /\d+ KiB are free/)
        assert.ok(error.message.includes(path) && error.message.includes('no space left'), error.message)
        assert.equal(error.cause, failure)
        return true
      })
      assert.equal(readFileSync(path, 'utf8'), 'old')
      assert.deepEqual(names(), ['latest.pth'])
    })
  }

  it('says so when only the name may not be durable, or when the temporary file stays', async () => {
    const fail = (): Promise<never> => Promise.reject(new Error('EIO'))
    await assert.rejects(
      publish(path, write('new'), { files: { ...nodeFiles, syncFolder: fail } }),
      /in place and whole, but its name may not survive/,
    )
    assert.equal(readFileSync(path, 'utf8'), 'new')
    await assert.rejects(
      publish(path, write('newer'), { files: { ...nodeFiles, rename: fail, remove: fail } }),
      /temporary file .* could not be removed either/,
    )
    assert.equal(readFileSync(path, 'utf8'), 'new')
  })

  it('passes a TorchkeepError of the writer on, but not one that names the temporary file', async () => {
    const refusal = new TorchkeepError('ERR_INVALID_ARGUMENT', 'config.f is a function')
    await assert.rejects(
      publish(path, () => Promise.reject(refusal)),
      refusal,
    )
    const inner = new TorchkeepError('ERR_CHECKPOINT_WRITE', 'could not write .tmp')
    await assert.rejects(
      publish(path, () => Promise.reject(inner)),
      (error: TorchkeepError) => error.message.includes(path) && error.cause === inner,
    )
  })

  it('never shows a part of a file when the process is killed before or after any step', () => {
    const child = fileURLToPath(new URL('kill-publish.js', import.meta.url))
    for (const point of [
      'before write',
      'during write',
      'before syncFile',
      'before rename',
      'before syncFolder',
      'after syncFolder',
    ]) {
      writeFileSync(path, 'o'.repeat(1 << 20))
      const { signal, stderr } = spawnSync(process.execPath, [child, path, point], { encoding: 'utf8' })
      assert.equal(signal, 'SIGKILL', `${point}: ${stderr}`)
      const expected = point === 'before syncFolder' || point === 'after syncFolder' ? 'n' : 'o'
      assert.equal(readFileSync(path, 'utf8'), expected.repeat(1 << 20), point)
    }
  })

  it('clears away the temporary files of dead processes and nothing else', async () => {
    const child = fileURLToPath(new URL('kill-publish.js', import.meta.url))
    spawnSync(process.execPath, [child, path, 'before rename'])
    const [stale] = names().filter((name) => name.startsWith('.torchkeep-tmp-'))
    assert.ok(stale !== undefined, 'the killed child left its temporary file')
    const otherMachine = stale.replace(/^\.torchkeep-tmp-\w+?-/, '.torchkeep-tmp-elsewhere-')
    for (const name of [otherMachine, '.torchkeep-tmp-mine', 'data.tmp']) writeFileSync(join(folder, name), '')
    let removed: string[] = []
    await publish(path, async (temporary) => {
      await write('alive')(temporary)
      removed = await removeStaleTemporaries(folder)
    })
    assert.deepEqual(removed, [stale])
    assert.deepEqual(names(), [otherMachine, '.torchkeep-tmp-mine', 'data.tmp', 'latest.pth'].sort())
    assert.equal(readFileSync(path, 'utf8'), 'alive')
  })

  it('copies and makes folders', async () => {
    await publish(path, write('best'))
    const deep = join(folder, 'a', 'b')
    await makeFolder(deep)
    await makeFolder(deep)
    await publishCopy(path, join(deep, 'latest_best.pth'))
    assert.equal(readFileSync(join(deep, 'latest_best.pth'), 'utf8'), 'best')
    await assert.rejects(makeFolder(join(path, 'below-a-file')), { code: 'ERR_CHECKPOINT_WRITE' })
  })

  it('never publishes a new file over another, also when several are published at once', async () => {
    const wanted = join(folder, 'c.pth')
    const texts = ['one', 'two', 'three', 'four', 'five']
    const placed = await Promise.all(texts.map((text) => publishNew(wanted, write(text))))
    assert.deepEqual(
      placed.toSorted(),
      ['c-2', 'c-3', 'c-4', 'c-5', 'c'].map((name) => join(folder, `${name}.pth`)),
    )
    assert.deepEqual(
      placed.map((name) => readFileSync(name, 'utf8')),
      texts,
    )
    assert.equal(names().length, texts.length)
    assert.equal(await publishNewCopy(wanted, join(folder, 'c.pth')), join(folder, 'c-6.pth'))
  })

  it('finds a free name on a file system without hard links, too', async () => {
    const refused = Object.assign(new Error('operation not permitted'), { code: 'EPERM' })
    const files = { ...nodeFiles, link: () => Promise.reject(refused) }
    assert.equal(await publishNew(path, write('one'), { files }), path)
    assert.equal(await publishNew(path, write('two'), { files }), join(folder, 'latest-2.pth'))
    assert.equal(readFileSync(path, 'utf8'), 'one')
    assert.deepEqual(names(), ['latest-2.pth', 'latest.pth'])
    symlinkSync('loop', join(folder, 'loop'))
    await assert.rejects(publishNew(join(folder, 'loop', 'x.pth'), write('three')), {
      code: 'ERR_CHECKPOINT_WRITE',
      message: /ELOOP/,
    })
  })

  it('gives no name to a file that its check refuses', async () => {
    await publish(path, write('old'))
    const refusal = new TorchkeepError('ERR_CHECKPOINT_CORRUPT', 'byte 7 is not as written')
    await assert.rejects(publish(path, write('new'), { check: () => Promise.reject(refusal) }), refusal)
    assert.equal(readFileSync(path, 'utf8'), 'old')
    assert.deepEqual(names(), ['latest.pth'])
  })

  it('leaves the mode of a replaced file to the new one', async function () {
    if (process.platform === 'win32') {
      console.log('      skipped: this system has no modes')
      this.skip()
    }
    await publish(path, write('old'))
    chmodSync(path, 0o640)
    await publish(path, write('new'))
    assert.equal(statSync(path).mode & 0o7777, 0o640)
    assert.equal(readFileSync(path, 'utf8'), 'new')
  })

  it('gives a file further names, in place of others, without a copy and however often', async () => {
    const source = join(folder, 'epoch_1.pth')
    await publish(source, write('one'))
    await publish(path, write('zero'))
    for (let time = 0; time < 2; time++) await publishLink(source, path)
    assert.equal(await publishNewLink(source, path), join(folder, 'latest-2.pth'))
    assert.deepEqual(names(), ['epoch_1.pth', 'latest-2.pth', 'latest.pth'])
    for (const name of names()) assert.equal(statSync(join(folder, name)).ino, statSync(source).ino)
    await publish(source, write('two'))
    assert.equal(readFileSync(path, 'utf8'), 'one')
  })

  it('makes copies in place of links where the file system has none', async () => {
    const source = join(folder, 'epoch_1.pth')
    await publish(source, write('one'))
    const link = (): Promise<never> => Promise.reject(Object.assign(new Error('no links'), { code: 'ENOTSUP' }))
    const files = { ...nodeFiles, link }
    await publishLink(source, path, { files })
    assert.equal(await publishNewLink(source, path, { files }), join(folder, 'latest-2.pth'))
    assert.deepEqual(names(), ['epoch_1.pth', 'latest-2.pth', 'latest.pth'])
    assert.notEqual(statSync(path).ino, statSync(source).ino)
    assert.equal(readFileSync(path, 'utf8'), 'one')
  })

  for (const step of ['link', 'rename'] as const) {
    it(`keeps what a name had, and leaves nothing behind, when the ${step} of a further name fails`, async () => {
      const source = join(folder, 'epoch_1.pth')
      await publish(source, write('one'))
      await publish(path, write('zero'))
      const fail = (): Promise<never> => Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' }))
      await assert.rejects(publishLink(source, path, { files: { ...nodeFiles, [step]: fail } }), {
        code: 'ERR_CHECKPOINT_WRITE',
        message: /latest\.pth.*untouched/,
      })
      assert.equal(readFileSync(path, 'utf8'), 'zero')
      assert.deepEqual(names(), ['epoch_1.pth', 'latest.pth'])
    })
  }
})
