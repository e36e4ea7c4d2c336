/** How far apart two tensors are, added up piece by piece. */

/** Numpy's rule: values are close where `|a - b| <= atol + rtol * |b|`. */
export interface Tolerance {
  rtol: number
  atol: number
}

/**
 * How far apart the values of two tensors are. All figures are over the places where both values are finite; the other places are counted. Differences and sums are doubles, so a sum over many values may
 * differ in its last bits from one in another order, and squares beyond 1e308 overflow (the norms are then NaN).
 */
export interface TensorFigures {
  /** Elements whose values differ: NaN equals NaN, and 0 equals -0, whatever their bits. */
  differing: number
  /** Elements beyond the tolerance; null without one. */
  outside: number | null
  /** Largest absolute difference (of complex numbers: of their distance); null where no place is finite on both sides. */
  maxAbs: number | null
  /** Mean absolute difference; null likewise. */
  meanAbs: number | null
  /** `||a - b|| / ||a||`: 0 where nothing differs, Infinity where a is all zeros and b is not. Null where no place is finite on both sides. */
  relativeNorm: number | null
  /** Cosine of the angle between a and b as vectors; null where one of them is all zeros. */
  cosine: number | null
  /** Places that are NaN on both sides: these count as equal, as in `numpy.testing`. */
  nanInBoth: number
  nanOnlyInA: number
  nanOnlyInB: number
  /** Places with an infinity on one side that the other does not have. Equal infinities are equal. */
  infinityMismatches: number
}

/** Sums over the pairs of values of two tensors. */
export class FigureSums {
  #finite = 0
  #differing = 0
  #outside = 0
  #maxAbs = 0
  #sumAbs = 0
  #squaresOfDifference = 0
  #squaresOfA = 0
  #squaresOfB = 0
  #products = 0
  #nanInBoth = 0
  #nanOnlyInA = 0
  #nanOnlyInB = 0
  #infinityMismatches = 0
  readonly #tolerance: Tolerance | null

  constructor(tolerance: Tolerance | null) {
    this.#tolerance = tolerance
  }

