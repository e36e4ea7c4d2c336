/** Checkpoints without tensors and a folder for them, for tests of what a saver writes, keeps and takes away. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Checkpoint, TrainingMetrics } from '../../src/checkpoint/schema.js'
import { type FileOperations, nodeFiles } from '../../src/checkpoint/store.js'
import { ModelCheckpoint, type ModelCheckpointOptions } from '../../src/training/model-checkpoint.js'
import { improvement } from '../../src/training/monitor.js'

/** What tests say of one epoch. */
export interface EpochFacts {
  epoch: number
  phase?: number
  valLoss?: number
  /** Other metrics, without `val_`. */
  metrics?: Readonly<Record<string, number>>
}

/** One row of a history. */
export function row({ epoch, phase = 1, valLoss = 1 / epoch, metrics = {} }: EpochFacts): TrainingMetrics {
  return { epoch, phase, trainLoss: 1, valLoss, valMetrics: metrics, learningRate: 0.5, trainingTime: 2 }
}

/** The checkpoint at the end of the last epoch of a history, saved at second `epoch` unless told. */
export function atEnd(history: readonly TrainingMetrics[], facts: Partial<Checkpoint> = {}): Checkpoint {
  const last = history.at(-1) as TrainingMetrics
  return {
    timestamp: 1_700_000_000 + last.epoch,
    modelStateDict: new Map(),
    trainingState: {
      currentEpoch: last.epoch,
      currentPhase: last.phase,
      phaseEpochsDone: last.epoch,
      globalStep: last.epoch * 10,
      bestValLoss: Math.min(...history.map(({ valLoss }) => valLoss ?? Infinity)),
      best: null,
      totalTrainingTime: 2,
      metricsHistory: history,
    },
    config: { width: 8 },
    validationLoss: last.valLoss ?? NaN,
    isBest: false,
    epoch: last.epoch,
    phase: last.phase,
    optimizerStateDict: new Map<string, unknown>([
      ['state', new Map()],
      ['param_groups', []],
    ]),
    schedulerState: null,
    trainingConfig: { loss: 'mse', phases: [{ name: 'all', epochs: 9, lr: 1 }] },
    rngState: { cpu: new Map(), loader: null, valLoader: null },
    earlyStopping: null,
    dataPosition: null,
    phaseState: { name: 'all', frozen: [], groups: [], modulesInEval: [] },
    modelGraph: null,
    metadata: { title: '', description: '', tags: [], configHash: '', torchkeepVersion: '1', libtorchVersion: '2' },
    ...facts,
  }
}

/** A checkpoint inside the epoch after a history. */
export function inside(history: readonly TrainingMetrics[], epoch: number, globalStep: number): Checkpoint {
  const begin = history.length === 0 ? atEnd([row({ epoch })]) : atEnd(history)
  return {
    ...begin,
    epoch,
    timestamp: 1_700_000_000 + epoch,
    validationLoss: NaN,
    trainingState: { ...begin.trainingState, currentEpoch: epoch, globalStep, metricsHistory: history },
    dataPosition: {
      ...{ batchesDone: 1, batchSize: 8, shuffle: true, dropLast: false, numSamples: 64 },
      ...{ epochRngState: new Map(), loaderRngState: null, lossSum: 1, samplesDone: 8, epochTime: 1 },
    },
  }
}

/** A new folder for each test, with what tests do in it. */
export function usedFolder() {
  let folder = ''
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-saver-'))))
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  const names = (place: string): string[] => readdirSync(join(folder, place)).sort()
  /** The epochs of the files of a place, in order. */
  const epochs = (place: 'regular' | 'best'): number[] =>
    names(place)
      .flatMap((name) => /_epoch_(\d+)_/.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((left, right) => left - right)

  async function open(
    options: ModelCheckpointOptions = {},
    files: FileOperations = nodeFiles,
  ): Promise<ModelCheckpoint> {
    const saver = new ModelCheckpoint(folder, { best: [{ monitor: 'val_loss', count: 1 }], ...options }, { files })
    await saver.prepare()
    return saver
  }

  /** Saves the end of each epoch as a trainer does whose monitor is the smallest `val_loss`; returns the history. */
  async function saveEpochs(
    saver: ModelCheckpoint,
    losses: readonly number[],
    { before = [], ci = [] }: { before?: readonly TrainingMetrics[]; ci?: readonly number[] } = {},
  ): Promise<TrainingMetrics[]> {
    const history = [...before]
    for (const [index, valLoss] of losses.entries()) {
      const score = ci[index]
      const metrics = score === undefined ? {} : { ci: score }
      const monitor = { name: 'val_loss', mode: 'min' } as const
      const best = history.reduce<ReturnType<typeof improvement>>(
        (best, each) => improvement(monitor, best, each) ?? best,
        null,
      )
      history.push(row({ epoch: history.length + 1, valLoss, metrics }))
      const isBest = improvement(monitor, best, history.at(-1) as TrainingMetrics) !== null
      const { warnings } = await saver.write(atEnd([...history], { isBest }), { regular: true, isBest })
      assert.deepEqual(warnings, [])
    }
    return history
  }

  return {
    get folder() {
      return folder
    },
    names,
    epochs,
    open,
    saveEpochs,
  }
}

/** A file operation that answers "no space left" where `when` says so. */
export function failing<Args extends string[]>(
  act: (...args: Args) => Promise<void>,
  when: (...args: Args) => boolean,
) {
  return (...args: Args): Promise<void> =>
    when(...args)
      ? Promise.reject(Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' }))
      : act(...args)
}
