/** A run's history in four numbers, as the older system's shared exports have it. */
import { numberOf } from '../checkpoint/metrics.js'
import { historyOf, type TopLevel } from '../checkpoint/migrations.js'

/** `metrics_summary` of a shared export. Null: nothing says. */
export interface MetricsSummary {
  /** Epochs of the history, one that was repeated after a resume once; without a history the checkpoint's own epoch. */
  total_epochs: number | null
  /** Smallest finite validation loss. NaN and infinite ones are never best. */
  best_val_loss: number | null
  /** Of the last epoch, whatever it is. */
  final_val_loss: number | null
  /** The epoch that {@link MetricsSummary.best_val_loss} is of, as the file counts. */
  best_epoch: number | null
}

/** Summarises the history of a checkpoint in the current form. */
export function metricsSummary(checkpoint: TopLevel): MetricsSummary {
  const rows = new Map<string, { epoch: number | null; loss: number | null }>()
  for (const [index, row] of (historyOf(checkpoint) ?? []).entries()) {
    const epoch = numberOf(row.get('epoch'))
    // Rows without an epoch are epochs of their own; the later one of two of an epoch is what went on.
    const name = epoch === null ? `row ${index}` : `${numberOf(row.get('phase')) ?? ''} ${epoch}`
    rows.set(name, { epoch, loss: numberOf(row.get('val_loss')) })
  }
  const own = { epoch: numberOf(checkpoint.get('epoch')), loss: numberOf(checkpoint.get('validation_loss')) }
  if (rows.size === 0) {
    const best = finiteOf(own.loss)
    return {
      total_epochs: own.epoch,
      best_val_loss: best,
      final_val_loss: own.loss,
      best_epoch: best === null ? null : own.epoch,
    }
  }
  const all = [...rows.values()]
  const best = all.reduce<{ epoch: number | null; loss: number } | null>((least, { epoch, loss }) => {
    const value = finiteOf(loss)
    return value !== null && (least === null || value < least.loss) ? { epoch, loss: value } : least
  }, null)
  return {
    total_epochs: all.length,
    best_val_loss: best?.loss ?? null,
    final_val_loss: all.at(-1)?.loss ?? null,
    best_epoch: best?.epoch ?? null,
  }
}

const finiteOf = (value: number | null): number | null => (value !== null && Number.isFinite(value) ? value : null)
