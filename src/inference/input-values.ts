/** Tensors for the inputs of a model: those that were given, checked, and those made of nested numbers. */
import { isComplex, keep, tensor, Tensor, type DType, type TypedArray } from '../../lib/index.js'
import { integerRange } from '../../lib/dtype.js'
import { dtypes } from '../format/dtypes.js'
import { TorchkeepError } from '../format/errors.js'
import type { SizeRules } from './sizes.js'
import type { NestedNumbers } from './types.js'

/** What a model takes in one place. */
export interface InputSpec {
  name: string
  dtype: DType
}

/** The inputs of a call. */
export interface Inputs {
  tensors: Tensor[]
  /** Those of {@link tensors} that were made here and are to be disposed. */
  made: Set<Tensor>
}

/** Turns what a caller gave into the tensors that a graph takes. */
export class InputReader {
  constructor(
    private readonly specs: readonly InputSpec[],
    private readonly rules: SizeRules,
    private readonly device: string,
  ) {}

  /** @throws TorchkeepError `ERR_DATA` naming the input, with what was expected and found. */
  read(given: readonly (Tensor | NestedNumbers)[]): Inputs {
    if (!Array.isArray(given) || given.length !== this.specs.length) {
      const found = Array.isArray(given) ? `${given.length} inputs` : `no array of inputs`
      throw new TorchkeepError('ERR_DATA', `expected ${this.specs.length} inputs (${this.#all()}), found ${found}`)
    }
    const made = new Set<Tensor>()
    try {
      const read = this.specs.map((_, index) => this.#input(index, given[index] as Tensor | NestedNumbers, made))
      const problem = this.rules.problem(read.map(({ sizes }) => sizes))
      const tensors = read.map(({ tensor }) => tensor)
      if (problem !== null) throw this.#unfit(problem.input, describe(tensors[problem.input] as Tensor), problem.reason)
      return { tensors, made }
    } catch (error) {
      for (const own of made) own.dispose()
      throw error
    }
  }

  /** The tensor and its sizes, which are asked for once: each asking takes as long as a small layer. */
  #input(
    index: number,
    given: Tensor | NestedNumbers,
    made: Set<Tensor>,
  ): { tensor: Tensor; sizes: readonly number[] } {
    if (!(given instanceof Tensor)) {
      const own = keep(this.#fromNumbers(index, given))
      made.add(own)
      return { tensor: own, sizes: own.shape }
    }
    const { dtype, device, sizes } = given.info()
    if (dtype !== (this.specs[index] as InputSpec).dtype || sizes.length !== this.#shape(index).length)
      throw this.#unfit(index, describe(given))
    if (device !== this.device)
      throw new TorchkeepError(
        'ERR_DATA',
        `${this.#name(index)}: expected a tensor on ${this.device}, found one on ${device}`,
      )
    return { tensor: given, sizes }
  }

  #fromNumbers(index: number, given: NestedNumbers): Tensor {
    const { dtype } = this.specs[index] as InputSpec
    const wanted = this.#shape(index)
    if (isComplex(dtype))
      throw new TorchkeepError('ERR_DATA', `${this.#name(index)}: ${dtype} has no form in numbers; give a tensor`)
    const shape = shapeOf(given, wanted)
    if (shape === null) throw this.#unfit(index, describeNested(given))
    const elements = shape.reduce((product, size) => product * size, 1)
    const carrier = narrow.has(dtype) ? 'float32' : dtype
    const array = new dtypes[carrier].array(new ArrayBuffer(elements * dtypes[carrier].itemSizeBytes)) as TypedArray
    const fill = new Filler(
      array,
      shape,
      checkerOf(dtype),
      (reason) => new TorchkeepError('ERR_DATA', `${this.#name(index)}${reason}`),
    )
    fill.level(given, 0)
    return tensor(array, { dtype, shape, device: this.device })
  }

  #shape(index: number): readonly (number | string)[] {
    return this.rules.shapes[index] ?? []
  }

  #name(index: number): string {
    const { name } = this.specs[index] as InputSpec
    return this.specs.length === 1 ? `input '${name}'` : `input '${name}' (${index + 1} of ${this.specs.length})`
  }

  #wanted(index: number): string {
    return `${this.specs[index]?.dtype} [${this.#shape(index).join(', ')}]`
  }

  #all(): string {
    return this.specs.map(({ name }, index) => `${name} ${this.#wanted(index)}`).join(', ')
  }

  #unfit(index: number, found: string, reason?: string): TorchkeepError {
    const more = reason === undefined ? '' : `: ${reason}`
    return new TorchkeepError(
      'ERR_DATA',
      `${this.#name(index)}: expected ${this.#wanted(index)}, found ${found}${more}`,
    )
  }
}

