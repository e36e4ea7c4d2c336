/** Walks over a pickle by the lengths of its opcodes alone, without building anything. */
import { opcode, opcodeArguments, opcodeNames } from './opcodes.js'

/** Size of what follows each opcode's byte, or one of the kinds below. */
const argumentSizes = new Int8Array(256).fill(-1)

const unknownOpcode = -1
const line = -2
const twoLines = -3
const lengthOfOne = -4
const lengthOfFour = -5
const lengthOfEight = -6
const kinds = { line, 'two lines': twoLines, u1: lengthOfOne, u4: lengthOfFour, u8: lengthOfEight }

for (const code of opcodeNames.keys()) {
  const argument = opcodeArguments.get(code) ?? 0
  argumentSizes[code] = typeof argument === 'number' ? argument : kinds[argument]
}

/**
 * Where the pickle that begins at `start` ends: the position after its STOP. `'cut'` where the bytes end before STOP does (there may be more in the file), `'malformed'` at a byte that is no
 * opcode. In files that are sequences of pickles nothing else says where one ends. Whether the pickle makes sense is the reader's business.
 */
export function findPickleEnd(bytes: Buffer, start = 0): number | 'cut' | 'malformed' {
  return scan(bytes, start, () => undefined)
}

/** Which memo entries a pickle ever fetches, a bit each: most are only ever stored, and need not be kept. Entries beyond the pickle's length are left out. */
export function fetchedMemoEntries(bytes: Buffer): Uint8Array {
  const fetched = new Uint8Array((bytes.length >> 3) + 1)
  const note = (code: number, at: number) => {
    let index = -1
    if (code === opcode.BINGET) index = bytes[at] ?? -1
    else if (code === opcode.LONG_BINGET && at + 4 <= bytes.length) index = bytes.readUInt32LE(at)
    else if (code === opcode.GET) index = decimalAt(bytes, at)
    if (index >= 0 && index <= bytes.length) fetched[index >> 3] = (fetched[index >> 3] as number) | (1 << (index & 7))
  }
  scan(bytes, 0, note)
  return fetched
}

/** The digits up to a newline; -1 for anything that the reader does not take for a memo entry. */
function decimalAt(bytes: Buffer, at: number): number {
  const end = bytes.indexOf(0x0a, at)
  const text = end < 0 || end - at > 15 ? '' : bytes.toString('latin1', at, end)
  return /^\d{1,15}$/.test(text) ? Number(text) : -1
}

function scan(
  bytes: Buffer,
  start: number,
  visit: (code: number, argumentAt: number) => void,
): number | 'cut' | 'malformed' {
  let at = start
  while (at < bytes.length) {
    const code = bytes[at++] as number
    if (code === opcode.STOP) return at
    const size = argumentSizes[code] as number
    if (size >= 0) {
      if (size > 0) visit(code, at)
      at += size
      continue
    }
    if (size === unknownOpcode) return 'malformed'
    visit(code, at)
    if (size === line || size === twoLines) {
      for (let lines = size === line ? 1 : 2; lines > 0; lines--) {
        const end = bytes.indexOf(0x0a, at)
        if (end < 0) return 'cut'
        at = end + 1
      }
    } else {
      const widthBytes = size === lengthOfOne ? 1 : size === lengthOfFour ? 4 : 8
      if (at + widthBytes > bytes.length) return 'cut'
      at += widthBytes + lengthAt(bytes, at, widthBytes)
    }
  }
  return 'cut'
}

function lengthAt(bytes: Buffer, at: number, widthBytes: 1 | 4 | 8): number {
  if (widthBytes === 1) return bytes[at] as number
  return widthBytes === 4 ? bytes.readUInt32LE(at) : Number(bytes.readBigUInt64LE(at))
}
