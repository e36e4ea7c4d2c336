/** Changes of bytes that know nothing of any format. */
import { oddNumbers } from './random.mjs'

const changes = [flip, flip, overwrite, writeNumber, writeNumber, cut, extend, remove, repeat, move, cross, clear]

/** Bytes with one or several changes; `others` are files to take pieces from. */
export function mutateBytes(random, bytes, others) {
  let result = Buffer.from(bytes)
  for (let count = random.few(4); count > 0; count--) result = random.pick(changes)(random, result, others)
  return result
}

function flip(random, bytes) {
  if (bytes.length === 0) return bytes
  for (let count = random.few(6); count > 0; count--) bytes[random.below(bytes.length)] ^= 1 << random.below(8)
  return bytes
}

function overwrite(random, bytes) {
  if (bytes.length > 0)
    bytes[random.below(bytes.length)] = random.pick([0, 1, 0x2e, 0x7f, 0x80, 0xff, random.below(256)])
  return bytes
}

function writeNumber(random, bytes) {
  const width = random.pick([1, 2, 4, 8])
  if (bytes.length < width) return bytes
  const at = random.below(bytes.length - width + 1)
  const number = random.below(3) === 0 ? BigInt(random.below(bytes.length * 2)) : random.pick(oddNumbers)
  for (let index = 0; index < width; index++) bytes[at + index] = Number((number >> BigInt(8 * index)) & 0xffn)
  return bytes
}

function cut(random, bytes) {
  return bytes.subarray(0, random.below(bytes.length + 1))
}

function extend(random, bytes) {
  return Buffer.concat([bytes, Buffer.alloc(random.below(300), random.pick([0, 0x5a, 0xff]))])
}

const range = (random, bytes) => {
  const start = random.below(bytes.length + 1)
  return [start, Math.min(bytes.length, start + random.below(random.pick([4, 64, 1024])))]
}

function remove(random, bytes) {
  const [start, end] = range(random, bytes)
  return Buffer.concat([bytes.subarray(0, start), bytes.subarray(end)])
}

function repeat(random, bytes) {
  const [start, end] = range(random, bytes)
  const copies = Array.from({ length: random.few(20) }, () => bytes.subarray(start, end))
  return Buffer.concat([bytes.subarray(0, end), ...copies, bytes.subarray(end)])
}

function move(random, bytes) {
  const [start, end] = range(random, bytes)
  const rest = Buffer.concat([bytes.subarray(0, start), bytes.subarray(end)])
  const at = random.below(rest.length + 1)
  return Buffer.concat([rest.subarray(0, at), bytes.subarray(start, end), rest.subarray(at)])
}

function cross(random, bytes, others) {
  const other = random.pick(others)
  const [start, end] = range(random, other)
  const at = random.below(bytes.length + 1)
  const keep = random.pick([0, end - start])
  return Buffer.concat([bytes.subarray(0, at), other.subarray(start, end), bytes.subarray(at + keep)])
}

function clear(random, bytes) {
  const [start, end] = range(random, bytes)
  return bytes.fill(0, start, end)
}
