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

/** UTF-8 in which lone surrogates stand as three bytes of their own, one UTF-16 unit after the other. */
function decodeSurrogates(reader: Failing, bytes: Buffer): string {
  const units = new Uint16Array(bytes.length)
  let length = 0
  for (let at = 0; at < bytes.length;) {
    const code = codePointAt(reader, bytes, at)
    at += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4
    if (code < 0x10000) {
      refuseJoined(reader, length === 0 ? 0 : (units[length - 1] as number), code)
      units[length++] = code
    } else {
      units[length++] = 0xd800 | ((code - 0x10000) >> 10)
      units[length++] = 0xdc00 | (code & 0x3ff)
    }
  }
  return Buffer.from(units.buffer, 0, 2 * length).toString('utf16le')
}

/** The code point that begins at `at`, surrogates included. */
function codePointAt(reader: Failing, bytes: Buffer, at: number): number {
  const first = bytes[at] as number
  if (first < 0x80) return first
  const size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2
  let code = first & (0x7f >> size)
  for (let index = 1; index < size; index++) {
    const next = bytes[at + index] ?? 0
    if ((next & 0xc0) !== 0x80) notUtf8(reader)
    code = (code << 6) | (next & 0x3f)
  }
  const least = size === 2 ? 0x80 : size === 3 ? 0x800 : 0x10000
  if (first < 0xc2 || first > 0xf4 || code < least || code > 0x10ffff) notUtf8(reader)
  return code
}

function notUtf8(reader: Failing): never {
  reader.fail('a string that is not UTF-8')
}

/** Python keeps two surrogates side by side as two characters; JavaScript would make one character of them. */
function refuseJoined(reader: Failing, previous: number, unit: number): void {
  if (unit >= 0xdc00 && unit < 0xe000 && previous >= 0xd800 && previous < 0xdc00)
    reader.fail('a string with two surrogates that would become one character', 'pickle.unsupported')
}

/** The argument of UNICODE: latin-1 with `\\uXXXX` and `\\UXXXXXXXX` (Python's `raw-unicode-escape`). */
export function decodeRawUnicodeEscape(reader: Failing, text: string): string {
  let at = text.indexOf('\\')
  if (at < 0) return text
  const pieces: string[] = []
  let start = 0
  let lastUnit = 0
  while (at >= 0) {
    const digits = text[at + 1] === 'u' ? 4 : text[at + 1] === 'U' ? 8 : 0
    const end = at + 2 + digits
    if (digits > 0) {
      const code = hexadecimal(reader, text.slice(at + 2, end), digits)
      if (at === start) refuseJoined(reader, lastUnit, code)
      pieces.push(text.slice(start, at), String.fromCodePoint(code))
      lastUnit = code
      start = end
    }
    at = text.indexOf('\\', end)
  }
  pieces.push(text.slice(start))
  return pieces.join('')
}

function hexadecimal(reader: Failing, text: string, digits: number): number {
  if (text.length < digits || !/^[0-9a-fA-F]+$/.test(text)) reader.fail('an escape in a text that is cut or no number')
  const code = parseInt(text, 16)
  if (code > 0x10ffff) reader.fail('an escape in a text beyond U+10FFFF')
  return code
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
