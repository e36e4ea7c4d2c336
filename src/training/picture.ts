/** The checkpoint of a moment. */
import { getRngState, type Tensor } from '../../lib/index.js'
import type { Checkpoint } from '../checkpoint/schema.js'
import { disposeTensors } from './dispose-tensors.js'
import type { EarlyStopping } from './early-stopping.js'
import type { BatchFeed } from './feed.js'
import { runMetadata } from './metadata.js'
import type { PhaseSession } from './phase-session.js'
import type { RunState } from './run-state.js'
import type { RunParts } from './training-run.js'

/** Describes where a run stands. The tensors are the live ones: nothing may train until they are written. */
export function takePicture(
  { model, config, trainingConfig, validation, threads }: RunParts,
  training: BatchFeed,
  state: RunState,
  phase: PhaseSession,
  earlyStopping: EarlyStopping | null,
  { isBest, validationLoss }: { isBest: boolean; validationLoss: number },
): Checkpoint<Tensor> {
  const trainingState = state.trainingState(earlyStopping?.getPatienceInfo().counter ?? 0)
  const position = state.dataPosition()
  const source = training.sourceState === null ? {} : { sourceState: training.sourceState }
  const isAccumulating = (state.position?.accumulatedBatches ?? 0) > 0
  return {
    timestamp: Math.floor(Date.now() / 1000),
    modelStateDict: model.stateDict(),
    trainingState: position === null ? { ...trainingState, ...source } : trainingState,
    config,
    validationLoss,
    isBest,
    epoch: state.epoch,
    phase: state.phase,
    optimizerStateDict: phase.optimizerStateDict(),
    schedulerState: phase.scheduler?.stateDict() ?? null,
    trainingConfig,
    rngState: {
      cpu: getRngState(),
      loader: training.generatorState(),
      valLoader: validation?.generatorState() ?? null,
    },
    earlyStopping: earlyStopping?.stateDict() ?? null,
    dataPosition: position === null ? null : { ...position, ...source },
    ...(isAccumulating ? { accumulatedGrads: phase.gradients() } : {}),
    phaseState: phase.state,
    modelGraph: phase.graph,
    metadata: runMetadata(model, config, threads),
  }
}

/** Disposes what a picture holds references of its own to. */
export function disposePicture({ modelStateDict, rngState, accumulatedGrads }: Checkpoint<Tensor>): void {
  for (const value of [modelStateDict, rngState, accumulatedGrads]) disposeTensors(value)
}
