import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { findLibTorch } from '../../src/libtorch/locate.js'
import { installLibTorch } from '../../src/libtorch/install.js'
import { cpuRequirements, cudaRequirements } from '../../src/libtorch/nvidia.js'
import { elfLibrary, torchFiles, writeCudaIndex, writeFiles, writeWheel } from './fakes.js'

/** A folder of wheels stands for pip's index, through pip's own configuration: what setup promises to honour. */
describe('libtorch/install', () => {
  let folder: string
  let cache: string
  let env: NodeJS.ProcessEnv
  const before = { ...process.env }
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-install-'))
    cache = join(folder, 'cache')
    env = { ...before, TORCHKEEP_CACHE: cache }
    for (const name of ['LIBTORCH', 'TORCHKEEP_PYTHON', 'VIRTUAL_ENV']) delete env[name]
    Object.assign(process.env, { PIP_NO_INDEX: '1', PIP_FIND_LINKS: join(folder, 'wheels') })
  })
  afterEach(() => {
    for (const name of ['PIP_NO_INDEX', 'PIP_FIND_LINKS']) {
      if (before[name] === undefined) delete process.env[name]
      else process.env[name] = before[name]
    }
    rmSync(folder, { recursive: true })
  })
  const install = (options: Parameters<typeof installLibTorch>[0] = {}) =>
    installLibTorch({ variant: 'cpu', env, ...options })

  it('takes the CPU wheel where pip finds one', async () => {
    writeCudaIndex(join(folder, 'wheels'))
    writeWheel(join(folder, 'wheels'), 'torch', '2.13.0+cpu', torchFiles('2.13.0+cpu'))
    const { entry, installed } = await install()
    assert.equal(installed, true)
    assert.equal(entry.manifest.version, '2.13.0+cpu')
    assert.deepEqual(
      entry.manifest.wheels.map(({ file, known }) => [file, known]),
      [['torch-2.13.0+cpu-py3-none-any.whl', false]],
    )
    assert.ok(!existsSync(join(cache, entry.name, 'nvidia')))
  })

  it('takes the CPU part of a CUDA wheel, with only the NVIDIA libraries that it needs, beside it', async () => {
    writeCudaIndex(join(folder, 'wheels'))
    const lines: string[] = []
    const { entry } = await install({ log: (line) => lines.push(line) })
    const files = (readdirSync(join(cache, entry.name), { recursive: true, encoding: 'utf8' }) as string[])
      .filter((name) => /\.(so|h|py|cmake)/.test(name))
      .sort()
    assert.deepEqual(files, [
      'nvidia/cu13/lib/libcudart.so.13',
      'torch/include/ATen/core/Tensor.h',
      'torch/lib/libc10.so',
      'torch/lib/libtorch_cpu.so',
      'torch/share/cmake/Torch/TorchConfig.cmake',
      'torch/version.py',
    ])
    const wheel = readFileSync(join(folder, 'wheels', 'torch-2.13.0-py3-none-any.whl'))
    assert.equal(entry.manifest.wheels[0]?.sha256, createHash('sha256').update(wheel).digest('hex'))
    assert.match(
      lines.join('\n'),
      /LibTorch 2\.13\.0, cpu: torch-2\.13\.0-py3-none-any\.whl from a local folder\n  download .*\n  unpacked .*\n  cache .* free\)/,
    )
    assert.match(lines.join('\n'), /is not one of the public wheels we know/)
    assert.equal((await findLibTorch(env)).libtorch?.cuda, '13.0')
  })

  it('takes a second time what is there', async () => {
    writeCudaIndex(join(folder, 'wheels'))
    await install()
    rmSync(join(folder, 'wheels'), { recursive: true })
    assert.equal((await install()).installed, false)
  })

  it('may run several times at once', async () => {
    writeCudaIndex(join(folder, 'wheels'))
    const results = await Promise.all([install(), install()])
    assert.equal(new Set(results.map(({ entry }) => entry.path)).size, 1)
    assert.deepEqual(readdirSync(cache).sort(), ['current', 'libtorch-2.13.0-cpu'])
  })

  it('takes a wheel, a folder of wheels, or a LibTorch folder from --from', async () => {
    writeCudaIndex(join(folder, 'offline'))
    const wheel = join(folder, 'offline', 'torch-2.13.0-py3-none-any.whl')
    const { entry: first } = await install({ from: wheel })
    assert.equal(first.manifest.from, wheel)
    assert.match(first.name, /^libtorch-2\.13\.0-cpu-[0-9a-f]{8}$/)
    env['TORCHKEEP_CACHE'] = join(folder, 'cache2')
    assert.equal((await install({ from: join(folder, 'offline') })).entry.manifest.from, join(folder, 'offline'))
    const { entry } = await install({
      from: dirname(first.path),
      env: { ...env, TORCHKEEP_CACHE: join(folder, 'cache3') },
    })
    assert.ok(existsSync(join(folder, 'cache3', entry.name, 'nvidia', 'cu13', 'lib', 'libcudart.so.13')))
  })

  const wrong: { name: string; make: () => string; message: RegExp }[] = [
    { name: 'a path that does not exist', make: () => join(folder, 'nowhere'), message: /nowhere does not exist/ },
    {
      name: 'a folder without LibTorch',
      make: () => (writeFiles(folder, { 'other/readme.txt': '' }), join(folder, 'other')),
      message: /other is not a LibTorch folder: expected lib\/libtorch_cpu\.so, .*found readme\.txt/,
    },
    {
      name: 'another package',
      make: () => writeWheel(folder, 'numpy', '2.0.0', {}),
      message: /expected a wheel of torch, found one of numpy 2\.0\.0/,
    },
    {
      name: 'a file that is no zip',
      make: () => (
        writeFileSync(join(folder, 'torch-2.13.0-py3-none-any.whl'), 'no zip'),
        join(folder, 'torch-2.13.0-py3-none-any.whl')
      ),
      message: /is not a readable wheel: .*BadZipFile/,
    },
    {
      name: 'a wheel without the libraries',
      make: () => writeWheel(folder, 'torch', '2.13.0', { 'torch/version.py': '' }),
      message: /is not a LibTorch folder/,
    },
    {
      name: 'a file of another kind',
      make: () => (writeFileSync(join(folder, 'libtorch.zip'), ''), join(folder, 'libtorch.zip')),
      message: /expected a wheel \(\.whl\) or a folder, found the file libtorch\.zip/,
    },
  ]
  for (const { name, make, message } of wrong) {
    it(`refuses ${name}, and leaves the cache as it was`, async () => {
      await assert.rejects(install({ from: make() }), (error: Error & { code: string }) => {
        assert.equal(error.code, 'ERR_LIBTORCH_MISSING')
        assert.match(error.message, message)
        return true
      })
      assert.deepEqual(existsSync(cache) ? readdirSync(cache) : [], [])
    })
  }

  it('refuses a wheel that carries the name of a public one with other content', async () => {
    const wheel = writeWheel(join(folder, 'wheels'), 'nvidia-cuda-runtime', '13.0.96', {
      'nvidia/cu13/lib/libcudart.so.13': elfLibrary([]),
    })
    writeCudaIndex(join(folder, 'wheels'))
    rmSync(wheel)
    const public_ = 'nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl'
    renameSync(
      writeWheel(folder, 'nvidia-cuda-runtime', '13.0.96', { 'nvidia/cu13/lib/libcudart.so.13': elfLibrary([]) }),
      join(folder, 'wheels', public_),
    )
    await assert.rejects(
      install(),
      /pip fetched nvidia_cuda_runtime-.* with sha256 .*; the public wheel of that name has 7f82250d/,
    )
  })

  it('refuses before the download when the disk is too full, with what it needs and what there is', async () => {
    writeCudaIndex(join(folder, 'wheels'))
    await assert.rejects(
      install({ free: () => Promise.resolve(100) }),
      /No space for LibTorch in .*cache: expected .* free, found 100 bytes/,
    )
    assert.deepEqual(readdirSync(cache), [])
  })

  it('refuses a CPU build where CUDA is wanted', async () => {
    writeWheel(join(folder, 'wheels'), 'torch', '2.13.0', torchFiles('2.13.0+cpu'))
    await assert.rejects(install({ variant: 'cuda' }), /Expected a CUDA build of torch, found 2\.13\.0\+cpu/)
  })

  it('says so when pip finds no wheel', async () => {
    writeCudaIndex(join(folder, 'wheels'))
    await assert.rejects(install({ version: '9.9.9' }), /pip finds no wheel of torch 9\.9\.9/)
  })

  it("picks NVIDIA's packages by what libtorch_cpu lacks", () => {
    const thirteen = [
      'filelock',
      'cuda-toolkit[cublas,cudart,cupti]==13.0.3; platform_system == "Linux"',
      'nvidia-cudnn-cu13==9.20.0.48',
    ]
    assert.deepEqual(cpuRequirements(thirteen, ['libcupti.so.13', 'libcudart.so.13']), {
      withDependencies: ['cuda-toolkit[cupti,cudart]==13.0.3; platform_system == "Linux"'],
      alone: [],
    })
    const twelve = [
      'nvidia-cuda-runtime-cu12==12.8.90; platform_system == "Linux"',
      'nvidia-cuda-cupti-cu12==12.8.90',
      'triton==3.4.0',
    ]
    assert.deepEqual(cpuRequirements(twelve, ['libcudart.so.12']), { withDependencies: [], alone: [twelve[0]] })
    assert.deepEqual(cudaRequirements(thirteen).withDependencies, thirteen.slice(1))
    assert.throws(() => cpuRequirements(twelve, ['libcufile.so.0']), /libtorch_cpu needs libcufile\.so\.0/)
  })
})
