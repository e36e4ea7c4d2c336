/**
 * Decimal text of doubles as Python's `format` writes it. JavaScript's `toFixed` and `toExponential` round exact ties
 * away from zero, Python to even, so the digits are computed from the exact value.
 */

/** `f'{value:.{digits}f}'`. */
export function fixed(value: number, digits: number): string {
  if (!Number.isFinite(value)) return nonFinite(value)
  const scaled = roundedQuotient(exact(value), digits)
    .toString()
    .padStart(digits + 1, '0')
  const point = scaled.length - digits
  return sign(value) + scaled.slice(0, point) + (digits > 0 ? `.${scaled.slice(point)}` : '')
}

/** `f'{value:.{digits}e}'`. */
export function scientific(value: number, digits: number): string {
  if (!Number.isFinite(value)) return nonFinite(value)
  let exponent = value === 0 ? 0 : decimalExponent(value)
  let mantissa = roundedQuotient(exact(value), digits - exponent)
    .toString()
    .padStart(digits + 1, '0')
  if (mantissa.length > digits + 1) {
    exponent += 1
    mantissa = mantissa.slice(0, -1)
  }
  const exponentText = `${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`
  return `${sign(value)}${mantissa[0]}${digits > 0 ? '.' : ''}${mantissa.slice(1)}e${exponentText}`
}

/** A double's magnitude as a fraction. */
interface Fraction {
  numerator: bigint
  denominator: bigint
}

function exact(value: number): Fraction {
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, Math.abs(value))
  const bits = view.getBigUint64(0)
  const biased = Number(bits >> 52n)
  const mantissa = (bits & ((1n << 52n) - 1n)) | (biased === 0 ? 0n : 1n << 52n)
  const exponent = Math.max(biased, 1) - 1075
  if (exponent >= 0) return { numerator: mantissa << BigInt(exponent), denominator: 1n }
  return { numerator: mantissa, denominator: 1n << BigInt(-exponent) }
}

/** The magnitude times 10^power, rounded half to even. */
function roundedQuotient({ numerator, denominator }: Fraction, power: number): bigint {
  const n = power >= 0 ? numerator * 10n ** BigInt(power) : numerator
  const d = power >= 0 ? denominator : denominator * 10n ** BigInt(-power)
  const quotient = n / d
  const twice = 2n * (n % d)
  const up = twice > d || (twice === d && quotient % 2n === 1n)
  return up ? quotient + 1n : quotient
}

/** The power of ten of the first digit; JavaScript's shortest form names it exactly. */
function decimalExponent(value: number): number {
  return Number(value.toExponential().split('e')[1])
}

const sign = (value: number): string => (value < 0 || Object.is(value, -0) ? '-' : '')

const nonFinite = (value: number): string => (Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf')
