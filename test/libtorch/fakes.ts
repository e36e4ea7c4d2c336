/** Small stand-ins for LibTorch: libraries that hold only a dynamic section, folders and wheels around them. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** A 64-bit ELF library with nothing but a dynamic section. */
export function elfLibrary(needed: readonly string[], rpath = ''): Buffer {
  const strings = Buffer.from(['', rpath, ...needed, ''].join('\0'))
  const stringAt = (index: number) =>
    ['', rpath, ...needed].slice(0, index).reduce((at, text) => at + text.length + 1, 0)
  const dynamicAt = 64 + 2 * 56
  const entries: [bigint, number][] = [
    ...needed.map((_, index): [bigint, number] => [1n, stringAt(index + 2)]),
    [15n, stringAt(1)],
  ]
  const stringsAt = dynamicAt + (entries.length + 2) * 16
  entries.push([5n, stringsAt], [0n, 0])
  const file = Buffer.alloc(stringsAt + strings.length)
  file.write('\x7fELF\x02\x01\x01', 'latin1')
  file.writeBigUInt64LE(64n, 32) // program headers right after this one
  file.writeUInt16LE(56, 54)
  file.writeUInt16LE(2, 56)
  const segment = (at: number, type: number, offset: number, sizeBytes: number) => {
    file.writeUInt32LE(type, at)
    file.writeBigUInt64LE(BigInt(offset), at + 8)
    file.writeBigUInt64LE(BigInt(offset), at + 16)
    file.writeBigUInt64LE(BigInt(sizeBytes), at + 32)
  }
  segment(64, 1, 0, file.length)
  segment(64 + 56, 2, dynamicAt, (entries.length + 0) * 16)
  entries.forEach(([tag, value], index) => {
    file.writeBigUInt64LE(tag, dynamicAt + index * 16)
    file.writeBigUInt64LE(BigInt(value), dynamicAt + index * 16 + 8)
  })
  strings.copy(file, stringsAt)
  return file
}

/** Files of a LibTorch; `cuda` makes it a CUDA build whose libtorch_cpu needs libcudart. */
export function torchFiles(version: string, cuda: string | null = null): Record<string, Buffer | string> {
  const needed = cuda === null ? ['libc10.so'] : ['libc10.so', `libcudart.so.${cuda.split('.')[0]}`]
  return {
    'torch/lib/libtorch_cpu.so': elfLibrary(needed, '$ORIGIN/../../nvidia/cu13/lib:$ORIGIN'),
    'torch/lib/libc10.so': elfLibrary([]),
    ...(cuda !== null && { 'torch/lib/libtorch_cuda.so': elfLibrary([]) }),
    'torch/lib/libtorch_python.so': elfLibrary([]),
    'torch/include/ATen/core/Tensor.h': '#pragma once\n',
    'torch/share/cmake/Torch/TorchConfig.cmake': 'set(TORCH_CXX_FLAGS "-D_GLIBCXX_USE_CXX11_ABI=1")\n',
    'torch/version.py': `from typing import Optional\n__version__ = '${version}'\ncuda: Optional[str] = ${cuda === null ? 'None' : `'${cuda}'`}\n`,
    'torch/nn/__init__.py': '',
  }
}

/** Writes files below a folder. */
export function writeFiles(folder: string, files: Record<string, Buffer | string>): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), content)
  }
}

/** Writes a pure-Python wheel and returns its path. */
export function writeWheel(
  folder: string,
  name: string,
  version: string,
  files: Record<string, Buffer | string>,
  metadata: readonly string[] = [],
): string {
  const escaped = name.replaceAll('-', '_')
  const path = join(folder, `${escaped}-${version}-py3-none-any.whl`)
  const info = `${escaped}-${version}.dist-info`
  const content = {
    ...files,
    [`${info}/METADATA`]: [
      'Metadata-Version: 2.1',
      `Name: ${name}`,
      `Version: ${version}`,
      ...metadata,
      '',
      'A stand-in.',
      '',
    ].join('\n'),
    [`${info}/WHEEL`]: 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    [`${info}/RECORD`]: '',
  }
  mkdirSync(folder, { recursive: true })
  const entries = Object.entries(content).map(([file, bytes]) => [file, Buffer.from(bytes).toString('base64')])
  execFileSync('python3', ['-c', zipProgram, path], { input: JSON.stringify(entries) })
  return path
}

const zipProgram = `import base64, json, sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as wheel:
    for name, content in json.load(sys.stdin):
        wheel.writestr(name, base64.b64decode(content))`

/** A folder of wheels as the public index has them: torch's CUDA build, and NVIDIA's packages that its CPU part needs. */
export function writeCudaIndex(folder: string, version = '2.13.0'): void {
  const requirement = 'Requires-Dist: cuda-toolkit[cublas,cudart,cupti]==13.0.3; platform_system == "Linux"'
  writeWheel(folder, 'torch', version, torchFiles(`${version}+cu130`, '13.0'), ['Requires-Dist: filelock', requirement])
  writeWheel(folder, 'cuda-toolkit', '13.0.3', {}, [
    'Provides-Extra: cudart',
    'Requires-Dist: nvidia-cuda-runtime==13.0.96.*; extra == "cudart"',
    'Provides-Extra: cublas',
    'Requires-Dist: nvidia-cublas==13.1.0.*; extra == "cublas"',
  ])
  writeWheel(folder, 'nvidia-cuda-runtime', '13.0.96', {
    'nvidia/cu13/lib/libcudart.so.13': elfLibrary([]),
    'nvidia/cu13/include/cuda_runtime.h': '',
  })
}
