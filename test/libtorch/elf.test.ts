import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { missingNvidiaLibraries, readDynamicSection } from '../../src/libtorch/elf.js'
import { elfLibrary, writeFiles } from './fakes.js'

describe('libtorch/elf', () => {
  let folder: string
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-elf-'))))
  afterEach(() => rmSync(folder, { recursive: true }))

  it('reads what a library needs and where it looks', () => {
    const path = join(folder, 'lib.so')
    writeFileSync(path, elfLibrary(['libcudart.so.13', 'libm.so.6'], '$ORIGIN/../a:/b'))
    assert.deepEqual(readDynamicSection(path), {
      needed: ['libcudart.so.13', 'libm.so.6'],
      searchPath: ['$ORIGIN/../a', '/b'],
    })
  })

  it("reads Node's own executable as the system's tools do", function () {
    if (process.platform !== 'linux') {
      console.log('      skipped: reads the ELF files of Linux')
      return this.skip()
    }
    assert.ok(readDynamicSection(process.execPath).needed.some((name) => name.startsWith('libc.so')))
  })

  it('names NVIDIA libraries that the search path does not hold, and no others', () => {
    writeFiles(folder, {
      'torch/lib/libtorch_cpu.so': elfLibrary(
        ['libcudart.so.13', 'libcupti.so.13', 'libm.so.6', 'libc10.so'],
        '$ORIGIN/../../nvidia/cu13/lib',
      ),
      'nvidia/cu13/lib/libcudart.so.13': elfLibrary([]),
    })
    assert.deepEqual(missingNvidiaLibraries(join(folder, 'torch/lib/libtorch_cpu.so')), ['libcupti.so.13'])
  })

  it('refuses other files and cut ones by name', () => {
    const path = join(folder, 'lib.so')
    writeFileSync(path, 'no library at all, but long enough for a header of sixty-four bytes, surely')
    assert.throws(() => readDynamicSection(path), /lib\.so is not a 64-bit little-endian ELF file/)
    writeFileSync(path, elfLibrary(['libm.so.6']).subarray(0, 200))
    assert.throws(() => readDynamicSection(path), /the file ends at byte 200/)
  })
})
