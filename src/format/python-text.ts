/** Python's ways to write text into a pickle. Each decoder raises its failures through `fail`. */

/** Raises an error that names the pickle and the place. */
export interface Failing {
  fail(reason: string, finding?: 'pickle.malformed' | 'pickle.unsupported'): never
}

/** Python's `str(bytes, 'utf-8', 'surrogatepass')` of `bytes[start, end)`. */
export function decodePythonUtf8(reader: Failing, bytes: Buffer, start = 0, end = bytes.length): string {
  const text = bytes.toString('utf8', start, end)
  if (!text.includes('\ufffd')) return text
  const part = bytes.subarray(start, end)
  return Buffer.from(text).equals(part) ? text : decodeSurrogates(reader, part)
}

/** The text of UTF-8 bytes, or undefined where they are none. */
export function decodeStrictUtf8(bytes: Buffer): string | undefined {
  const text = bytes.toString('utf8')
  return !text.includes('\ufffd') || Buffer.from(text).equals(bytes) ? text : undefined
}

/** UTF-8 in which lone surrogates stand as three bytes of their own. */
function decodeSurrogates(reader: Failing, bytes: Buffer): string {
  const pieces: string[] = []
  let start = 0
  let lastUnit = 0
  for (let at = 0; at + 2 < bytes.length; at++) {
    const [first = 0, second = 0, third = 0] = [bytes[at], bytes[at + 1], bytes[at + 2]]
    if (first !== 0xed || second < 0xa0) continue
    const unit = 0xd000 | ((second & 0x3f) << 6) | (third & 0x3f)
    if (at === start) refuseJoined(reader, lastUnit, unit)
    pieces.push(strictUtf8(reader, bytes.subarray(start, at)), String.fromCharCode(unit))
    lastUnit = unit
    start = at + 3
    at += 2
  }
  pieces.push(strictUtf8(reader, bytes.subarray(start)))
  return pieces.join('')
}

/** Python keeps two surrogates side by side as two characters; JavaScript would make one character of them. */
function refuseJoined(reader: Failing, previous: number, unit: number): void {
  if (unit >= 0xdc00 && unit < 0xe000 && previous >= 0xd800 && previous < 0xdc00)
    reader.fail('a string with two surrogates that would become one character', 'pickle.unsupported')
}

function strictUtf8(reader: Failing, bytes: Buffer): string {
  return decodeStrictUtf8(bytes) ?? reader.fail('a string that is not UTF-8')
}

/** The argument of UNICODE: latin-1 with `\uXXXX` and `\UXXXXXXXX` (Python's `raw-unicode-escape`). */
export function decodeRawUnicodeEscape(reader: Failing, text: string): string {
  if (!text.includes('\\')) return text
  let lastUnit = 0
  let lastEnd = -1
  return text.replace(/\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([^]?))/g, (all, four, eight, other, at: number) => {
    if (four === undefined && eight === undefined) {
      if (other === 'u' || other === 'U') reader.fail('an escape in a text that is cut or no number')
      return all as string
    }
    const code = parseInt((four ?? eight) as string, 16)
    if (code > 0x10ffff) reader.fail('an escape in a text beyond U+10FFFF')
    if (lastEnd === at) refuseJoined(reader, lastUnit, code)
    lastUnit = code
    lastEnd = at + (all as string).length
    return String.fromCodePoint(code)
  })
}

const escapes: Readonly<Record<string, number>> = {
  '\\': 0x5c,
  "'": 0x27,
  '"': 0x22,
  a: 0x07,
  b: 0x08,
  f: 0x0c,
  n: 0x0a,
  r: 0x0d,
  t: 0x09,
  v: 0x0b,
}

/** The argument of STRING: what Python 2's `repr` gives for a `str`, quotes included; its bytes. */
export function decodeStringLiteral(reader: Failing, line: string): Buffer {
  const quote = line[0]
  if (line.length < 2 || (quote !== "'" && quote !== '"') || line.at(-1) !== quote)
    reader.fail('the argument of STRING is not quoted')
  const bytes = Buffer.allocUnsafe(line.length)
  let length = 0
  for (let at = 1; at < line.length - 1; at++) {
    if (line[at] !== '\\') {
      bytes[length++] = line.charCodeAt(at)
      continue
    }
    const [all, digits] =
      /^\\(?:x([0-9a-fA-F]{2})|[0-7]{1,3}|[^])/.exec(line.slice(at, Math.min(at + 4, line.length - 1))) ?? []
    if (all === undefined) return reader.fail('an escape in the argument of STRING is cut')
    const known = escapes[all[1] as string]
    if (digits !== undefined) bytes[length++] = parseInt(digits, 16)
    else if (all[1] === 'x') reader.fail('an escape in the argument of STRING is cut')
    else if (known !== undefined) bytes[length++] = known
    else if (/\d/.test(all)) bytes[length++] = parseInt(all.slice(1), 8) & 0xff
    else {
      bytes[length++] = 0x5c
      bytes[length++] = all.charCodeAt(1)
    }
    at += all.length - 1
  }
  return bytes.subarray(0, length)
}
