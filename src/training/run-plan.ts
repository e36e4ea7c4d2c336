/** What can be known of a run before its first step: data, monitors, phases. A mistake is named here and not an hour later. */
import type { Module } from '../../lib/index.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import { checkFeed, checkLastBatch } from './data-check.js'
import type { BatchFeed } from './feed.js'
import { makeScheduler } from './make-scheduler.js'
import { type Metric, type MetricFunction, refuseUnusedMetrics, resolveMetrics } from './metrics.js'
import { type Monitor, resolveMonitor, type WantedMonitor } from './monitor.js'
import type { ModelCheckpointOptions } from './model-checkpoint.js'
import type { PhaseNames } from './patterns.js'
import type { PhaseConfig } from './phase-config.js'
import { makeOptimizer } from './phase-optimizer.js'
import type { LossFunction } from './recording.js'
import { epochsOf, phaseLength, type PhasePlan } from './training-run.js'

/** A run, checked. */
export interface RunPlan {
  metrics: readonly Metric[]
  monitor: Monitor
  /** The monitor that somebody else in the run wants. */
  resolve: (wanted: WantedMonitor) => Monitor
  phases: readonly PhasePlan[]
  totalEpochs: number | null
}

/** What a plan is made of. */
export interface PlanParts {
  model: Module
  trainingConfig: TrainingConfig
  loss: LossFunction
  ownMetrics: Readonly<Record<string, MetricFunction>> | undefined
  phases: readonly PhaseConfig[]
  phaseNames: readonly PhaseNames[]
  training: BatchFeed
  validation: BatchFeed | null
}

/** @throws TorchkeepError `ERR_INVALID_ARGUMENT`, `ERR_DATA`, `ERR_MONITOR_MISSING`. */
export function planRun(parts: PlanParts): RunPlan {
  const { model, trainingConfig, loss, training, validation } = parts
  refuseUnusedMetrics(trainingConfig.metrics ?? [], parts.ownMetrics)
  const metrics = resolveMetrics(trainingConfig.metrics ?? [], parts.ownMetrics)
  const computed = { validates: validation !== null, metrics }
  const resolve = (wanted: WantedMonitor): Monitor => resolveMonitor(trainingConfig, computed, wanted)
  const monitor = resolve({})
  const phases = parts.phases.map((config, index): PhasePlan => {
    const plan = {
      config,
      names: parts.phaseNames[index] as PhaseNames,
      monitor: resolve(monitorWanted(config.earlyStopping)),
      schedulerMonitor: resolve(monitorWanted(config.scheduler)),
      training: config.batchSize === null ? training : inBatchesOf(training, config, config.batchSize),
    }
    return plan
  })
  checkFeed(model, trainingConfig.loss, loss, [], training)
  if (validation !== null) checkFeed(model, trainingConfig.loss, loss, metrics, validation)
  for (const plan of phases) {
    checkLastBatch(model, [plan.names], plan.training)
    checkScheduler(model, plan)
  }
  const epochs = phases.map(epochsOf)
  return {
    metrics,
    monitor,
    resolve,
    phases,
    totalEpochs: epochs.reduce((sum, count) => (sum === null || count === null ? null : sum + count), 0),
  }
}

/** The metric that an early stopping or a scheduler names; most schedulers name none. */
function monitorWanted(config: object | null): WantedMonitor {
  const { monitor, mode } = (config ?? {}) as WantedMonitor
  return { ...(monitor === undefined ? {} : { monitor }), ...(mode === undefined ? {} : { mode }) }
}

function inBatchesOf(training: BatchFeed, { name }: PhaseConfig, batchSize: number): BatchFeed {
  try {
    return training.withBatchSize(batchSize)
  } catch (error) {
    if (!(error instanceof TorchkeepError)) throw error
    throw new TorchkeepError(error.code, `phase '${name}': ${error.message}`, { cause: error })
  }
}

/** Makes the phase's scheduler once, since what is wrong with it would show only when the phase begins. */
function checkScheduler(model: Module, plan: PhasePlan): void {
  const { config, names } = plan
  if (config.scheduler === null) return
  try {
    makeScheduler(makeOptimizer(model.namedParameters(), names, config), config.scheduler, phaseLength(plan))
  } catch (error) {
    if (!(error instanceof TorchkeepError)) throw error
    throw new TorchkeepError(error.code, `phase '${config.name}': ${error.message}`, { cause: error })
  }
}

/**
 * Refuses to leave the optimizer out of checkpoints out of which the next phase would take it.
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT`.
 */
export function checkSaves(phases: readonly PhaseConfig[], { saveOptimizer = true }: ModelCheckpointOptions): void {
  const index = phases.findIndex((phase, place) => phase.keepOptimizer && phases[place - 1]?.restoreBest === true)
  if (saveOptimizer || index === -1) return
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `phase '${phases[index]?.name ?? ''}' keeps the optimizer of the best epoch of the phase before, but checkpoint.saveOptimizer is false, so no file holds it`,
  )
}