const describe = ({ dtype, shape }: Tensor): string => `${dtype} [${shape.join(', ')}]`

function describeNested(given: unknown): string {
  if (!Array.isArray(given)) return kindOf(given)
  const sizes: number[] = []
  // What nobody would give on purpose is not followed into its depth.
  for (let inner: unknown = given; Array.isArray(inner) && sizes.length < 9; inner = inner[0]) sizes.push(inner.length)
  return `numbers [${sizes.join(', ')}]`
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

/** Sizes by the first elements; null where the depth is not that of the input. Sizes after one of 0 are the input's own. */
function shapeOf(given: NestedNumbers, wanted: readonly (number | string)[]): number[] | null {
  const shape: number[] = []
  let inner: NestedNumbers | undefined = given
  for (const size of wanted) {
    if (inner === undefined) shape.push(typeof size === 'number' ? size : 0)
    else if (Array.isArray(inner)) {
      shape.push(inner.length)
      inner = (inner as readonly NestedNumbers[])[0]
    } else return null
  }
  return Array.isArray(inner) ? null : shape
}

/** Copies nested numbers into an array in C order. */
class Filler {
  #next = 0
  /** Indices of the present element. */
  readonly #place: number[] = []

  constructor(
    private readonly array: TypedArray,
    private readonly shape: readonly number[],
    private readonly check: (value: unknown) => number | bigint | string,
    private readonly fail: (reason: string) => TorchkeepError,
  ) {}

  level(value: NestedNumbers, depth: number): void {
    const size = this.shape[depth]
    if (size === undefined) {
      const checked = this.check(value)
      if (typeof checked === 'string') throw this.fail(`${this.#at(depth)}: ${checked}`)
      this.array[this.#next++] = checked
      return
    }
    if (!Array.isArray(value) || value.length !== size) {
      const found = Array.isArray(value) ? `one of ${value.length}` : kindOf(value)
      throw this.fail(`${this.#at(depth)}: expected an array of ${size}, as the first is, found ${found}`)
    }
    for (let i = 0; i < size; i++) {
      this.#place[depth] = i
      this.level((value as readonly NestedNumbers[])[i] as NestedNumbers, depth + 1)
    }
  }

  #at(depth: number): string {
    return depth === 0 ? '' : ` at [${this.#place.slice(0, depth).join('][')}]`
  }
}

/** Floats that are filled in as float32 and rounded by LibTorch. */
const narrow: ReadonlySet<string> = new Set([
  'float16',
  'bfloat16',
  'float8_e4m3fn',
  'float8_e5m2',
  'float8_e4m3fnuz',
  'float8_e5m2fnuz',
  'float8_e8m0fnu',
])

/** Where finite numbers begin to be rounded to infinity: half a step above the largest. */
const infiniteFrom: Partial<Record<DType, number>> = {
  float16: 65520,
  bfloat16: (2 - 2 ** -8) * 2 ** 127,
  float32: (2 - 2 ** -24) * 2 ** 127,
}

/** Gives the element, or says as a text why a value is none of this dtype. Nothing is converted that would not come back. */
function checkerOf(dtype: DType): (value: unknown) => number | bigint | string {
  const refuse = (value: unknown): string =>
    `expected ${dtype}, found ${typeof value === 'number' ? value : kindOf(value)}`
  if (dtype === 'bool')
    return (value) => (typeof value === 'boolean' || value === 0 || value === 1 ? Number(value) : refuse(value))
  const range = integerRange(dtype)
  if (range !== undefined) {
    const [least, most] = range.map(Number) as [number, number]
    const isWide = dtype === 'int64' || dtype === 'uint64'
    return (value) => {
      if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least || value > most)
        return refuse(value)
      return isWide ? BigInt(value) : value
    }
  }
  const limit = infiniteFrom[dtype] ?? Infinity
  return (value) => {
    if (typeof value !== 'number') return refuse(value)
    return Number.isFinite(value) && Math.abs(value) >= limit ? refuse(value) : value
  }
}
