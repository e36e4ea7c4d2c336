/** Finds the members of a tar archive of the kinds that Python's `tarfile` writes. Sizes are held against the bytes that are there. */
import type { ByteSource } from './byte-source.js'
import { fault, quoted, tooMuch } from './fault.js'
import { tarChecksum } from './recognize.js'

const blockBytes = 512

/** Extended headers hold a name and times, in less than a kilobyte. */
const maxExtendedBytes = 64 << 10

/** Tar archives end on a multiple of 10,240 bytes; more than this is no padding. */
const maxPaddingBytes = 1 << 20

/** More members than this are no checkpoint: there are three. */
const maxMembers = 1000

/** A regular file in the archive. */
export interface TarMember {
  offsetBytes: number
  sizeBytes: number
}

/** The regular files of the archive by name. @throws TorchkeepError ERR_CHECKPOINT_CORRUPT for links, devices, twins, broken headers and what follows the end. */
export async function readTarMembers(source: ByteSource): Promise<ReadonlyMap<string, TarMember>> {
  const { path } = source
  const members = new Map<string, TarMember>()
  let extended = new Map<string, string>()
  for (let at = 0; ;) {
    if (at + blockBytes > source.sizeBytes)
      fault(path, { finding: 'file.truncated' }, `the tar archive has no end: a header is wanted at byte ${at}`)
    const header = await source.read(at, blockBytes)
    if (header.every((byte) => byte === 0)) {
      await requireZeros(source, at)
      return members
    }
    const { name, sizeBytes, type } = parseHeader(path, header, at, extended)
    const offsetBytes = at + blockBytes
    if (sizeBytes > source.sizeBytes - offsetBytes) {
      const reason = `the member ${quoted(name)} of ${sizeBytes} bytes at ${offsetBytes} ends beyond the file of ${source.sizeBytes}`
      fault(path, { finding: 'file.truncated', subject: name }, reason)
    }
    extended = new Map()
    if (type === 'x') extended = await readExtended(source, offsetBytes, sizeBytes)
    else if (type !== '0' && type !== '\0')
      fault(
        path,
        { finding: 'tar.structure', subject: name },
        `the member ${quoted(name)} is of type ${quoted(type)}, no file`,
      )
    else if (members.has(name))
      fault(path, { finding: 'tar.structure', subject: name }, `${quoted(name)} is there twice`)
    else members.set(name, { offsetBytes, sizeBytes })
    if (members.size > maxMembers) tooMuch(path, null, `the tar archive has more than ${maxMembers} members`)
    at = offsetBytes + Math.ceil(sizeBytes / blockBytes) * blockBytes
  }
}

function parseHeader(path: string, header: Buffer, at: number, extended: ReadonlyMap<string, string>) {
  const text = (begin: number, end: number) => header.toString('utf8', begin, end).replace(/\0.*$/s, '')
  const bad = (reason: string): never =>
    fault(path, { finding: 'tar.structure' }, `the tar header at byte ${at}: ${reason}`)
  const checksum = /^[ 0]*([0-7]*)[ \0]*$/.exec(header.toString('latin1', 148, 156))?.[1]
  if (checksum === undefined || parseInt(`0${checksum}`, 8) !== tarChecksum(header)) bad('its checksum does not match')
  const prefix = text(257, 262) === 'ustar' ? text(345, 500) : ''
  const name = extended.get('path') ?? (prefix === '' ? '' : `${prefix}/`) + text(0, 100)
  const wide = extended.get('size')
  const sizeBytes =
    wide === undefined ? sizeOf(header.subarray(124, 136)) : /^\d{1,16}$/.test(wide) ? Number(wide) : NaN
  if (!Number.isSafeInteger(sizeBytes)) bad('its size is no number')
  return { name, sizeBytes, type: header.toString('latin1', 156, 157) }
}

/** Octal digits, or with the first bit set a big-endian number. */
function sizeOf(field: Buffer): number {
  if ((field[0] as number) === 0x80) return Number(field.readBigUInt64BE(4))
  const digits = /^ *([0-7]+)[ \0]*$/.exec(field.toString('latin1'))?.[1]
  return digits === undefined ? NaN : parseInt(digits, 8)
}

/** Records `length key=value\n` that hold for the next member. */
async function readExtended(source: ByteSource, at: number, sizeBytes: number): Promise<Map<string, string>> {
  if (sizeBytes > maxExtendedBytes) tooMuch(source.path, null, `an extended tar header of ${sizeBytes} bytes`)
  const bytes = await source.read(at, sizeBytes)
  const records = new Map<string, string>()
  for (let begin = 0; begin < sizeBytes;) {
    const digits = /^(\d{1,6}) /.exec(bytes.toString('latin1', begin, begin + 7))?.[1] ?? ''
    const end = begin + Number(digits)
    const record = bytes.toString('utf8', begin + digits.length + 1, end - 1)
    const equals = record.indexOf('=')
    if (digits === '' || end > sizeBytes || end <= begin || bytes[end - 1] !== 0x0a || equals < 0)
      fault(source.path, { finding: 'tar.structure' }, `the extended tar header at byte ${at} is broken`)
    records.set(record.slice(0, equals), record.slice(equals + 1))
    begin = end
  }
  return records
}

async function requireZeros(source: ByteSource, at: number): Promise<void> {
  const rest = source.sizeBytes - at
  const padding = rest > maxPaddingBytes ? Buffer.of(1) : await source.read(at, rest)
  if (padding.every((byte) => byte === 0)) return
  fault(source.path, { finding: 'file.trailing_bytes' }, `bytes follow the end of the tar archive at ${at}`)
}
