/** Archives unpack with the usual tools into what was packed, and name nobody. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { packFolder } from '../../src/export/archive.js'
import { writeChecksums } from '../../src/export/checksums.js'
import { publishExport } from '../../src/export/publish-export.js'
import { needPython, runPython } from '../python.js'

const mtime = new Date('2026-02-03T04:05:06Z')

describe('archives of exports', () => {
  let parent: string
  let folder: string
  before(async () => {
    parent = mkdtempSync(join(tmpdir(), 'torchkeep-archive-'))
    folder = join(parent, 'net_1')
    mkdirSync(folder)
    writeFileSync(join(folder, 'a.txt'), 'A')
    writeFileSync(join(folder, 'empty'), '')
    writeFileSync(join(folder, 'inference.py'), 'x\n'.repeat(100_000))
    writeFileSync(join(folder, `${'long'.repeat(40)}.bin`), Buffer.alloc(3 << 20, 7))
    chmodSync(join(folder, 'a.txt'), 0o600)
    await writeChecksums(folder)
  })
  after(() => rmSync(parent, { recursive: true }))

  const contents = (path: string): [string, string][] =>
    readdirSync(path)
      .sort()
      .map((name) => [name, readFileSync(join(path, name), 'latin1')])
  const unpackInto = (name: string): string => {
    const target = join(parent, name)
    mkdirSync(target)
    return target
  }

  it('checksums are those of sha256sum', () => {
    const output = execFileSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: folder, encoding: 'utf8' })
    assert.equal(output.trim().split('\n').length, 4)
  })

  it('tar unpacks the one, and finds no names in it', async () => {
    const path = `${folder}.tar.gz`
    await packFolder(folder, 'tar.gz', path, { name: 'net_1', mtime })
    const target = unpackInto('tar')
    execFileSync('tar', ['xzf', path, '-C', target])
    assert.deepEqual(readdirSync(target), ['net_1'])
    assert.deepEqual(contents(join(target, 'net_1')), contents(folder))
    const listing = execFileSync('tar', ['tvzf', path, '--full-time'], {
      encoding: 'utf8',
      env: { ...process.env, TZ: 'UTC' },
    })
    for (const line of listing.trim().split('\n')) assert.match(line, /^-rw-r--r-- 0\/0 .*2026-02-03 04:05:06/)
    // The headers of tar: user and group names are 32 bytes each from 265 on.
    const tar = gunzipSync(readFileSync(path))
    assert.equal(tar.toString('latin1', 265, 329).replaceAll('\0', ''), '')
    rmSync(path)
    await packFolder(folder, 'tar.gz', path, { name: 'net_1', mtime })
    assert.ok(gunzipSync(readFileSync(path)).equals(tar), 'equal folders give equal archives')
  })

  it('unzip unpacks the other', async function () {
    const path = `${folder}.zip`
    await packFolder(folder, 'zip', path, { name: 'net_1', mtime })
    const target = unpackInto('zip')
    const { error } = spawnSync('unzip', ['-v'], { stdio: 'ignore' })
    if (error !== undefined) {
      console.log('      skipped: unzip is not installed; Python unpacks the same file in the next test')
      this.skip()
    }
    execFileSync('unzip', ['-q', path, '-d', target])
    assert.deepEqual(contents(join(target, 'net_1')), contents(folder))
  })

  it('Python unpacks both', async function () {
    needPython(this)
    const target = unpackInto('python')
    await runPython(
      `import shutil
for ending in ('tar.gz', 'zip'): shutil.unpack_archive(sys.argv[1] + '.' + ending, sys.argv[2] + '/' + ending)`,
      [folder, target],
    )
    for (const ending of ['tar.gz', 'zip']) assert.deepEqual(contents(join(target, ending, 'net_1')), contents(folder))
  })

  it('stopped while it is packed, an export leaves nothing', async () => {
    const exports = join(parent, 'exports')
    const write = async (temporary: string): Promise<void> => writeFileSync(join(temporary, 'a'), Buffer.alloc(1 << 20))
    for (const compress of ['tar.gz', 'zip'] as const) {
      const stop = new AbortController()
      const options = { createdAt: mtime, compress, signal: stop.signal, onProgress: () => stop.abort() }
      await assert.rejects(publishExport(join(exports, 'net_1'), write, options), { code: 'ERR_ABORTED' })
      assert.deepEqual(readdirSync(exports), [])
    }
  })

  it('have the name of their folder, and replace nothing', async () => {
    const exports = join(parent, 'named')
    const write = async (temporary: string): Promise<void> => writeFileSync(join(temporary, 'a'), 'A')
    const path = join(exports, 'net_1')
    const first = await publishExport(path, write, { createdAt: mtime })
    assert.deepEqual([first.folder, first.archive], [path, `${path}.tar.gz`])
    const bytes = readFileSync(`${path}.tar.gz`)
    const second = await publishExport(path, write, { createdAt: mtime })
    assert.deepEqual([second.folder, second.archive], [`${path}-2`, `${path}-2.tar.gz`])
    rmSync(path, { recursive: true })
    const third = await publishExport(path, write, { createdAt: mtime, compress: 'tar.gz' })
    assert.deepEqual([third.folder, third.archive], [path, `${path}-3.tar.gz`])
    assert.deepEqual(readFileSync(`${path}.tar.gz`), bytes)
    assert.deepEqual(
      readdirSync(exports).filter((name) => name.startsWith('.')),
      [],
    )
  })
})
