/** Values as doubles: the bytes of the doubles equal those that Python computes, for every dtype, stride pattern and size of piece. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { dtypes, QuantizedTensorRecord, readTorchFile, TensorRecord, type DTypeName } from '../../src/format/index.js'
import { readDequantized, readElements, type ElementOptions } from '../../src/format/elements.js'
import { needPython, runPython } from '../python.js'

/** SHA-256 of the doubles; NaN counts as one value whatever its bits. */
async function digest(pieces: AsyncGenerator<Float64Array>): Promise<[count: number, sha256: string]> {
  const hash = createHash('sha256')
  let count = 0
  for await (const piece of pieces) {
    count += piece.length
    hash.update(new Uint8Array(Float64Array.from(piece, (value) => (Number.isNaN(value) ? NaN : value)).buffer))
  }
  return [count, hash.digest('hex')]
}

/** Python's side: `doubles(t)` gives what `readElements` should, as [count, sha256]. */
const pythonDoubles = `
import numpy as np
def small(bits, exponent_bits, mantissa_bits, bias):
    e, m = bits >> mantissa_bits & (1 << exponent_bits) - 1, bits & (1 << mantissa_bits) - 1
    v = m * 2.0 ** (1 - bias - mantissa_bits) if e == 0 else (1 + m * 2.0 ** -mantissa_bits) * 2.0 ** (e - bias)
    return -v if bits >> exponent_bits + mantissa_bits else v
def doubles(t):
    if t.is_quantized: t = t.int_repr()
    t = t.resolve_conj().resolve_neg().contiguous().reshape(-1)
    if t.dtype == torch.complex32: t = t.to(torch.complex128)
    if t.is_complex(): t = torch.view_as_real(t)
    name = str(t.dtype).removeprefix('torch.')
    if name.startswith('bits'): t = t.view(torch.uint16 if name == 'bits16' else torch.uint8)
    if name == 'float4_e2m1fn_x2':
        a = np.array([[small(b & 15, 2, 1, 1), small(b >> 4, 2, 1, 1)] for b in t.view(torch.uint8).tolist()])
    elif name == 'uint64': a = t.numpy().astype(np.float64)
    else: a = t.to(torch.float64).numpy()
    return hashed(a)
def hashed(a):
    a = np.ascontiguousarray(a, dtype='<f8').reshape(-1).copy()
    a[np.isnan(a)] = np.array([0x7ff8000000000000], dtype=np.uint64).view(np.float64)[0]
    return [a.size, hashlib.sha256(a.tobytes()).hexdigest()]
`

const every16 = `torch.arange(65536, dtype=torch.int32).to(torch.uint16)`
const every8 = `torch.arange(256, dtype=torch.int32).to(torch.uint8)`
/** Patterns that hold every special value: all bit patterns of small dtypes, random ones and edges of large ones. */
const patterns: Partial<Record<DTypeName, string>> = {
  float64: `torch.tensor([0.0, -0.0, 1.5, 5e-324, 1.7976931348623157e308, float('inf'), float('-inf'), float('nan')] * 3)`,
  float32: `torch.randint(-2**31, 2**31, (1000,), dtype=torch.int64).to(torch.int32).view(torch.float32)`,
  int64: `torch.tensor([0, -1, 2**53, 2**53 + 1, 2**53 + 3, -2**53 - 1, 2**63 - 1, -2**63, 2**32, 2**31, -2**31, -2**32, 2**60 + 2**7 + 1])`,
  uint64: `torch.tensor([0, -1, -2, 2**53 + 1, 2**63 - 1, -2**63, -2**53 - 1, 2**32, -2**11, -2**10 - 1]).view(torch.uint64)`,
  int32: `torch.tensor([0, -1, 2**31 - 1, -2**31], dtype=torch.int32)`,
  uint32: `torch.tensor([0, -1, 2**31 - 1, -2**31], dtype=torch.int32).view(torch.uint32)`,
  complex128: `torch.tensor([1+2j, complex('nan'), complex(-0.0, float('inf')), 3-4j], dtype=torch.complex128)`,
  complex64: `torch.tensor([1+2j, complex('nan'), complex(-0.0, float('inf')), 3-4j], dtype=torch.complex64)`,
  bool: `torch.tensor([True, False, False, True])`,
}
const quantized: Partial<Record<DTypeName, string>> = {
  quint8: `torch.quantize_per_tensor(torch.linspace(-3, 3, 101), 0.037, 7, torch.quint8)`,
  qint8: `torch.quantize_per_channel(torch.linspace(-3, 3, 60).reshape(3, 4, 5), torch.tensor([.1, .02, .3, .7], dtype=torch.float64), torch.tensor([1, 2, -3, 0]), 1, torch.qint8)`,
  qint32: `torch.quantize_per_tensor(torch.linspace(-3000, 3000, 101), 1e-4, -7, torch.qint32)`,
}
const packed: Partial<Record<DTypeName, string>> = {
  quint4x2: `torch.quantize_per_channel(torch.linspace(-3, 3, 24).reshape(4, 6), torch.tensor([.1, .2, .3, .4]), torch.tensor([0., 1, 2, 3]), 0, torch.quint4x2)`,
}
/** Python makes no such tensors that could be asked for values. */
const withoutPython = ['quint2x4']

