/**
 * Small ordered steps that bring every layout to the current form in memory: the key names of version 3, history as rows, numpy numbers as numbers. None makes up a value: what a file does not say stays
 * absent. The file's own value is never changed.
 */
import { NumpyScalar, OpaqueObject, OrderedDict, PyFloat, Tuple } from '../format/values.js'
import { isStateDict } from './kind.js'

/** A top-level dict. */
export type TopLevel = ReadonlyMap<unknown, unknown>

/** One step. */
export interface Migration {
  readonly name: string
  /** What it does, for `inspect` and the documentation. */
  readonly meaning: string
  /** The dict after it; the same object where there is nothing to do. */
  readonly apply: (value: TopLevel) => TopLevel
}

/** All steps, in order. Each works on what the one before left. */
export const migrations: readonly Migration[] = [
  {
    name: 'wrap_state_dict',
    meaning: 'a state dict, bare or under state_dict, stands under model_state_dict',
    apply: wrapStateDict,
  },
  {
    name: 'legacy_names',
    meaning:
      'model_state, optimizer_state and val_loss become model_state_dict, optimizer_state_dict and validation_loss',
    apply: (value) =>
      rename(value, [
        ['model_state', 'model_state_dict'],
        ['optimizer_state', 'optimizer_state_dict'],
        ['val_loss', 'validation_loss'],
      ]),
  },
  {
    name: 'notebook_names',
    meaning: 'model_config and scheduler_state_dict become config and scheduler_state',
    apply: (value) =>
      rename(value, [
        ['model_config', 'config'],
        ['scheduler_state_dict', 'scheduler_state'],
      ]),
  },
  {
    name: 'phase_histories',
    meaning: 'phase1_history and phase2_history (dicts of lists) become rows of training_state.metrics_history',
    apply: phaseHistories,
  },
  {
    name: 'loss_lists',
    meaning: 'train_losses and val_losses become rows of training_state.metrics_history',
    apply: lossLists,
  },
  {
    name: 'history_place',
    meaning: 'a metrics_history beside a training_state without one moves into it',
    apply: historyPlace,
  },
]

/** Renames top-level keys in place of order. A key whose new name is taken stays as it is. */
function rename(value: TopLevel, names: readonly (readonly [from: string, to: string])[]): TopLevel {
  const wanted = new Map<unknown, string>(names.filter(([from, to]) => value.has(from) && !value.has(to)))
  if (wanted.size === 0) return value
  return new Map([...value].map(([key, item]) => [wanted.get(key) ?? key, item]))
}

function wrapStateDict(value: TopLevel): TopLevel {
  if (value.has('model_state_dict') || value.has('model_state')) return value
  if (isStateDict(value)) return new Map([['model_state_dict', value]])
  return isStateDict(value.get('state_dict')) ? rename(value, [['state_dict', 'model_state_dict']]) : value
}

function phaseHistories(value: TopLevel): TopLevel {
  const phases = [1, 2].filter((phase) => value.get(`phase${phase}_history`) instanceof Map)
  if (phases.length === 0 || historyOf(value) !== undefined) return value
  const rows = phases.flatMap((phase) =>
    rowsOf(value.get(`phase${phase}_history`) as TopLevel).map((row) => new Map([...row, ['phase', phase]])),
  )
  return withHistory(value, rows)
}

function lossLists(value: TopLevel): TopLevel {
  const lists = ['train', 'val'].filter((name) => Array.isArray(value.get(`${name}_losses`)))
  if (lists.length === 0 || historyOf(value) !== undefined) return value
  return withHistory(value, rowsOf(new Map(lists.map((name) => [`${name}_loss`, value.get(`${name}_losses`)]))))
}

/** Columns to rows. Epochs count from 1; columns that are shorter leave the later rows without that key. */
function rowsOf(columns: TopLevel): Map<unknown, unknown>[] {
  const rows: Map<unknown, unknown>[] = []
  for (const [name, cells] of columns) {
    if (!Array.isArray(cells)) continue
    for (const [index, cell] of (cells as unknown[]).entries())
      (rows[index] ??= new Map<unknown, unknown>([['epoch', index + 1]])).set(name, cell)
  }
  return rows
}

function historyPlace(value: TopLevel): TopLevel {
  const outside = value.get('metrics_history')
  const state = value.get('training_state')
  if (!Array.isArray(outside) || (state instanceof Map && state.has('metrics_history'))) return value
  return withHistory(value, outside)
}

/** The rows of the history in the current form; undefined without any. */
export function historyOf(value: TopLevel): readonly TopLevel[] | undefined {
  const state = value.get('training_state')
  const history: unknown = state instanceof Map ? state.get('metrics_history') : undefined
  return Array.isArray(history) ? history.filter((row): row is TopLevel => row instanceof Map) : undefined
}

function withHistory(value: TopLevel, rows: readonly unknown[]): TopLevel {
  const state = value.get('training_state')
  const before = state instanceof Map ? [...(state as TopLevel)] : []
  return new Map([...value, ['training_state', new Map([...before, ['metrics_history', rows]])]])
}

/**
 * Replaces numpy scalars by plain numbers, booleans and strings, in copies of the containers. Scalars that have no plain counterpart (bytes, complex numbers, records) stay.
 * @param keepFloats an integral float becomes a `PyFloat`, as with `readTorchFile`'s option of that name.
 */
export function unwrapNumpy(root: unknown, keepFloats = false): unknown {
  const copies = new Map<object, object>()
  const copy = (value: unknown): unknown => {
    if (value instanceof NumpyScalar) return plainScalar(value, keepFloats)
    if (typeof value !== 'object' || value === null) return value
    const known = copies.get(value)
    if (known !== undefined) return known
    if (value instanceof Map) {
      const result = emptyLike(value)
      copies.set(value, result)
      for (const [key, item] of value as TopLevel) result.set(copy(key), copy(item))
      return result
    }
    if (!Array.isArray(value) || value instanceof OpaqueObject) return value
    const result: unknown[] = value instanceof Tuple ? new (value.constructor as new () => Tuple)() : []
    copies.set(value, result)
    for (const item of value) result.push(copy(item))
    return result
  }
  return copy(root)
}

function plainScalar(scalar: NumpyScalar, keepFloats: boolean): unknown {
  const { value } = scalar
  if (typeof value === 'number' && keepFloats && Number.isInteger(value) && scalar.dtype.includes('f')) {
    return new PyFloat(value)
  }
  return ['number', 'bigint', 'boolean', 'string'].includes(typeof value) ? value : scalar
}

function emptyLike(map: Map<unknown, unknown>): Map<unknown, unknown> {
  const result = new (map.constructor as new () => Map<unknown, unknown>)()
  if (map instanceof OrderedDict && result instanceof OrderedDict) result.attributes = map.attributes
  return result
}
