/** The checkpoint of a moment. */
import { getRngState, type Tensor } from '../../lib/index.js'
import type { Checkpoint } from '../checkpoint/schema.js'
import { runMetadata } from './metadata.js'
import type { PhaseSession } from './phase-session.js'
import type { RunState } from './run-state.js'
import type { RunParts } from './training-run.js'

/** Describes where a run stands. The tensors are the live ones: nothing may train until they are written. */
export function takePicture(
  { model, config, trainingConfig, training, validation }: RunParts,
  state: RunState,
  phase: PhaseSession,
  isBest: boolean,
  validationLoss: number,
): Checkpoint<Tensor> {
  return {
    timestamp: Math.floor(Date.now() / 1000),
    modelStateDict: model.stateDict(),
    trainingState: state.trainingState(),
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
    earlyStopping: null,
    dataPosition: state.dataPosition(),
    phaseState: phase.state,
    modelGraph: phase.graph,
    metadata: runMetadata(model, config),
  }
}
