/** Batches out of a data set's samples. */
import { batchGetter, cat, type Dataset, scope, stack, Tensor } from '../../lib/index.js'
import { TorchkeepError } from '../format/errors.js'
import { longestTurnMs } from './batch-queue.js'
import { setImmediate as nextTurn } from 'node:timers/promises'

/** Which sample of a batch the others are like, and what it is; null before it was read. */
interface FirstSample {
  row: number
  kind: string | null
}

/** Reads samples of a data set of the user's own, which may do anything, and copies them together. */
export class Samples {
  /** @param role `training` or `validation`, for messages. */
  constructor(
    readonly dataset: Dataset,
    readonly role: string,
  ) {}

  /** The sample of this number. Its tensors may be the data set's own. */
  get(row: number): Tensor[] {
    const where = `sample ${row} of the ${this.role} data`
    const sample = this.#read(where, () => this.dataset.get(row))
    if (isTensors(sample)) return sample
    throw new TorchkeepError('ERR_DATA', `${where} should be an array of tensors, but is ${describe(sample)}`)
  }

  /** These rows as one batch, now. */
  collate(rows: BigInt64Array): Tensor[] {
    return this.#gathered(rows) ?? this.#stack(rows, { row: Number(rows[0]), kind: null })
  }

  /** These rows as one batch, with turns of the event loop in between where reading samples takes long. Each sample is read once. */
  async collateInTurns(rows: BigInt64Array): Promise<Tensor[]> {
    const whole = this.#gathered(rows)
    if (whole !== null) return whole
    const first: FirstSample = { row: Number(rows[0]), kind: null }
    const parts: Tensor[][] = []
    try {
      for (let done = 0; done < rows.length;) {
        const start = performance.now()
        const part = this.#stack(rows.subarray(done), first, () => performance.now() - start > longestTurnMs)
        parts.push(part)
        done += part[0]?.size(0) ?? rows.length
        if (done < rows.length) await nextTurn()
      }
      if (parts.length === 1) return parts.pop() ?? []
      return (parts[0] ?? []).map((_, index) => cat(parts.map((part) => part[index] as Tensor)))
    } finally {
      for (const tensor of parts.flat()) tensor.dispose()
    }
  }

  /** What the data set's own `getBatch` gives, or null where it has none. */
  #gathered(rows: BigInt64Array): Tensor[] | null {
    const getBatch = batchGetter(this.dataset)
    if (getBatch === null) return null
    const where = `a batch of ${rows.length} samples of the ${this.role} data (the first is ${String(rows[0])})`
    const batch = this.#read(where, () => getBatch(rows))
    if (!isTensors(batch))
      throw new TorchkeepError('ERR_DATA', `${where} should be an array of tensors, but is ${describe(batch)}`)
    const odd = batch.find((tensor) => tensor.shape[0] !== rows.length)
    if (odd === undefined) return batch
    throw new TorchkeepError(
      'ERR_DATA',
      `${where} should have ${rows.length} rows, but has shape [${odd.shape.join(', ')}]`,
    )
  }

  /** The first of `rows`, at least one, until the time `isUp`. */
  #stack(rows: BigInt64Array, first: FirstSample, isUp: () => boolean = () => false): Tensor[] {
    return scope(() => {
      const samples: Tensor[][] = []
      for (const row of rows) {
        if (samples.length > 0 && isUp()) break
        const sample = this.get(Number(row))
        this.#checkAlike(sample, Number(row), first)
        samples.push(sample)
      }
      return (samples[0] ?? []).map((_, index) => stack(samples.map((sample) => sample[index] as Tensor)))
    })
  }

  /** Samples of one batch that do not fit each other are named, rather than promoted to a common dtype or refused by number in the batch. */
  #checkAlike(sample: readonly Tensor[], row: number, first: FirstSample): void {
    const kind = sample.map(({ dtype, shape }) => `${dtype} [${shape.join(', ')}]`).join(', ')
    first.kind ??= kind
    if (kind === first.kind) return
    throw new TorchkeepError(
      'ERR_DATA',
      `sample ${row} of the ${this.role} data should be ${first.kind} like sample ${first.row} of its batch, but is ${kind}`,
    )
  }

  #read(where: string, read: () => unknown): unknown {
    try {
      return read()
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      const isBusy = error instanceof TorchkeepError && error.code === 'ERR_BUSY'
      throw new TorchkeepError('ERR_DATA', `${where} could not be read: ${reason}`, {
        cause: error,
        suggestions: isBusy
          ? [
              'samples are read while the model trains: draw from a Generator of the data set, or in every sample, the first included',
            ]
          : [],
      })
    }
  }
}

function isTensors(value: unknown): value is Tensor[] {
  return Array.isArray(value) && value.every((item) => item instanceof Tensor)
}

/** What was found in place of a sample. */
export function describe(value: unknown): string {
  if (value instanceof Promise)
    return 'a promise (get() must not be async; what has to be waited for is an async iterable of batches)'
  if (!Array.isArray(value)) return value === null ? 'null' : typeof value
  return `an array of ${value.map((item) => (item instanceof Tensor ? 'a tensor' : Array.isArray(item) ? 'an array' : typeof item)).join(', ')}`
}
