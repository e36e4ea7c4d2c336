/** What `events.jsonl` says of each event: the lines of `src/checkpoint/run-events.ts`, without the time. `torchkeep train --json` prints the same. */
import { hostname } from 'node:os'
import type {
  CheckpointLine,
  EpochLine,
  JsonNumber,
  PhaseLine,
  RunLine,
  StepLine,
  StopLine,
  WarningLine,
} from '../checkpoint/run-events.js'
import type { TrainingMetrics } from '../checkpoint/schema.js'
import { processStart } from '../checkpoint/store.js'
import type {
  CheckpointEvent,
  EpochEvent,
  PhaseEvent,
  StepEvent,
  StopEvent,
  TrainerEvents,
  WarningEvent,
} from './events.js'
import type { LoggedRun } from './run-logs.js'

type Fields<Line> = Omit<Line, 'event' | 'time' | 'seconds'>

/** The fields of the line of an event. @param pathOf how paths are written: relative to the run's folder. */
export function lineOf<Name extends keyof TrainerEvents>(
  name: Name,
  event: TrainerEvents[Name][0],
  pathOf: (path: string) => string,
): object {
  const fields = lines[name] as (event: TrainerEvents[Name][0], pathOf: (path: string) => string) => object
  return fields(event, pathOf)
}

const lines = { phase, step, epoch, checkpoint, stop, warning } as const

/** The line that begins a process's part. */
export function runLine(run: LoggedRun, pathOf: (path: string) => string): Fields<RunLine> {
  const { metadata, trainingConfig, monitor } = run
  const phases = trainingConfig.phases.map(({ name, epochs = null, steps = null }) => ({ name, epochs, steps }))
  return {
    ...(metadata.runId === undefined ? {} : { run_id: metadata.runId }),
    resumed_from: run.resumedFrom === null ? null : pathOf(run.resumedFrom),
    epochs_done: run.epochsDone,
    step: run.globalStep,
    pid: process.pid,
    host: hostname(),
    process_start: processStart(process.pid) ?? '0',
    torchkeep_version: metadata.torchkeepVersion,
    libtorch_version: metadata.libtorchVersion,
    node_version: process.versions.node,
    model_type: metadata.modelType ?? '',
    config_hash: metadata.configHash,
    monitor: monitor.name,
    mode: monitor.mode,
    phases,
    epochs: phases.reduce<number | null>(
      (sum, { epochs }) => (sum === null || epochs === null ? null : sum + epochs),
      0,
    ),
  }
}

/** One epoch under the names that a checkpoint's `metrics_history` has; what was not measured is left out. */
export function epochFields(metrics: TrainingMetrics): Record<string, unknown> {
  return {
    epoch: metrics.epoch,
    phase: metrics.phase,
    train_loss: metrics.trainLoss,
    val_loss: metrics.valLoss,
    ...Object.fromEntries(Object.entries(metrics.valMetrics).map(([name, value]) => [`val_${name}`, value])),
    learning_rate: metrics.learningRate,
    learning_rates: metrics.learningRates,
    step: metrics.step,
    samples_per_second: metrics.samplesPerSecond,
    training_time: metrics.trainingTime,
    memory_usage: metrics.memoryUsageMb,
    skipped_batches: metrics.skippedBatches,
    stop_reason: metrics.stopReason,
  }
}

function phase(event: PhaseEvent): Fields<PhaseLine> {
  return {
    phase: event.phase,
    phases: event.phases,
    name: event.name,
    epochs: finiteOrNull(event.epochs),
    epochs_done: event.epochsDone,
    trained_tensors: event.trained.length,
    frozen_tensors: event.frozen.length,
  }
}

function step(event: StepEvent): Fields<StepLine> {
  return {
    phase: event.phase,
    phase_name: event.phaseName,
    epoch: event.epoch,
    epochs: finiteOrNull(event.epochs),
    step: event.step,
    batch: event.batch,
    batches: finiteOrNull(event.batches),
    loss: (event.losses.at(-1) ?? NaN) as JsonNumber,
    mean_loss: event.meanLoss as JsonNumber,
    samples_per_second: event.samplesPerSecond as JsonNumber,
    learning_rate: event.learningRate as JsonNumber,
  }
}

function epoch(event: EpochEvent): Fields<EpochLine> {
  const { epoch, epochs, phaseName: phase_name, isBest: is_best } = event
  return { epoch, epochs: finiteOrNull(epochs), phase_name, ...epochFields(event), is_best } as Fields<EpochLine>
}

function checkpoint(event: CheckpointEvent, pathOf: (path: string) => string): Fields<CheckpointLine> {
  return {
    path: pathOf(event.path),
    copies: event.copies.map(pathOf),
    epoch: event.epoch,
    phase: event.phase,
    step: event.step,
    is_best: event.isBest,
  }
}

function stop(event: StopEvent): Fields<StopLine> {
  return {
    of: event.of,
    reason: event.reason,
    message: event.message,
    phase: event.phase,
    phase_name: event.phaseName,
    epoch: event.epoch,
    step: event.step,
    restored_epoch: event.restoredEpoch,
  }
}

function warning({ id, message }: WarningEvent): Fields<WarningLine> {
  return { id, message }
}

/** Null for what is not known before it has ended: JSON and CSV have no infinity. */
function finiteOrNull(count: number | null): number | null {
  return count !== null && Number.isFinite(count) ? count : null
}