const views: Record<string, string> = {
  'a transposed matrix': `torch.arange(12000.).reshape(100, 120).t()`,
  'permuted dimensions': `torch.arange(2*3*4*5, dtype=torch.int16).reshape(2, 3, 4, 5).permute(3, 1, 0, 2)`,
  'channels last': `torch.randn(3, 5, 7, 2).to(memory_format=torch.channels_last)`,
  'every third column from the fifth': `torch.arange(70000, dtype=torch.float64).reshape(70, 1000)[3:60:2, 5::3]`,
  'one column of a large matrix': `torch.arange(3_000_000, dtype=torch.int32).reshape(300, 10000)[:, 77]`,
  'rows far apart': `torch.arange(3_000_000, dtype=torch.int32).reshape(30, 100000)[::7, 10:20]`,
  'an expanded vector': `torch.tensor([[1.], [2.]]).expand(2, 5)`,
  'an expanded transposed one': `torch.arange(6.).reshape(2, 1, 3).expand(2, 4, 3).permute(2, 1, 0)`,
  'overlapping windows': `torch.arange(50.).as_strided((10, 7), (3, 1), 2)`,
  'a scalar in the middle': `torch.arange(9.)[4]`,
  'sizes of 1 with odd strides': `torch.arange(20.).as_strided((1, 4, 1, 3), (99, 3, 77, 1), 5)`,
  nothing: `torch.zeros(3, 0, 4)`,
  'a conjugated view': `torch.tensor([[1+2j, 3-4j], [5j, 6]]).conj()`,
  'a conjugated transposed half': `torch.tensor([[1+2j, 3-4j], [5j, 6]], dtype=torch.complex32).mT.conj()`,
  'a negated view': `torch.tensor([1+2j, 5j, 0j]).conj().imag`,
  'a large transposed one': `torch.arange(6_000_000, dtype=torch.int32).reshape(2000, 3000).t()`,
}

