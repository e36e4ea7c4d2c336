/** What a session's run came to, as the trainer books it. */
import type { RunResult } from '../../lib/index.js'
import { TorchkeepError } from '../format/errors.js'
import type { RunState } from './run-state.js'

/** Tells batches that were passed over because of their loss. */
export function skippedByLoss({ skipped }: RunResult): (batch: number) => boolean {
  const batches = new Set(skipped.filter(({ parameter }) => parameter === null).map(({ batch }) => batch))
  return (batch) => batches.has(batch)
}

/** Batches that came to nothing. */
export interface SkippedBatches {
  /** Those of a loss that is not finite, and all of a step whose gradients are not; each counts once. */
  skipped: number
  /** Those of the unfinished step. */
  ofStep: number
}

/**
 * Counts the batches of a run that came to nothing.
 *
 * @param begun batches of the run's first step that runs before did, and how many of them were passed over: they were counted then.
 */
export function skippedBatches(
  { skipped, batches }: Pick<RunResult, 'skipped' | 'batches'>,
  accumulate: number,
  begun: { batches: number; skipped: number },
): SkippedBatches {
  const stepOf = (batch: number): number => Math.floor((batch + begun.batches) / accumulate)
  const bySteps = new Map([[0, begun.skipped]])
  let sum = 0
  for (const { batch, parameter } of skipped) {
    const step = stepOf(batch)
    const before = bySteps.get(step) ?? 0
    const now = parameter === null ? before + 1 : accumulate
    bySteps.set(step, now)
    sum += now - before
  }
  return { skipped: sum, ofStep: bySteps.get(stepOf(batches)) ?? 0 }
}

/** The losses of several runs, one after another. */
export function joinedLosses(parts: readonly Float64Array[]): Float64Array {
  if (parts.length === 1) return parts[0] as Float64Array
  const all = new Float64Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** The error for a batch that has no finite loss or gradients. */
export function nonFiniteError(result: RunResult, { globalStep, epoch, phase }: RunState): TorchkeepError {
  const place = `step ${globalStep + 1} (epoch ${epoch}, phase ${phase})`
  const parameter = result.skipped.at(-1)?.parameter ?? null
  const what =
    parameter === null
      ? `the loss of ${place} is ${result.losses.at(-1) ?? NaN}`
      : `the gradient of '${parameter}' in ${place} is not finite`
  return new TorchkeepError('ERR_NON_FINITE', `${what}; the weights were not changed by it`, {
    suggestions: [
      'a smaller lr, or clipGradNorm',
      'look for NaN in the data of this batch',
      "onNonFinite: 'skip' passes over such batches",
    ],
  })
}
