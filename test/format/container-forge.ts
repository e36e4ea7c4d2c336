/** Writes files of the other containers whose parts may lie: safetensors, the stream format of torch.save before 1.6, the tar format before it. */
import { ints, op, pickle, tensor } from './fixtures.js'

const u64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt.asUintN(64, value))
  return bytes
}

/** A safetensors file; `length` is what the first eight bytes say. */
export function forgeSafetensors(header: unknown, data: Uint8Array = Buffer.alloc(0), length?: bigint): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  return Buffer.concat([u64(length ?? BigInt(text.length)), text, data])
}

/** The parts of a file of the stream format; without changes it holds one float tensor of four elements. */
export interface LegacyParts {
  magic: Buffer
  protocol: Buffer
  machine: Buffer
  object: Buffer
  keys: Buffer
  storages: Buffer
}

const long = (bytes: Buffer) => `\x8a${String.fromCharCode(bytes.length)}${bytes.toString('latin1')}`

/** Opcodes that push the storage with the key, as the stream format names it. */
export const legacyStorage = (key: string, count: number | bigint, view = op.none): string =>
  op.mark +
  op.str('storage') +
  op.global('torch', 'FloatStorage') +
  op.str(key) +
  op.str('cpu') +
  (typeof count === 'bigint' ? op.long(count) : op.int(count)) +
  view +
  op.tuple +
  op.persid

/** A storage's bytes: the count, then the elements. */
export const legacyBytes = (count: bigint, ...floats: number[]): Buffer =>
  Buffer.concat([u64(count), Buffer.from(new Float32Array(floats).buffer)])

/** A list of texts, pickled. */
export const textList = (...texts: string[]): Buffer => pickle(op.list, op.mark, ...texts.map(op.str), op.appends)

/** A file of the stream format with some of its parts changed. */
export function forgeLegacy(changes: Partial<LegacyParts> = {}): Buffer {
  const parts: LegacyParts = {
    magic: pickle(long(Buffer.from('6cfc9c46f9206aa85019', 'hex'))),
    protocol: pickle(op.int(1001)),
    machine: pickle(op.dict, op.str('little_endian'), op.yes, op.setitem),
    object: pickle(tensor(legacyStorage('7', 4), 0, ints(4), ints(1))),
    keys: textList('7'),
    storages: legacyBytes(4n, 1, 2, 3, 4),
    ...changes,
  }
  const { magic, protocol, machine, object, keys, storages } = parts
  return Buffer.concat([magic, protocol, machine, object, keys, storages])
}

/** One member of a tar archive; the header's fields are texts as they stand in it. */
export interface TarPart {
  name: string
  data: Uint8Array
  size?: string
  type?: string
  checksum?: string
}

/** A tar archive. */
export function forgeTar(parts: readonly TarPart[], end: Uint8Array = Buffer.alloc(1024)): Buffer {
  return Buffer.concat([...parts.flatMap(tarMember), end])
}

function tarMember({ name, data, size, type = '0', checksum }: TarPart): Uint8Array[] {
  const header = Buffer.alloc(512)
  header.write(name, 0)
  header.write('0000644\0', 100)
  header.write(`${size ?? data.length.toString(8).padStart(11, '0')}\0`, 124, 12, 'latin1')
  header.write('        ', 148)
  header.write(type, 156)
  header.write('ustar\x0000', 257, 'latin1')
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(checksum ?? `${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return [header, data, Buffer.alloc(-data.length & 511)]
}

const i64 = (...values: number[]) => Buffer.concat(values.map((value) => u64(BigInt(value))))
const tuple3 = (...parts: [string, string, string]) => pickle(...parts, op.tuple3)

/** The members of a file of the tar format: one float storage of four elements and one tensor over it. */
export function tarParts(changes: {
  storages?: Buffer
  tensors?: Buffer
  object?: Buffer
  count?: number
  views?: Buffer
  sizes?: number[]
  dimensions?: number
  offset?: number
}): TarPart[] {
  const { count = 4, sizes = [4], offset = 0, dimensions = sizes.length } = changes
  const cls = (name: string) => op.global('torch', name)
  const storages = Buffer.concat([
    pickle(op.int(1)),
    tuple3(op.int(10), op.str('cpu'), cls('FloatStorage')),
    i64(count),
    Buffer.from(new Float32Array([1, 2, 3, 4]).buffer),
    changes.views ?? pickle(op.list),
  ])
  const head = Buffer.alloc(8)
  head.writeInt32LE(dimensions)
  const tensors = Buffer.concat([
    pickle(op.int(1)),
    tuple3(op.int(1), op.int(10), cls('FloatTensor')),
    head,
    i64(...sizes, ...sizes.map(() => 1), offset),
  ])
  return [
    { name: 'storages', data: changes.storages ?? storages },
    { name: 'tensors', data: changes.tensors ?? tensors },
    { name: 'pickle', data: changes.object ?? pickle(op.str('1'), op.persid) },
  ]
}
