/** How far a run has come, as its checkpoints and sidecars tell: one row of metrics an epoch, the best epoch, the counters. */
import { TorchkeepError } from '../format/errors.js'
import { PyFloat } from '../format/values.js'
import { float, integer, list, nullable, oneOf, Place, plain, record, text, type Field, type Plain } from './fields.js'
import { parseLenientJson, strictJson } from './sidecar.js'
import { completedMetrics, completedState } from './training-state-older.js'

/** One epoch of the history. */
export interface TrainingMetrics {
  /** Of the whole run, from 1 (as the file says in those of the older system). */
  epoch: number
  /** From 1. */
  phase: number
  /** Mean over the samples; NaN where an older file does not say, as with the rate and the time. */
  trainLoss: number
  /** Null without validation data. */
  valLoss: number | null
  /** The other metrics of the validation, by name (`val_accuracy` in the file). */
  valMetrics: Readonly<Record<string, number>>
  /** Rate of the first group during the epoch. */
  learningRate: number
  /** Seconds, validation included. */
  trainingTime: number
  /** Optimizer steps of the whole run at the end of the epoch; absent in files of Torchkeep 0.1 and of others, as are the following. */
  step?: number
  /** Training samples a second, without validation. */
  samplesPerSecond?: number
  /** Resident memory of the process at the end of the epoch, in MB of 10^6 bytes (`memory_usage`). */
  memoryUsageMb?: number
  /** Batches passed over because their loss or gradients were not finite. */
  skippedBatches?: number
  /** Rates of all groups during the epoch, where there are several. */
  learningRates?: readonly number[]
  /** Why the phase ended with this epoch, where it was not its limit of epochs or steps. */
  stopReason?: string
  /** What else a row holds, by its own keys: of the older systems (`memory_usage` as a dict, `loss`) or of a newer Torchkeep. Kept as it is. */
  extra?: Readonly<Record<string, Plain>>
}

/** The best epoch so far by the monitored value. */
export interface Best {
  monitor: string
  mode: 'min' | 'max'
  score: number
  epoch: number
  phase: number
}

/** Where the run stands. */
export interface TrainingState {
  /** Epoch of the whole run that the weights belong to, from 1 (unfinished where the checkpoint has a data position); 0 before the first. */
  currentEpoch: number
  /** From 1. */
  currentPhase: number
  /** Finished epochs of the current phase. */
  phaseEpochsDone: number
  /** Optimizer steps of the whole run. */
  globalStep: number
  /** Smallest validation loss so far, `Infinity` before the first. */
  bestValLoss: number
  /** Null before the first finite score. */
  best: Best | null
  /** Seconds. */
  totalTrainingTime: number
  metricsHistory: readonly TrainingMetrics[]
  /** Optimizer steps of the current phase; absent in files of Torchkeep 0.1, as are the following. */
  phaseStepsDone?: number
  /** The best epoch of the current phase, by the monitor of its early stopping or else of the run. */
  phaseBest?: Best | null
  /** Why the current phase has ended: `epochs`, `steps` or a reason of early stopping; null while it goes on. */
  phaseStopReason?: string | null
  /** Checks without improvement, where the older system's tools look for it. */
  patienceCounter?: number
  /** Largest finite `val_pearson` of the history, where the older system's tools look for it; {@link bestPearson} gives it. */
  bestValPearson?: number
  /** What an iterable gave as its `state()` at the end of the last epoch; absent for loaders, and inside an epoch, where the data position has it. */
  sourceState?: Plain
  /** What else the state holds, by its own keys. A run that goes on leaves it behind: it told of another moment. */
  extra?: Readonly<Record<string, Plain>>
}

/** Largest finite Pearson correlation of a history; undefined where none was computed. */
export function bestPearson(history: readonly TrainingMetrics[]): number | undefined {
  const found = history.map(({ valMetrics }) => valMetrics['pearson'] ?? NaN).filter(Number.isFinite)
  return found.length === 0 ? undefined : found.reduce((best, value) => Math.max(best, value))
}

export const bestField: Field<Best> = record<Best>({
  monitor: ['monitor', text],
  mode: ['mode', oneOf('min', 'max')],
  score: ['score', float()],
  epoch: ['epoch', integer(1)],
  phase: ['phase', integer(1)],
})

const rowField = record<Omit<TrainingMetrics, 'valMetrics' | 'extra'>>({
  epoch: ['epoch', integer(0)],
  phase: ['phase', integer(1)],
  trainLoss: ['train_loss', float()],
  valLoss: ['val_loss', nullable(float())],
  learningRate: ['learning_rate', float()],
  trainingTime: ['training_time', float()],
  step: ['step', integer(0), 'optional'],
  samplesPerSecond: ['samples_per_second', float(), 'optional'],
  memoryUsageMb: ['memory_usage', float(), 'optional'],
  skippedBatches: ['skipped_batches', integer(0), 'optional'],
  learningRates: ['learning_rates', list(float()), 'optional'],
  stopReason: ['stop_reason', text, 'optional'],
})