  /**
   * The next values, pair by pair.
   * @param differences `a - b` where the doubles themselves cannot give it (64-bit integers beyond 2^53).
   */
  add(a: Float64Array, b: Float64Array, differences: Float64Array | null = null): void {
    const { rtol, atol } = this.#tolerance ?? exact
    // Plain statements: taking arrays apart in this loop costs more than the arithmetic.
    let maxAbs = 0
    let sumAbs = 0
    let squares = 0
    let squaresOfA = 0
    let squaresOfB = 0
    let products = 0
    let differing = 0
    let outside = 0
    let finite = 0
    for (let index = 0; index < a.length; index++) {
      const left = a[index] as number
      const right = b[index] as number
      const difference = differences === null ? left - right : (differences[index] as number)
      if (difference - difference !== 0 && this.#addSpecial(left, right)) continue
      finite++
      squaresOfA += left * left
      squaresOfB += right * right
      products += left * right
      if (difference === 0) continue
      const distance = Math.abs(difference)
      differing++
      sumAbs += distance
      squares += distance * distance
      if (distance > maxAbs) maxAbs = distance
      if (distance > atol + rtol * Math.abs(right)) outside++
    }
    // Sums of one piece first: fewer bits are lost than in one long sum.
    this.#finite += finite
    this.#differing += differing
    this.#outside += outside
    this.#maxAbs = Math.max(this.#maxAbs, maxAbs)
    this.#sumAbs += sumAbs
    this.#squaresOfDifference += squares
    this.#squaresOfA += squaresOfA
    this.#squaresOfB += squaresOfB
    this.#products += products
  }

  /** The next complex values, as re, im pairs. */
  addComplex(a: Float64Array, b: Float64Array): void {
    const { rtol, atol } = this.#tolerance ?? exact
    for (let at = 0; at < a.length; at += 2) {
      const [re, im, otherRe, otherIm] = [a[at], a[at + 1], b[at], b[at + 1]] as [number, number, number, number]
      const distance = Math.hypot(re - otherRe, im - otherIm)
      if (distance - distance !== 0) {
        // A complex number is NaN where either part is, and infinite where either part is.
        const [left, right] = [nonFinitePart(re, im), nonFinitePart(otherRe, otherIm)]
        const equal = re === otherRe && im === otherIm
        if (equal || this.#addSpecial(left, left === right && Math.abs(left) === Infinity ? -left : right)) continue
      }
      this.#finite++
      this.#squaresOfA += re * re + im * im
      this.#squaresOfB += otherRe * otherRe + otherIm * otherIm
      this.#products += re * otherRe + im * otherIm
      if (distance === 0) continue
      this.#differing++
      this.#sumAbs += distance
      this.#squaresOfDifference += distance * distance
      this.#maxAbs = Math.max(this.#maxAbs, distance)
      if (distance > atol + rtol * Math.hypot(otherRe, otherIm)) this.#outside++
    }
  }

  /** Counts a pair with a value that is not finite; false where both are finite and only their difference is not. */
  #addSpecial(left: number, right: number): boolean {
    const [leftIsNaN, rightIsNaN] = [Number.isNaN(left), Number.isNaN(right)]
    if (leftIsNaN && rightIsNaN) this.#nanInBoth++
    else if (leftIsNaN) this.#nanOnlyInA++
    else if (rightIsNaN) this.#nanOnlyInB++
    else if (Number.isFinite(left) && Number.isFinite(right)) return false
    else if (left !== right) this.#infinityMismatches++
    return true
  }

  /** Adds the sums of other tensors, for the figures of a layer. */
  addSums(other: FigureSums, times = 1): void {
    this.#finite += other.#finite * times
    this.#differing += other.#differing * times
    this.#outside += other.#outside * times
    this.#maxAbs = Math.max(this.#maxAbs, other.#maxAbs)
    this.#sumAbs += other.#sumAbs * times
    this.#squaresOfDifference += other.#squaresOfDifference * times
    this.#squaresOfA += other.#squaresOfA * times
    this.#squaresOfB += other.#squaresOfB * times
    this.#products += other.#products * times
    this.#nanInBoth += other.#nanInBoth * times
    this.#nanOnlyInA += other.#nanOnlyInA * times
    this.#nanOnlyInB += other.#nanOnlyInB * times
    this.#infinityMismatches += other.#infinityMismatches * times
  }

  figures(): TensorFigures {
    const unequal = this.#nanOnlyInA + this.#nanOnlyInB + this.#infinityMismatches
    const any = this.#finite > 0
    const norms = Math.sqrt(this.#squaresOfA) * Math.sqrt(this.#squaresOfB)
    return {
      differing: this.#differing + unequal,
      outside: this.#tolerance === null ? null : this.#outside + unequal,
      maxAbs: any ? this.#maxAbs : null,
      meanAbs: any ? this.#sumAbs / this.#finite : null,
      relativeNorm: any ? relative(Math.sqrt(this.#squaresOfDifference), Math.sqrt(this.#squaresOfA)) : null,
      cosine: norms === 0 ? null : clamped(this.#products / norms),
      nanInBoth: this.#nanInBoth,
      nanOnlyInA: this.#nanOnlyInA,
      nanOnlyInB: this.#nanOnlyInB,
      infinityMismatches: this.#infinityMismatches,
    }
  }
}

const exact: Tolerance = { rtol: 0, atol: 0 }

const relative = (difference: number, norm: number): number => (difference === 0 ? 0 : difference / norm)

/** Rounding must not give a cosine beyond 1. */
const clamped = (cosine: number): number => Math.min(1, Math.max(-1, cosine))

/** NaN, an infinity, or 0 where both parts are finite. */
function nonFinitePart(re: number, im: number): number {
  if (Number.isNaN(re) || Number.isNaN(im)) return NaN
  return Number.isFinite(re) ? (Number.isFinite(im) ? 0 : im) : re
}
