/** The numbers that a checkpoint gives for its weights. */
import { NumpyScalar, PyFloat } from '../format/values.js'
import { historyOf, type TopLevel } from './migrations.js'

/** The number in a value as it comes out of a file, whatever kind of number it is; null for anything else. */
export function numberOf(value: unknown): number | null {
  const plain = value instanceof PyFloat || value instanceof NumpyScalar ? value.value : value
  return typeof plain === 'number' ? plain : typeof plain === 'bigint' ? Number(plain) : null
}

/**
 * The row of the history that describes the weights: that of the checkpoint's epoch and phase, else the last one; undefined without rows, and inside an epoch, which has no row yet.
 */
export function rowOf(checkpoint: TopLevel): TopLevel | undefined {
  if (checkpoint.get('data_position') instanceof Map) return undefined
  const rows = historyOf(checkpoint) ?? []
  return exactRowOf(checkpoint) ?? rows.at(-1)
}

/** The row of the checkpoint's very epoch (and phase, where both say one). The last one of several: an epoch that was repeated after a resume stands twice. */
export function exactRowOf(checkpoint: TopLevel): TopLevel | undefined {
  const [epoch, phase] = [numberOf(checkpoint.get('epoch')), numberOf(checkpoint.get('phase'))]
  if (epoch === null) return undefined
  const rows = historyOf(checkpoint) ?? []
  // Scripts that keep lists of losses count epochs from 0 or from 1; the lists end with the epoch of the weights.
  if (checkpoint.has('train_losses') || checkpoint.has('val_losses')) return rows.at(-1)
  return rows.findLast((row) => {
    const rowPhase = numberOf(row.get('phase'))
    return numberOf(row.get('epoch')) === epoch && (phase === null || rowPhase === null || rowPhase === phase)
  })
}

const rowLabels = new Set(['epoch', 'phase', 'learning_rate', 'training_time', 'memory_usage'])

/**
 * The metrics of a checkpoint in the current form, by name (`val_loss`, `val_accuracy`, `train_loss`...). Where several places give one, that which was written for these very weights wins: the
 * history's row, then `metrics` and `additional_metrics.val_metrics`, then the top-level losses.
 */
export function metricsOf(checkpoint: TopLevel): Record<string, number> {
  const metrics: Record<string, number> = {}
  const put = (name: unknown, value: unknown): void => {
    const number = numberOf(value)
    if (typeof name === 'string' && number !== null) metrics[name] = number
  }
  for (const [name, value] of rowOf(checkpoint) ?? []) if (!rowLabels.has(name as string)) put(name, value)
  const given = checkpoint.get('metrics')
  if (given instanceof Map) for (const [name, value] of given as TopLevel) put(name, value)
  const additional = checkpoint.get('additional_metrics')
  const validation: unknown = additional instanceof Map ? additional.get('val_metrics') : undefined
  if (validation instanceof Map) {
    for (const [name, value] of validation as TopLevel) put(`val_${String(name).replace(/^val_/, '')}`, value)
  }
  for (const name of ['loss', 'train_loss']) put(name, checkpoint.get(name))
  put('val_loss', validationLossOf(checkpoint))
  return metrics
}

/** Validation loss of the weights: `validation_loss`, else `val_loss` of `metrics` or of the epoch's own row; null where nothing says. */
export function validationLossOf(checkpoint: TopLevel): number | null {
  const given = checkpoint.get('metrics')
  return (
    numberOf(checkpoint.get('validation_loss')) ??
    (given instanceof Map ? numberOf(given.get('val_loss')) : null) ??
    numberOf(exactRowOf(checkpoint)?.get('val_loss'))
  )
}