/** One row of `metrics_history`: the metrics lie beside the other keys, as in the older system. */
export const trainingMetricsField: Field<TrainingMetrics> = withExtra<TrainingMetrics>({
  encode({ valMetrics, ...rest }, at) {
    const row = rowField.encode(rest, at) as Map<string, unknown>
    for (const [name, value] of Object.entries(valMetrics))
      row.set(`val_${name}`, float().encode(value, at.field(name)))
    return row
  },
  decode(value, at) {
    const row = rowField.decode(value, at)
    const metrics = [...(value as Map<string, unknown>)].filter(([key]) => isMetric(key))
    const number = ([key, item]: [string, unknown]) => [key.slice(4), float().decode(item, at.field(key))] as const
    return { ...row, valMetrics: Object.fromEntries(metrics.map(number)) }
  },
})

const isMetric = (key: string): boolean => key.startsWith('val_') && key !== 'val_loss'

/** `training_state` of a checkpoint. */
export const trainingStateField: Field<TrainingState> = withExtra<TrainingState>(
  record<Omit<TrainingState, 'extra'>>({
    currentEpoch: ['current_epoch', integer(0)],
    currentPhase: ['current_phase', integer(1)],
    phaseEpochsDone: ['phase_epochs_done', integer(0)],
    globalStep: ['global_step', integer(0)],
    bestValLoss: ['best_val_loss', float()],
    best: ['best', nullable(bestField)],
    totalTrainingTime: ['total_training_time', float()],
    metricsHistory: ['metrics_history', list(trainingMetricsField)],
    phaseStepsDone: ['phase_steps_done', integer(0), 'optional'],
    phaseBest: ['phase_best', nullable(bestField), 'optional'],
    phaseStopReason: ['phase_stop_reason', nullable(text), 'optional'],
    patienceCounter: ['patience_counter', integer(0), 'optional'],
    sourceState: ['source_state', plain, 'optional'],
    bestValPearson: ['best_val_pearson', float(), 'optional'],
  }),
)

/** A record beside whose keys others may stand: they are kept as `extra`. */
function withExtra<R extends { extra?: Readonly<Record<string, Plain>> }>(field: Field<Omit<R, 'extra'>>): Field<R> {
  return {
    encode({ extra = {}, ...rest }, at) {
      const fields = field.encode(rest, at) as Map<string, unknown>
      for (const [key, value] of Object.entries(extra)) {
        const place = at.field('extra').field(key)
        if (fields.has(key)) place.fail('is a key of its own; set that property instead')
        fields.set(key, plain.encode(value, place))
      }
      return fields
    },
    decode(value, at) {
      if (!(value instanceof Map)) return field.decode(value, at) as R
      const entries = [...(value as ReadonlyMap<string, unknown>)]
      const own = new Map(entries.filter(([key, item]) => !isForeign(key, item)))
      const known = field.decode(own, at)
      const encoded = field.encode(known, at) as ReadonlyMap<string, unknown>
      const extra = entries.filter(([key]) => !encoded.has(key))
      if (extra.length === 0) return known as R
      const kept = extra.map(([key, item]) => [key, plain.decode(item, at.field(key))] as const)
      return { ...known, extra: Object.fromEntries(kept) } as R
    },
  }
}

/** The older system's `memory_usage` is a dict; ours is a number. */
const isForeign = (key: string, value: unknown): boolean => key === 'memory_usage' && typeof value !== 'number'

/** Conversions of a record for users. */
export interface Conversions<T> {
  /** Plain values under the keys of the checkpoint (`train_loss`). */
  toDict(value: T): Record<string, Plain>
  /**
   * From {@link toDict}, or from a dict of a file, those of the older system included: numpy numbers become numbers, and what a row does not say is NaN (null for `valLoss`, phase 1).
   * @throws TorchkeepError `ERR_INVALID_ARGUMENT` naming the field that is wrong.
   */
  fromDict(value: unknown): T
  /** Strict JSON: numbers that JSON does not have are the strings "NaN", "Infinity" and "-Infinity". */
  toJson(value: T): string
  /**
   * From {@link toJson}, or from a sidecar of the older system, with bare NaN and numbers as strings.
   * @throws TorchkeepError `ERR_INVALID_ARGUMENT`.
   */
  fromJson(json: string): T
}

/** One epoch of the history, from and to plain values and JSON. */
export const TrainingMetrics: Conversions<TrainingMetrics> = conversions(
  'metrics',
  trainingMetricsField,
  completedMetrics,
)

/** Where the run stands, from and to plain values and JSON. */
export const TrainingState: Conversions<TrainingState> = conversions('state', trainingStateField, completedState)

function conversions<T>(name: string, field: Field<T>, completed: (value: unknown, at: Place) => unknown) {
  const at = new Place('ERR_INVALID_ARGUMENT', '', name)
  const fromDict = (value: unknown): T => field.decode(completed(value, at), at)
  return {
    toDict: (value: T) => undressed(field.encode(value, at)) as Record<string, Plain>,
    fromDict,
    toJson: (value: T) => strictJson(field.encode(value, at)),
    fromJson: (json: string) => fromDict(parsed(json, name)),
  }
}

function parsed(json: string, name: string): unknown {
  try {
    return parseLenientJson(json)
  } catch (cause) {
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${name} is no JSON: ${(cause as Error).message}`, { cause })
  }
}

/** Values as they go into a file, as plain ones. */
function undressed(value: unknown): Plain {
  if (value instanceof PyFloat) return value.value
  if (value instanceof Map)
    return Object.fromEntries([...(value as ReadonlyMap<string, unknown>)].map(([key, item]) => [key, undressed(item)]))
  return Array.isArray(value) ? value.map(undressed) : (value as Plain)
}
