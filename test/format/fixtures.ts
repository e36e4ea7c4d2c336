/** Makes torch files by hand: sound ones to start from, pickles opcode by opcode, and archives whose fields can be changed one at a time. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { planTorchFile, tensorFromBytes } from '../../src/format/index.js'
import { ZipPlanner, type PlannedPart } from '../../src/format/zip-write.js'
import { crc32 } from 'node:zlib'

/** Runs `use` with the path of a temporary file that holds `bytes`. */
export async function withFile<T>(bytes: Uint8Array, use: (path: string) => Promise<T>): Promise<T> {
  return withFolder(async (folder) => {
    const path = join(folder, 'x.pth')
    await writeFile(path, bytes)
    return use(path)
  })
}

/** Runs `use` with a temporary folder. */
export async function withFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'torchkeep-format-'))
  try {
    return await use(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** An archive of records in a top folder, in order; names may be anything. */
export function archive(records: readonly (readonly [string, Uint8Array | string])[], topFolder = 'x'): Buffer {
  const zip = new ZipPlanner<Uint8Array>(topFolder, 64)
  for (const [name, content] of records)
    zip.addBytes(name, typeof content === 'string' ? Buffer.from(content) : content)
  zip.finish()
  return render(zip.parts)
}

/** A torch file of a pickle and storages. */
export function torchFile(
  pickle: Uint8Array,
  storages: Record<string, Uint8Array> = {},
  more: [string, string][] = [],
): Buffer {
  const data = Object.entries(storages).map(([key, bytes]) => [`data/${key}`, bytes] as const)
  return archive([['data.pkl', pickle], ['byteorder', 'little'], ...data, ['version', '3\n'], ...more])
}

/** A small sound file: two tensors, a shared one, some plain values. */
export function soundFile(): Buffer {
  const weight = tensorFromBytes({
    dtype: 'float32',
    sizes: [2, 2],
    bytes: new Uint8Array(new Float32Array([1, 2, 3, 4]).buffer),
  })
  const steps = tensorFromBytes({ dtype: 'int64', sizes: [], bytes: new Uint8Array(8) })
  const plan = planTorchFile<Uint8Array>({ weight, tied: weight, steps, epoch: 3, name: 'a' }, { topFolder: 'x' })
  return render(plan.parts)
}

/** What an executor would write for parts over byte arrays. */
export function render(parts: readonly PlannedPart<Uint8Array>[]): Buffer {
  const crcs = new Map<number, number>()
  const pieces = parts.map((part) => {
    if (part.kind === 'bytes') {
      const bytes = Buffer.from(part.bytes)
      for (const { at, slot } of part.crcPatches ?? []) bytes.writeUInt32LE(crcs.get(slot) ?? 0, at)
      return bytes
    }
    const bytes = Buffer.from(part.tensor.subarray(part.offsetBytes, part.offsetBytes + part.sizeBytes))
    crcs.set(part.crcSlot, crc32(bytes))
    return bytes
  })
  return Buffer.concat(pieces)
}

/** Copies `file` and changes the local header (`PK 03 04`) or central entry (`PK 01 02`) of a record, named with its folder. */
export function patchHeader(
  file: Buffer,
  kind: 'local' | 'central',
  name: string,
  change: (header: Buffer) => void,
): Buffer {
  const copy = Buffer.from(file)
  const [signature, nameAt, lengthAt] = kind === 'local' ? ['PK\x03\x04', 30, 26] : ['PK\x01\x02', 46, 28]
  for (let at = copy.indexOf(signature, 0, 'latin1'); at >= 0; at = copy.indexOf(signature, at + 1, 'latin1')) {
    const length = copy.readUInt16LE(at + lengthAt)
    if (copy.toString('utf8', at + nameAt, at + nameAt + length) !== name) continue
    change(copy.subarray(at))
    return copy
  }
  throw new Error(`no ${kind} header of ${name}`)
}

/** Opcodes of a pickle as latin-1 text: `pickle(op.dict, op.str('a'), ...)`. */
export const op = {
  list: ']',
  dict: '}',
  tuple0: ')',
  tuple1: '\x85',
  tuple2: '\x86',
  tuple3: '\x87',
  tuple: 't',
  mark: '(',
  none: 'N',
  yes: '\x88',
  no: '\x89',
  reduce: 'R',
  build: 'b',
  newobj: '\x81',
  setitem: 's',
  setitems: 'u',
  append: 'a',
  appends: 'e',
  persid: 'Q',
  stop: '.',
  get: (index: number) => `h${String.fromCharCode(index)}`,
  put: (index: number) => `q${String.fromCharCode(index)}`,
  putFar: (index: number) => `r${u32(index)}`,
  global: (module: string, name: string) => `c${module}\n${name}\n`,
  str: (text: string) => `X${u32(Buffer.byteLength(text))}${Buffer.from(text).toString('latin1')}`,
  int: (value: number) => `J${u32(value)}`,
  long: (value: bigint) => {
    const bytes = Buffer.alloc(9)
    bytes.writeBigInt64LE(value)
    return `\x8a\x08${bytes.toString('latin1', 0, 8)}`
  },
  float: (value: number) => {
    const bytes = Buffer.alloc(8)
    bytes.writeDoubleBE(value)
    return `G${bytes.toString('latin1')}`
  },
}

function u32(value: number): string {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value | 0)
  return bytes.toString('latin1')
}

/** A protocol 2 pickle of opcodes; PROTO and STOP are added. */
export function pickle(...opcodes: readonly string[]): Buffer {
  return Buffer.from(`\x80\x02${opcodes.join('')}.`, 'latin1')
}

/** Opcodes that push a storage. */
export function storage(key: string, count: number | bigint, className = 'FloatStorage', module = 'torch'): string {
  const size = typeof count === 'bigint' ? op.long(count) : op.int(count)
  return (
    op.mark +
    op.str('storage') +
    op.global(module, className) +
    op.str(key) +
    op.str('cpu') +
    size +
    op.tuple +
    op.persid
  )
}

/** Opcodes that push a tuple of ints. */
export function ints(...values: readonly (number | bigint)[]): string {
  return (
    op.mark + values.map((value) => (typeof value === 'bigint' ? op.long(value) : op.int(value))).join('') + op.tuple
  )
}

/** Opcodes that push a tensor (`_rebuild_tensor_v2`) over the pushed storage. */
export function tensor(pushStorage: string, offset: number | bigint, sizes: string, strides: string): string {
  const at = typeof offset === 'bigint' ? op.long(offset) : op.int(offset)
  const hooks = op.global('collections', 'OrderedDict') + op.tuple0 + op.reduce
  return (
    op.global('torch._utils', '_rebuild_tensor_v2') +
    op.mark +
    pushStorage +
    at +
    sizes +
    strides +
    op.no +
    hooks +
    op.tuple +
    op.reduce
  )
}
