/** How commands write sizes, ages, numbers and names, and when they use colour. */
import { styleText } from 'node:util'

const kibi = 1024
const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** A size in binary units: `0 B`, `1023 B`, `20.0 MiB`, `1.95 GiB`. */
export function formatBytes(sizeBytes: number): string {
  let [value, unit] = [sizeBytes, 0]
  while (unit < units.length - 1 && Number(value.toPrecision(4)) >= kibi) [value, unit] = [value / kibi, unit + 1]
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2
  return `${value.toFixed(digits)} ${units[unit]}`
}

const second = 1000
const spans = [
  ['s', second, 60],
  ['min', 60 * second, 60],
  ['h', 3600 * second, 48],
  ['d', 86_400 * second, 60],
  ['months', 30.44 * 86_400 * second, 24],
  ['years', 365.25 * 86_400 * second, Infinity],
] as const

/** How long ago something was, in one unit: `12 s`, `5 min`, `30 h`, `9 d`, `5 months`. A moment in the future (a clock that went wrong) is `0 s`. */
export function formatAge(sinceMs: number, nowMs: number = Date.now()): string {
  const elapsed = Math.max(0, nowMs - sinceMs)
  const [unit, length] = spans.find(([, length, most]) => elapsed < length * most) ?? spans[5]
  return `${Math.floor(elapsed / length)} ${unit}`
}

/** A moment as local date and time to the second: `2026-01-31 13:05:09`. */
export function formatMoment(milliseconds: number): string {
  const date = new Date(milliseconds)
  const two = (value: number) => String(value).padStart(2, '0')
  return (
    `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ` +
    `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
  )
}

/** A number for people: integers in full, others with five significant digits, small ones with an exponent; null is a dash. */
export function formatNumber(value: number | bigint | null): string {
  if (value === null) return '-'
  if (typeof value === 'bigint' || Number.isInteger(value) || !Number.isFinite(value)) return String(value)
  if (Math.abs(value) < 1e-4) return value.toExponential(4).replace(/\.?0*e/, 'e')
  return String(Number(value.toPrecision(5)))
}

/** An integer with separators between thousands: `230,606`. */
// Not toLocaleString: its first call loads tables for tens of milliseconds.
export const formatCount = (count: number): string => String(count).replace(/\B(?=(\d{3})+$)/g, ',')

/** `1 file`, `3 files`. */
export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${formatCount(count)} ${count === 1 ? one : many}`

// C0 but tab and newline, DEL, C1, and the characters that reverse the direction of text.
const unprintable = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g
const escaped = (character: string) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`

/** A name out of a file as it may stand on a terminal, on one line: control characters are escaped, since a file must not move the cursor or hide text. */
export function printable(text: string): string {
  return text.replace(unprintable, escaped).replaceAll('\n', '\\n').replaceAll('\t', '\\t')
}

/** The same for whole output, which may have lines, tabs and colours of ours. */
export function printableLines(text: string): string {
  return text
    .split(/(\x1b\[\d+(?:;\d+)*m)/)
    .map((part, index) => (index % 2 === 1 ? part : part.replace(unprintable, escaped)))
    .join('')
}

/** JSON text in which no control character is left: inside strings, where alone they can be, they are escaped. */
export function printableJson(text: string): string {
  return text.replace(unprintable, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Whether standard output is a terminal that takes colours; `NO_COLOR`, `FORCE_COLOR=0` and `TERM=dumb` switch them off (Node looks at those). */
export function takesColor(): boolean {
  return process.stdout.isTTY && process.stdout.hasColors()
}

const styled = (format: Parameters<typeof styleText>[0]) => (text: string) =>
  takesColor() ? styleText(format, text) : text

/** Colours and weights for standard output; plain text where it is no terminal. */
export const style = {
  bold: styled('bold'),
  dim: styled('dim'),
  good: styled('green'),
  warning: styled('yellow'),
  bad: styled('red'),
} as const
