/** Rows and states of files of the older system, of scripts and of JSON, completed to what ours hold. */
import { PyFloat } from '../format/values.js'
import type { Place } from './fields.js'
import { unwrapNumpy } from './migrations.js'
import { sidecarNumber } from './sidecar.js'

type Dict = Map<string, unknown>

const rowNumbers = ['epoch', 'phase', 'train_loss', 'val_loss', 'learning_rate', 'training_time', 'memory_usage']
const stateNumbers = ['current_epoch', 'current_phase', 'best_val_loss', 'best_val_pearson', 'total_training_time']

/**
 * A row with the fields that every row of ours has. Numbers that the row does not give are NaN, a validation loss null, the phase 1; an epoch, `nextEpoch` where that is given.
 */
export function completedMetrics(value: unknown, at: Place, nextEpoch?: number): unknown {
  const row = dictOf(value, at)
  const isNumber = (key: string): boolean => rowNumbers.includes(key) || key.startsWith('val_')
  const numbers = withNumbers(row, isNumber)
  const fallbacks: [string, unknown][] = [
    ['phase', 1],
    ['train_loss', NaN],
    ['val_loss', null],
    ['learning_rate', NaN],
    ['training_time', NaN],
  ]
  if (nextEpoch !== undefined) fallbacks.unshift(['epoch', nextEpoch])
  return new Map([...fallbacks.filter(([key]) => !numbers.has(key)), ...numbers])
}

/** A state with the fields that every one of ours has, its rows completed. The epochs done in the current phase are those that the history has of it. */
export function completedState(value: unknown, at: Place): unknown {
  const state = withNumbers(dictOf(value, at), (key) => stateNumbers.includes(key))
  const rows: unknown = state.get('metrics_history')
  const history = Array.isArray(rows) ? completedRows(rows, at.field('metrics_history')) : rows
  const phase = state.get('current_phase') ?? 1
  const ofPhase = Array.isArray(history)
    ? history.filter((row) => row instanceof Map && row.get('phase') === phase).length
    : 0
  const fallbacks: [string, unknown][] = [
    ['current_epoch', 0],
    ['current_phase', 1],
    ['phase_epochs_done', ofPhase],
    ['global_step', 0],
    ['best_val_loss', Infinity],
    ['best', null],
    ['total_training_time', 0],
  ]
  return new Map([
    ...fallbacks.filter(([key]) => !state.has(key)),
    ...state,
    ['metrics_history', history === undefined ? [] : history],
  ])
}

function completedRows(rows: readonly unknown[], at: Place): unknown[] {
  let before = 0
  return rows.map((row, index) => {
    const completed = completedMetrics(row, at.item(index), before + 1) as Dict
    const epoch = completed.get('epoch')
    before = typeof epoch === 'number' ? epoch : before + 1
    return completed
  })
}

/** A dict of a file or an object, all values plain: numpy numbers and floats as numbers, objects as dicts. */
function dictOf(value: unknown, at: Place): Dict {
  const dict = bare(unwrapNumpy(value))
  return dict instanceof Map ? (dict as Dict) : at.refuse('an object', value)
}

function bare(value: unknown): unknown {
  if (value instanceof PyFloat) return value.value
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [String(key), bare(item)]))
  if (Array.isArray(value)) return value.map(bare)
  const prototype: unknown = typeof value === 'object' && value !== null ? Object.getPrototypeOf(value) : undefined
  if (prototype !== Object.prototype && prototype !== null) return value
  return new Map(Object.entries(value as object).map(([key, item]) => [key, bare(item)]))
}

/** Numbers that stand as strings: of JSON, which has no NaN, and of the older sidecars, which made strings of numpy numbers. Elsewhere only what JSON has not. */
function withNumbers(dict: Dict, isNumber: (key: string) => boolean): Dict {
  return new Map(
    [...dict].map(([key, value]) => [key, isNumber(key) ? (sidecarNumber(value) ?? value) : nonFinite(value)]),
  )
}

function nonFinite(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(nonFinite)
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [key, nonFinite(item)]))
  return value === 'NaN' || value === 'Infinity' || value === '-Infinity' ? Number(value) : value
}
