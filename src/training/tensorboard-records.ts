/**
 * The bytes of TensorBoard's event files: records of TensorFlow's TFRecord framing, each a protobuf message `Event` (`tensorflow/core/util/event.proto`, `summary.proto`). Few fields of few messages,
 * all of them frozen for years, so they are encoded here by hand.
 */

/** A file in the format that TensorBoard has read since 2015; with it a {@link sessionStart} purges what later steps left. */
const fileVersion = 'brain.Event:2'

/** `DataType` of a tensor of strings. */
const dtString = 7
/** `SessionLog.SessionStatus.START`. */
const statusStart = 1

/** The record that a file begins with. */
export function versionRecord(wallTime: number): Uint8Array {
  return record(Buffer.concat([double(1, wallTime), text(3, fileVersion)]))
}

/** Says that a run begins, so that readers drop what an earlier process wrote of `step` and later steps. */
export function sessionStart(wallTime: number, step: number): Uint8Array {
  return event(wallTime, step, message(7, varintField(1, statusStart)))
}

/** One value of a scalar, which TensorBoard keeps in float32. */
export function scalar(wallTime: number, step: number, tag: string, value: number): Uint8Array {
  return event(wallTime, step, message(5, message(1, text(1, tag), float(2, value))))
}

/** Text that TensorBoard shows as Markdown. */
export function markdown(wallTime: number, step: number, tag: string, content: string): Uint8Array {
  const metadata = message(9, message(1, text(1, 'text')))
  const tensor = message(8, varintField(1, dtString), message(2), text(8, content))
  return event(wallTime, step, message(5, message(1, text(1, tag), tensor, metadata)))
}

function event(wallTime: number, step: number, what: Uint8Array): Uint8Array {
  return record(Buffer.concat([double(1, wallTime), varintField(2, step), what]))
}

/** TFRecord: length as 64 bits, its masked CRC-32C, the data, its masked CRC-32C; all little-endian. */
function record(data: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(data.length + 16)
  bytes.writeUInt32LE(data.length, 0)
  bytes.writeUInt32LE(maskedCrc(bytes, 0, 8), 8)
  bytes.set(data, 12)
  bytes.writeUInt32LE(maskedCrc(bytes, 12, 12 + data.length), 12 + data.length)
  return bytes
}

/** Masked as TFRecord wants it, so that a CRC of bytes that hold CRCs stays a good one. */
function maskedCrc(bytes: Uint8Array, from: number, to: number): number {
  const crc = crc32c(bytes, from, to)
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}

/** CRC-32C (Castagnoli), which is not the CRC-32 of `zlib.crc32`. */
export function crc32c(bytes: Uint8Array, from = 0, to = bytes.length): number {
  let crc = ~0
  for (let index = from; index < to; index++)
    crc = (crcTable[(crc ^ (bytes[index] as number)) & 0xff] as number) ^ (crc >>> 8)
  return ~crc >>> 0
}

const crcTable = Uint32Array.from({ length: 256 }, (_none, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0)
  return crc
})

// Protobuf's wire format: a field is a varint of its number and kind, then its value.
const kinds = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const
const key = (field: number, kind: number): number => (field << 3) | kind

function varint(value: number): number[] {
  const bytes: number[] = []
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128)
  return [...bytes, value]
}

const varintField = (field: number, value: number): Uint8Array =>
  Uint8Array.from([key(field, kinds.varint), ...varint(value)])

/** A message inside a message. */
function message(field: number, ...fields: readonly Uint8Array[]): Uint8Array {
  const length = fields.reduce((sum, part) => sum + part.length, 0)
  return Buffer.concat([Uint8Array.from([key(field, kinds.bytes), ...varint(length)]), ...fields])
}

const text = (field: number, value: string): Uint8Array => message(field, Buffer.from(value))

function double(field: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(9)
  bytes[0] = key(field, kinds.fixed64)
  bytes.writeDoubleLE(value, 1)
  return bytes
}

function float(field: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(5)
  bytes[0] = key(field, kinds.fixed32)
  bytes.writeFloatLE(value, 1)
  return bytes
}
