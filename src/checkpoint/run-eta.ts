/** How long a run will go on. */
import type { RunEpoch, RunState } from './run-picture.js'

/** Epochs that the speed is taken from: the last ones, since data and machine change. */
const recentEpochs = 3

/**
 * Seconds until the end of a run that goes on as fast as in its last epochs and in which no phase stops early; null where nothing tells, as in the first epoch of a phase that steps limit.
 */
export function remainingSeconds({
  phases,
  phase,
  current,
  history,
}: Omit<RunState, 'remainingSeconds'>): number | null {
  const done = history.filter((row) => row.phase === phase)
  const recent = (done.length > 0 ? done : history).slice(-recentEpochs)
  const epochSeconds =
    recent.length > 0 ? mean(recent.map(({ metrics }) => metrics['training_time'])) : ofFirst(current)
  const epochSteps = stepsOfEpoch(recent)
  const fraction = current?.batches ? current.batch / current.batches : 0
  let epochsLeft = 0
  for (const [index, { epochs, steps }] of phases.entries()) {
    if (index + 1 < phase) continue
    const ofPhase = epochs ?? (steps ?? NaN) / epochSteps
    epochsLeft += index + 1 > phase ? ofPhase : Math.max(0, ofPhase - done.length - fraction)
  }
  const seconds = epochsLeft * epochSeconds
  return Number.isFinite(seconds) && phases.length > 0 ? seconds : null
}

/** Seconds of an epoch by the speed of its batches so far. */
function ofFirst(current: RunState['current']): number {
  return current?.batches && current.batchesPerSecond ? current.batches / current.batchesPerSecond : NaN
}

/** NaN where a single epoch is known: what came before its first step is not. */
function stepsOfEpoch(rows: readonly RunEpoch[]): number {
  const [first, last] = [rows[0]?.step, rows.at(-1)?.step]
  return rows.length > 1 && first && last ? (last - first) / (rows.length - 1) : NaN
}

function mean(values: readonly (number | undefined)[]): number {
  return values.reduce<number>((sum, value) => sum + (value ?? NaN), 0) / values.length
}
