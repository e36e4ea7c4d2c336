/** Which elements of a storage a strided tensor covers. */
import { TorchkeepError } from './errors.js'
import type { TensorRecord } from './tensor-record.js'

/** Most states that the search for one element may visit before the tensor is refused as built to be slow. */
const maxStates = 1 << 16

interface Dimension {
  readonly axis: number
  readonly size: number
  readonly stride: number
  /** Largest offset that this and the later dimensions reach. */
  readonly reach: number
}

/** The place of a tensor's elements in its storage, for questions about single elements. */
export class StridedView {
  /** First and last element of the storage that the tensor covers; last is exclusive, equal for an empty tensor. In elements. */
  readonly begin: number
  readonly end: number
  /** Whether it covers every element in between, as contiguous and transposed tensors do. */
  readonly dense: boolean
  readonly #dimensions: readonly Dimension[]
  readonly #rank: number
  /** Whether each dimension's steps are longer than all later dimensions together reach, so that an element has one index at most. */
  readonly #nested: boolean
  /** Steps that all questions so far have taken, for callers that bound their work. */
  work = 0

  constructor({ sizes, strides, storageOffset }: Pick<TensorRecord, 'sizes' | 'strides' | 'storageOffset'>) {
    this.#rank = sizes.length
    const moving = sizes
      .map((size, axis) => ({ axis, size, stride: strides[axis] ?? 0 }))
      .filter(({ size, stride }) => size > 1 && stride > 0)
      .sort((left, right) => right.stride - left.stride)
    const dimensions: Dimension[] = []
    let reach = 0
    for (const dimension of moving.reverse()) {
      reach += (dimension.size - 1) * dimension.stride
      dimensions.unshift({ ...dimension, reach })
    }
    this.#dimensions = dimensions
    this.#nested = dimensions.every(({ stride }, index) => stride > (dimensions[index + 1]?.reach ?? 0))
    this.begin = storageOffset
    this.end = sizes.includes(0) ? storageOffset : storageOffset + reach + 1
    this.dense =
      this.#nested && dimensions.every(({ stride }, index) => stride === (dimensions[index + 1]?.reach ?? 0) + 1)
  }

  /** An index of the storage's element `position` in the tensor; undefined where the tensor does not cover it. Expanded dimensions have index 0. */
  indexOf(position: number): number[] | undefined {
    if (position < this.begin || position >= this.end) return undefined
    const index = new Array<number>(this.#rank).fill(0)
    const rest = position - this.begin
    const found = this.#nested ? this.#greedy(rest, index) : this.#search(rest, 0, index, new Set())
    return found ? index : undefined
  }

  #greedy(rest: number, index: number[]): boolean {
    this.work++
    for (const { axis, size, stride } of this.#dimensions) {
      const steps = Math.floor(rest / stride)
      if (steps >= size) return false
      index[axis] = steps
      rest -= steps * stride
    }
    return rest === 0
  }

  /** Overlapping windows can reach an element in several ways: tries them, remembering what led nowhere. */
  #search(rest: number, depth: number, index: number[], dead: Set<string>): boolean {
    this.work += 8
    const dimension = this.#dimensions[depth]
    if (dimension === undefined) return rest === 0
    if (rest > dimension.reach || dead.has(`${depth} ${rest}`)) return false
    const { axis, size, stride } = dimension
    const later = this.#dimensions[depth + 1]?.reach ?? 0
    const least = Math.max(0, Math.ceil((rest - later) / stride))
    for (let steps = Math.min(size - 1, Math.floor(rest / stride)); steps >= least; steps--) {
      index[axis] = steps
      if (this.#search(rest - steps * stride, depth + 1, index, dead)) return true
    }
    dead.add(`${depth} ${rest}`)
    if (dead.size > maxStates) {
      throw new TorchkeepError(
        'ERR_CHECKPOINT_UNSAFE',
        'the strides of a tensor are built to make every look at it slow',
        {
          finding: 'pickle.limit',
        },
      )
    }
    return false
  }
}
