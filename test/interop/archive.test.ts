/** `saveArchive` and `loadArchive` against a C++ program that uses torch::save and torch::load, built here. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { addon } from '../../lib/native.js'
import { loadArchive, manualSeed, nn, randn, saveArchive, type Tensor } from '../../src/index.js'

/** Names of C++'s `toString(ScalarType)`. */
const typeNames = { float32: 'Float', float64: 'Double', int64: 'Long' } as Record<string, string>

class Net extends nn.Module {
  scale = new nn.Parameter(randn([], { dtype: 'float64' }))
  conv = new nn.Conv2d(1, 3, 2)
  norm = new nn.BatchNorm2d(3)
  head = new nn.Linear(3, 2)
  override forward(x: Tensor): Tensor {
    return x
  }
}

/** The lines that the program prints, for tensors of ours. */
function lines(tensors: ReadonlyMap<string, Tensor>): string[] {
  const line = ([name, tensor]: [string, Tensor]) => {
    const data = tensor.data() as Float32Array
    const hex = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex')
    return `${name} ${typeNames[tensor.dtype]} [${tensor.shape.join(',')}] ${hex}`
  }
  return [...tensors].map(line).sort()
}

describe('archives of torch::save', function () {
  this.timeout(300_000) // a limit against hanging: building a program that includes torch/torch.h takes about 40 s
  let folder: string
  let program: string

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-archive-'))
    program = join(folder, 'program')
    const libtorch = addon().versions().libtorchPath
    const source = new URL('../../../test/interop/archive/program.cpp', import.meta.url).pathname
    const include = ['include', 'include/torch/csrc/api/include'].flatMap((path) => ['-isystem', join(libtorch, path)])
    const lib = join(libtorch, 'lib')
    const libraries = [
      join(lib, 'libtorch_cpu.so'),
      join(lib, 'libc10.so'),
      `-Wl,-rpath,${lib}`,
      '-Wl,--allow-shlib-undefined',
    ]
    execFileSync('g++', ['-std=c++20', '-O0', ...include, source, ...libraries, '-o', program], { stdio: 'pipe' })
  })
  after(() => rmSync(folder, { recursive: true }))

  const runProgram = (mode: string, path: string) =>
    execFileSync(program, [mode, path], { encoding: 'utf8' }).trim().split('\n').sort()

  it('a C++ program loads into its module what saveArchive wrote', async () => {
    manualSeed(3)
    const path = join(folder, 'ours.pt')
    const state = new Net().stateDict()
    await saveArchive(path, state)
    assert.deepEqual(runProgram('read', path), lines(state))
  })

  it('loadArchive reads what a C++ program saved', async () => {
    const path = join(folder, 'theirs.pt')
    const printed = runProgram('write', path)
    assert.deepEqual(lines((await loadArchive(path, { trust: true })) as ReadonlyMap<string, Tensor>), printed)
  })

  it('refuses to load without trust', async () => {
    await assert.rejects(loadArchive(join(folder, 'theirs.pt'), {} as { trust: true }), {
      name: 'TorchkeepError',
      message: /trust/,
    })
  })
})