describe('format: values of tensors as doubles', function () {
  this.timeout(120_000)
  let folder = ''
  const expected = new Map<string, [number, string]>()
  const bytesOf = (dtype: string): string =>
    ['bits16', 'float16', 'bfloat16', 'int16', 'uint16'].includes(dtype)
      ? every16
      : dtype === 'complex32'
        ? every16
        : every8
  const programs = new Map<string, string>()
  for (const dtype of Object.keys(dtypes) as DTypeName[]) {
    if (withoutPython.includes(dtype)) continue
    const made = patterns[dtype] ?? quantized[dtype] ?? packed[dtype]
    programs.set(`dtype ${dtype}`, made ?? `${bytesOf(dtype)}.view(torch.${dtype})`)
  }
  for (const [name, program] of Object.entries(views)) programs.set(name, program)
  const names = [...programs.keys()]
  const pathOf = (name: string): string => join(folder, `${names.indexOf(name)}.pth`)

  before(async function () {
    needPython(this)
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-elements-'))
    const body = [...programs].map(([name, program]) => {
      const isPacked = name === 'dtype quint4x2'
      const reference = isPacked ? 'hashed(unpacked(t))' : 'doubles(t)'
      return `t = ${program}\ntorch.save(t, '${pathOf(name)}'); out.append(${reference})`
    })
    const text = await runPython(`import warnings; warnings.simplefilter('ignore')
torch.manual_seed(0)
${pythonDoubles}
def unpacked(t): # int_repr gives bytes that hold two elements
    b = t.int_repr().view(torch.uint8).reshape(-1)
    return torch.stack([b & 15, b >> 4], 1).reshape(-1)[:t.numel()].to(torch.float64).numpy()
out = []
${body.join('\n')}
print(json.dumps(out))`)
    for (const [index, result] of (JSON.parse(text) as [number, string][]).entries())
      expected.set(names[index] ?? '', result)
  })
  after(() => rm(folder, { recursive: true, force: true }))

  async function elements(name: string, options: ElementOptions = {}): Promise<[number, string]> {
    const file = await readTorchFile(pathOf(name))
    const tensor = file.value instanceof QuantizedTensorRecord ? file.value.integers : (file.value as TensorRecord)
    return digest(readElements(file, tensor, options))
  }

  for (const name of names) {
    it(name, async () => {
      for (const chunkElements of [undefined, 1000, 7]) {
        if (chunkElements === 7 && (expected.get(name)?.[0] ?? 0) > 100_000) continue
        assert.deepEqual(await elements(name, chunkElements === undefined ? {} : { chunkElements }), expected.get(name))
      }
    })
  }

  it('gives pieces of the size that was asked for, but the last', async () => {
    const file = await readTorchFile(pathOf('a transposed matrix'))
    const sizes: number[] = []
    for await (const piece of readElements(file, file.value as TensorRecord, { chunkElements: 5000 }))
      sizes.push(piece.length)
    assert.deepEqual(sizes, [5000, 5000, 2000])
  })

  it('dequantizes as Python does', async () => {
    const path = join(folder, 'dequantized.pth')
    const all = Object.values({ ...quantized, ...packed })
    const text = await runPython(`import warnings; warnings.simplefilter('ignore')
${pythonDoubles}
v = [${all.join(', ')}]
torch.save(v, '${path}')
print(json.dumps([hashed(t.dequantize().contiguous().to(torch.float64).numpy()) for t in v]))`)
    const file = await readTorchFile(path)
    const ours: unknown[] = []
    for (const tensor of file.value as QuantizedTensorRecord[])
      ours.push(await digest(readDequantized(file, tensor, { chunkElements: 7 })))
    assert.deepEqual(ours, JSON.parse(text))
  })

  it('reads packed elements from any place in a byte', async () => {
    const path = join(folder, 'uint2.pth')
    await runPython(`torch.save(torch.tensor([0b00011011, 0b11100100], dtype=torch.uint8), '${path}')`)
    const file = await readTorchFile(path)
    const bytes = file.value as TensorRecord
    const quarter = new TensorRecord({ ...bytes, dtype: 'quint2x4', sizes: [5], strides: [1], storageOffset: 2 })
    const values: number[] = []
    for await (const piece of readElements(file, quarter, { chunkElements: 3 })) values.push(...piece)
    assert.deepEqual(values, [1, 0, 0, 1, 2])
  })

  it('notices a changed byte, whatever part of the storage is read', async () => {
    for (const name of ['a transposed matrix', 'dtype bfloat16', 'a scalar in the middle']) {
      const damaged = join(folder, 'damaged.pth')
      await writeFile(damaged, await readFile(pathOf(name)))
      const before = await readTorchFile(damaged)
      const file = await open(damaged, 'r+')
      await file.write(Buffer.of(0x5a), 0, 1, (before.storages[0]?.source.offsetBytes ?? 0) + 3)
      await file.close()
      const changed = await readTorchFile(damaged)
      await assert.rejects(digest(readElements(changed, changed.value as TensorRecord)), {
        code: 'ERR_CHECKPOINT_CORRUPT',
        message: /CRC-32/,
      })
      await digest(readElements(changed, changed.value as TensorRecord, { checkCrc: false }))
      await assert.rejects(digest(readElements(before, before.value as TensorRecord)), { message: /changed since/ })
    }
  })

  it('refuses a tensor that claims far more elements than its storage holds', async () => {
    const file = await readTorchFile(pathOf('an expanded vector'))
    const vast = new TensorRecord({ ...(file.value as TensorRecord), sizes: [2, 2 ** 40] })
    await assert.rejects(digest(readElements(file, vast)), {
      code: 'ERR_CHECKPOINT_UNSAFE',
      message: /at most 1073741824/,
    })
  })

  it('refuses a piece of no size', async () => {
    const file = await readTorchFile(pathOf('an expanded vector'))
    for (const chunkElements of [0, -1, 1.5, NaN]) {
      await assert.rejects(digest(readElements(file, file.value as TensorRecord, { chunkElements })), {
        code: 'ERR_INVALID_ARGUMENT',
      })
    }
  })
})
