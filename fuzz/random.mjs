/** Random numbers that a seed repeats (mulberry32). */
export class Random {
  #state

  constructor(seed) {
    this.#state = seed >>> 0
  }

  /** A fraction of [0, 1). */
  fraction() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** An integer of [0, limit). */
  below(limit) {
    return Math.floor(this.fraction() * limit)
  }

  pick(list) {
    return list[this.below(list.length)]
  }

  /** One in half of the cases, else some more: a file with many faults is refused for the first. */
  few(limit) {
    return this.below(2) === 0 ? 1 : Math.min(limit, 1 + Math.floor(-Math.log(1 - this.fraction()) * 2))
  }
}

/** Numbers at which arithmetic goes wrong. */
export const oddNumbers = [
  0n,
  1n,
  2n,
  7n,
  127n,
  128n,
  255n,
  256n,
  0x7fffn,
  0xffffn,
  0x10000n,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  0x100000000n,
  2n ** 40n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 62n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
]
