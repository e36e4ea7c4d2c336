/** `torch.optim.lr_scheduler`. */
import { TorchkeepError } from '../../src/format/errors.js'
import { PyFloat } from '../../src/format/values.js'
import { knownOptions } from '../options.js'
import type { ParamGroup } from './optimizer.js'

export interface StepLROptions {
  /** Steps of the scheduler (usually epochs) between two changes. */
  stepSize: number
  /** Factor of each change; 0.1 unless told. */
  gamma?: number
}

/** Multiplies the rate of every group by `gamma` every `stepSize` steps. */
export class StepLR {
  #stepSize: number
  #gamma: number
  #baseLrs: number[]
  #lastEpoch = 0
  #stepCount = 1
  #lastLr: number[]
  readonly #optimizer: { readonly paramGroups: readonly ParamGroup[] }

  constructor(optimizer: { readonly paramGroups: readonly ParamGroup[] }, options: StepLROptions) {
    const { stepSize, gamma = 0.1 } = knownOptions('StepLR', options, ['stepSize', 'gamma'])
    if (!Number.isSafeInteger(stepSize) || stepSize < 1) {
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `StepLR: stepSize is ${stepSize}, expected an integer of at least 1`,
      )
    }
    this.#optimizer = optimizer
    this.#stepSize = stepSize
    this.#gamma = gamma
    for (const group of optimizer.paramGroups) group['initialLr'] ??= group.lr
    this.#baseLrs = optimizer.paramGroups.map((group) => group['initialLr'] as number)
    this.#lastLr = this.#rates()
  }

  /** Counts an epoch and sets the rates. Follows the optimizer's own step. */
  step(): void {
    this.#stepCount += 1
    this.#lastEpoch += 1
    if (this.#lastEpoch % this.#stepSize === 0) for (const group of this.#optimizer.paramGroups) group.lr *= this.#gamma
    this.#lastLr = this.#rates()
  }

  /** The rates set last, one a group. */
  getLastLr(): number[] {
    return [...this.#lastLr]
  }

  /** With Python's keys in Python's order. */
  stateDict(): Map<string, unknown> {
    const float = (value: number): PyFloat => new PyFloat(value)
    return new Map<string, unknown>([
      ['step_size', this.#stepSize],
      ['gamma', float(this.#gamma)],
      ['base_lrs', this.#baseLrs.map(float)],
      ['last_epoch', this.#lastEpoch],
      ['_step_count', this.#stepCount],
      ['_is_initial', false],
      ['_get_lr_called_within_step', false],
      ['_last_lr', this.#lastLr.map(float)],
    ])
  }

  /** Takes over a state; the optimizer's own rates come with the optimizer's. */
  loadStateDict(dict: ReadonlyMap<unknown, unknown>): void {
    const number = (key: string): number => toNumber(dict.get(key), key)
    const numbers = (key: string): number[] => {
      const list = dict.get(key)
      const expected = this.#optimizer.paramGroups.length
      if (Array.isArray(list) && list.length === expected) return list.map((item) => toNumber(item, key))
      throw incompatible(`${key} is ${String(list)}, expected a list of ${expected}`)
    }
    const read = {
      stepSize: number('step_size'),
      gamma: number('gamma'),
      lastEpoch: number('last_epoch'),
      stepCount: number('_step_count'),
    }
    const [baseLrs, lastLr] = [numbers('base_lrs'), numbers('_last_lr')]
    this.#stepSize = read.stepSize
    this.#gamma = read.gamma
    this.#lastEpoch = read.lastEpoch
    this.#stepCount = read.stepCount
    this.#baseLrs = baseLrs
    this.#lastLr = lastLr
  }

  #rates(): number[] {
    return this.#optimizer.paramGroups.map((group) => group.lr)
  }
}

function toNumber(value: unknown, key: string): number {
  const number = value instanceof PyFloat ? value.value : value
  if (typeof number === 'number') return number
  throw incompatible(`${key} is ${String(value)}, expected a number`)
}

function incompatible(problem: string): TorchkeepError {
  return new TorchkeepError('ERR_CHECKPOINT_INCOMPATIBLE', `The scheduler's state dict does not fit: ${problem}`)
}
