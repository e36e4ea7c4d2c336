/** Numbers whose count is not known before: kept in pieces of equal size, so that nothing is copied when they grow. */
type Kind<A> = { new (length: number): A }

export class GrowingArray<A extends Float64Array | Int32Array | Uint8Array> {
  readonly #kind: Kind<A>
  readonly #pieceLength: number
  readonly #pieces: A[] = []
  #length = 0

  /** @param width numbers of one row: rows are not cut into two pieces. */
  constructor(
    kind: Kind<A>,
    readonly width = 1,
  ) {
    this.#kind = kind
    this.#pieceLength = Math.max(1, Math.floor(2 ** 16 / width)) * width
  }

  push(value: number): void {
    const at = this.#length % this.#pieceLength
    if (at === 0) this.#pieces.push(new this.#kind(this.#pieceLength))
    const piece = this.#pieces.at(-1) as A
    piece[at] = value
    this.#length++
  }

  /** A further row, to be filled in: zeros at first. */
  row(): A {
    const at = this.#length % this.#pieceLength
    if (at === 0) this.#pieces.push(new this.#kind(this.#pieceLength))
    this.#length += this.width
    return this.#pieces.at(-1)?.subarray(at, at + this.width) as A
  }

  /** All numbers in one array; the pieces are given up on the way. */
  release(): A {
    const whole = new this.#kind(this.#length)
    for (let start = 0; start < this.#length; start += this.#pieceLength) {
      const piece = this.#pieces.shift() as A
      whole.set(piece.subarray(0, Math.min(this.#pieceLength, this.#length - start)) as never, start)
    }
    this.#length = 0
    return whole
  }
}
