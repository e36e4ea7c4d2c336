/** A run for the logs to write about, without a trainer: the events of two phases of three epochs of four steps, the same every time. */
import type { TrainingMetrics } from '../../src/checkpoint/schema.js'
import type { EpochEvent, StepEvent } from '../../src/training/events.js'
import type { LoggedRun, RunLogs } from '../../src/training/run-logs.js'

const stepsOfEpoch = 4
const phaseEpochs = 3

export const loggedRun: LoggedRun = {
  metadata: {
    title: '',
    description: '',
    tags: [],
    configHash: 'ab'.repeat(32),
    modelType: 'ConvNet',
    torchkeepVersion: '0.2.0',
    libtorchVersion: '2.13.0',
  },
  config: { width: 4 },
  trainingConfig: {
    loss: 'mse',
    metrics: ['mae'],
    phases: [
      { name: 'head, "the first"', epochs: phaseEpochs, lr: 0.1 },
      { name: 'everything', epochs: phaseEpochs, lr: 0.01 },
    ],
  },
  monitor: { name: 'val_loss', mode: 'min' },
  numGroups: 2,
  resumedFrom: null,
  epochsDone: 0,
  globalStep: 0,
  history: [],
}

/** Losses with many digits; the fifth epoch is worse than the fourth. */
export function epochOf(epoch: number): TrainingMetrics {
  return {
    epoch,
    phase: epoch > phaseEpochs ? 2 : 1,
    trainLoss: 1 / (epoch + 0.1),
    valLoss: epoch === 5 ? 0.7 / 3 + 1 : 0.7 / epoch,
    valMetrics: { mae: epoch === 2 ? NaN : 1e-7 * epoch },
    learningRate: 0.1,
    learningRates: [0.1, 0.1 / epoch],
    trainingTime: 1.25,
    step: epoch * stepsOfEpoch,
    samplesPerSecond: 1e3 / 3,
    memoryUsageMb: 100.5,
  }
}

export const epochEvent = (epoch: number): EpochEvent => ({
  ...epochOf(epoch),
  ...(epoch === 6 ? { stopReason: 'patience' } : {}),
  phaseName: loggedRun.trainingConfig.phases[epoch > phaseEpochs ? 1 : 0]?.name ?? '',
  epochs: 2 * phaseEpochs,
  isBest: epoch !== 5,
})

/** The loss of a step. */
export const lossOf = (step: number): number => Math.fround(1 / step)

export function stepEvent(step: number): StepEvent {
  const epoch = Math.ceil(step / stepsOfEpoch)
  return {
    phase: epoch > phaseEpochs ? 2 : 1,
    phaseName: 'everything',
    epoch,
    epochs: 2 * phaseEpochs,
    step,
    batch: ((step - 1) % stepsOfEpoch) + 1,
    batches: stepsOfEpoch,
    losses: new Float64Array([lossOf(step)]),
    meanLoss: 1 / 3,
    samplesPerSecond: 1e3 / 3,
    learningRate: 0.1 / step,
  }
}

/** Records what a run tells from one step to another, both included. */
export function recordSteps(logs: RunLogs, folder: string, from: number, to: number): void {
  for (let step = from; step <= to; step++) {
    const { epoch, phase, batch } = stepEvent(step)
    if ((epoch === 1 || epoch === phaseEpochs + 1) && batch === 1)
      logs.record('phase', {
        phase,
        phases: 2,
        name: loggedRun.trainingConfig.phases[phase - 1]?.name ?? '',
        epochs: phaseEpochs,
        epochsDone: 0,
        trained: ['a', 'b'],
        groups: [['a'], ['b']],
        frozen: ['c'],
        modulesInEval: [],
      })
    logs.record('step', stepEvent(step))
    if (batch !== stepsOfEpoch) continue
    logs.record('epoch', epochEvent(epoch))
    const path = `${folder}/regular/checkpoint_epoch_${epoch}_phase_${phase}_1760000000.pth`
    logs.record('checkpoint', { path, copies: [`${folder}/latest.pth`], epoch, phase, step, isBest: epoch !== 5 })
  }
}

/** The run goes on from the checkpoint after some of its steps. */
export function resumedAt(step: number, folder: string): LoggedRun {
  const epochsDone = Math.floor(step / stepsOfEpoch)
  const history = Array.from({ length: epochsDone }, (_none, index) => epochOf(index + 1))
  return { ...loggedRun, resumedFrom: `${folder}/latest.pth`, epochsDone, globalStep: step, history }
}
