/** Finds where a pickle ends by the lengths of its opcodes alone: in files that are sequences of pickles nothing else says it. */
import { opcode, opcodeArguments, opcodeNames } from './opcodes.js'

/**
 * Where the pickle that begins at `start` ends: the position after its STOP. `'cut'` where the bytes end before STOP does (there may be more in the file), `'malformed'` at a byte that is no
 * opcode. Nothing is built, so this costs no memory whatever the bytes say; whether the pickle makes sense is the reader's business.
 */
export function findPickleEnd(bytes: Buffer, start = 0): number | 'cut' | 'malformed' {
  let at = start
  while (at < bytes.length) {
    const code = bytes[at++] as number
    if (code === opcode.STOP) return at
    const argument = opcodeArguments.get(code)
    if (argument === undefined) {
      if (!opcodeNames.has(code)) return 'malformed'
    } else if (typeof argument === 'number') at += argument
    else if (argument === 'line' || argument === 'two lines') {
      for (let lines = argument === 'line' ? 1 : 2; lines > 0; lines--) {
        const end = bytes.indexOf(0x0a, at)
        if (end < 0) return 'cut'
        at = end + 1
      }
    } else {
      const widthBytes = Number(argument.slice(1))
      if (at + widthBytes > bytes.length) return 'cut'
      at += widthBytes + lengthAt(bytes, at, widthBytes)
    }
  }
  return 'cut'
}

function lengthAt(bytes: Buffer, at: number, widthBytes: number): number {
  if (widthBytes === 1) return bytes[at] as number
  return widthBytes === 4 ? bytes.readUInt32LE(at) : Number(bytes.readBigUInt64LE(at))
}
