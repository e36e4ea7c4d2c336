/** Changes of archives that know their parts: records are changed inside and the archive is written again with right check sums, or its fields are made to lie. */
import { crc32 } from 'node:zlib'
import { forgeZip } from '../dist/test/format/zip-forge.js'
import { mutateBytes } from './mutate-bytes.mjs'
import { mutateJson } from './mutate-json.mjs'
import { mutatePickle } from './mutate-pickle.mjs'
import { oddNumbers } from './random.mjs'

/** Names and data of the stored records of a sound zip archive; undefined where it is none. */
export function parseZip(bytes) {
  const end = bytes.lastIndexOf('PK\x05\x06', undefined, 'latin1')
  if (end < 0) return undefined
  const records = []
  let at = bytes.readUInt32LE(end + 16)
  for (let count = bytes.readUInt16LE(end + 10); count > 0; count--) {
    const [method, size] = [bytes.readUInt16LE(at + 10), bytes.readUInt32LE(at + 20)]
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((offset) => bytes.readUInt16LE(at + offset))
    const header = bytes.readUInt32LE(at + 42)
    const start = header + 30 + bytes.readUInt16LE(header + 26) + bytes.readUInt16LE(header + 28)
    const name = bytes.toString('utf8', at + 46, at + 46 + nameBytes)
    if (method === 0) records.push({ name, data: bytes.subarray(start, start + size) })
    at += 46 + nameBytes + extraBytes + commentBytes
  }
  return records
}

/** Changes what a record holds, in the way that suits it. */
export function mutateContent(random, name, data, others) {
  if (/\.pkl$|\.metadata$/.test(name) && random.below(5) > 0) return mutatePickle(random, data)
  if (/\.json$/.test(name) && random.below(5) > 0) return mutateJson(random, data)
  return mutateBytes(random, data, others)
}

const fieldNames = [
  'flags',
  'method',
  'crc',
  'stored',
  'size',
  'name',
  'extra',
  'headerOffset',
  'disk',
  'signature',
  'external',
]

/** The archive with records changed inside, and sound otherwise. */
export function mutateRecords(random, bytes, others) {
  const records = parseZip(bytes)
  if (records === undefined || records.length === 0) return mutateBytes(random, bytes, others)
  const important = records.filter(({ name }) => /\.pkl$|\.json$|version$|byteorder$/.test(name))
  for (let count = random.few(2); count > 0; count--) {
    const record = random.below(4) > 0 && important.length > 0 ? random.pick(important) : random.pick(records)
    const kind = random.below(10)
    if (kind < 7) record.data = mutateContent(random, record.name, record.data, others)
    else if (kind === 7) records.splice(records.indexOf(record), 1)
    else if (kind === 8)
      records.splice(random.below(records.length), 0, {
        ...record,
        name: `${record.name}${random.pick(['', '2', '/x'])}`,
      })
    else record.data = random.pick(records).data
    if (records.length === 0) break
  }
  return forgeZip(records)
}

/** The archive with lies in the fields of its headers and end records. */
export function mutateFields(random, bytes, others) {
  const records = parseZip(bytes)
  if (records === undefined || records.length === 0) return mutateBytes(random, bytes, others)
  for (let count = random.few(3); count > 0; count--) {
    const at = random.below(records.length)
    const lie = fieldLie(random, records[at], bytes.length)
    const where = random.below(3)
    if (where !== 1) records[at] = { ...records[at], local: { ...records[at].local, ...lie } }
    if (where !== 0) records[at] = { ...records[at], central: { ...records[at].central, ...lie } }
  }
  return forgeZip(records, random.below(3) === 0 ? endLies(random, bytes.length) : {})
}

function fieldLie(random, record, fileBytes) {
  const field = random.pick(fieldNames)
  if (field === 'name')
    return { name: Buffer.from(random.pick([`${record.name}\0`, '../x', record.name.toUpperCase(), 'x', ''])) }
  if (field === 'extra')
    return { extra: mutateBytes(random, Buffer.from([1, 0, 16, 0, ...Array(16).fill(0)]), [Buffer.alloc(64)]) }
  if (field === 'crc') return { crc: random.pick([0, 1, crc32(record.data)]) }
  return { [field]: number(random, fileBytes) }
}

const number = (random, fileBytes) =>
  random.below(2) === 0 ? random.below(fileBytes * 2) : Number(random.pick(oddNumbers) & 0xffffffffn)

function endLies(random, fileBytes) {
  const field = random.pick(['disk', 'directoryDisk', 'countHere', 'count', 'sizeBytes', 'offset'])
  const lie = { [field]: number(random, fileBytes) }
  const forged = [
    { end: lie },
    { end64: lie },
    { end: lie, end64: lie },
    { end64: 'none' },
    { locator: { offset: number(random, fileBytes) } },
    { suffix: Buffer.alloc(30) },
    { prefix: Buffer.alloc(30) },
  ]
  return random.pick(forged)
}

/** A safetensors file with its header changed as JSON. */
export function mutateSafetensors(random, bytes, others) {
  if (random.below(3) === 0) return mutateBytes(random, bytes, others)
  const length = Number(bytes.readBigUInt64LE(0))
  const header = mutateJson(random, bytes.subarray(8, 8 + length))
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(BigInt(header.length))
  return Buffer.concat([prefix, header, bytes.subarray(8 + length)])
}

/** A tar file whose header sums are right again after the change. */
export function mutateTar(random, bytes, others) {
  const copy = Buffer.from(mutateBytes(random, bytes, others))
  for (let at = 0; at + 512 <= copy.length; at += 512) {
    if (copy.toString('latin1', at + 257, at + 262) !== 'ustar') continue
    copy.fill(' ', at + 148, at + 156)
    const sum = copy.subarray(at, at + 512).reduce((total, byte) => total + byte, 0)
    copy.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1')
  }
  return copy
}

/** A file of the stream format with one of its pickles changed; the storages after them stay. */
export function mutateLegacy(random, bytes, others) {
  if (random.below(3) === 0) return mutateBytes(random, bytes, others)
  const at = bytes.indexOf('\x80\x02', 30 + random.below(200), 'latin1')
  if (at < 0) return mutateBytes(random, bytes, others)
  return Buffer.concat([bytes.subarray(0, at), mutatePickle(random, bytes.subarray(at))])
}
