/**
 * What a checkpoint holds: the type of the API and the one table that maps it to the keys inside a file.
 *
 * The keys continue those of the older Python system (layout "1.0"), so that its tools find `model_state_dict`, `training_state`, `config`, `validation_loss`,
 * `epoch`... where they look; everything that an exact resumption needs is added. Python reads a checkpoint with `torch.load(path, weights_only=True)` and goes
 * on with `load_state_dict`, and a checkpoint that Python wrote with the same keys is read here.
 *
 * Tensors are a type parameter: the trainer reads and writes live ones, the tools that only look at files see their descriptions.
 */
import { TorchkeepError } from '../format/errors.js'
import {
  flag,
  float,
  integer,
  list,
  nullable,
  opaque,
  Place,
  plain,
  record,
  text,
  type Field,
  type Plain,
} from './fields.js'
import { trainingConfigField, type TrainingConfig } from './training-config.js'
import { trainingStateField, type TrainingState } from './training-state.js'

/** Version that this code writes. Readers accept any minor version of the same major one. */
export const checkpointVersion = '3.0'

/** A dict of Python, as read or to be written. */
export type Dict = ReadonlyMap<unknown, unknown>

export type { Best, TrainingMetrics, TrainingState } from './training-state.js'

/** Where inside an epoch the run stands. The order of the epoch's samples is drawn again from the state that the generator had when the epoch began. */
export interface DataPosition<Tensor> {
  batchesDone: number
  /** The loader's settings: with others the epoch would have other batches. */
  batchSize: number
  shuffle: boolean
  dropLast: boolean
  /** Null for an iterable, which tells after an epoch only. */
  numSamples: number | null
  /** `torch.get_rng_state()` before the epoch's loader was asked for its order. */
  epochRngState: Tensor
  /** The same of the loader's own generator, where it has one. */
  loaderRngState: Tensor | null
  /** Sum over the samples so far of their batches' losses. */
  lossSum: number
  samplesDone: number
  /** Seconds spent in this epoch. */
  epochTime: number
  /** Batches passed over in this epoch because their loss or gradients were not finite; absent in files of Torchkeep 0.1, as is the next. */
  skippedBatches?: number
  /** Batches of the unfinished optimizer step whose gradients are in `accumulatedGrads`; absent for none. */
  accumulatedBatches?: number
  /** Those of them that were passed over; absent for none. */
  accumulatedSkipped?: number
  /** What an iterable gave as its `state()` after the last batch; null for a loader. */
  sourceState?: Plain
}

export interface RngState<Tensor> {
  /** `torch.get_rng_state()`: a uint8 tensor of 5,056 values. */
  cpu: Tensor
  /** Of the training loader's own generator, where it has one. */
  loader: Tensor | null
  /** Of the validation loader's own generator, where it has one. */
  valLoader: Tensor | null
}

/** What the current phase made of the model. */
export interface PhaseState {
  name: string
  /** Names of the parameters that stand still. */
  frozen: readonly string[]
  /** Parameter names of each optimizer group, in the order of the indices in `optimizer_state_dict`. */
  groups: readonly (readonly string[])[]
  /** Names of the modules recorded in evaluation mode although the phase trains: batch norms that stand still. */
  modulesInEval: readonly string[]
  /** Optimizer state, under Python's keys by parameter name, of parameters that stand still in a phase with `keepOptimizer`: a later phase goes on with it. */
  keptOptimizerState?: Dict
}

/** The model's recorded graphs, each the JSON text of `models/model.json` of a `.pt2`. */
export interface ModelGraph {
  train: string
  eval: string
  /** What the graphs need besides the state dict; absent where that is nothing, and in files of Torchkeep 0.1. */
  constants?: GraphConstants
}

/** Tensors of each graph by the names of its signature, as in `constants` of Python's `ExportedProgram`: those made while recording, and non-persistent buffers. */
export interface GraphConstants {
  train: Dict
  eval: Dict
}

/** What the file says about itself, besides its labels (version, timestamp, epoch, phase, loss), which are kept once. `CheckpointMetadata` shows both. */
export interface Metadata {
  title: string
  description: string
  tags: readonly string[]
  /** `configHash` of `config`. Readers compute it anew: in files of Torchkeep 0.1 it was over the training configuration too. */
  configHash: string
  /** Class of the model; absent in files of Torchkeep 0.1, as is the next one. */
  modelType?: string
  nodeVersion?: string
  /** Tells the files of one run, resumptions included, from those of other runs in the same folder; absent in files of Torchkeep 0.1. Retention looks at it. */
  runId?: string
  torchkeepVersion: string
  libtorchVersion: string
  /** Threads of an operator in the run that wrote it: with others, sums may be added up in another order. Absent in files of Torchkeep 0.1. */
  threads?: number
}

/** A whole checkpoint. Every label in it describes the weights in it. */
export interface Checkpoint<Tensor = unknown> {
  /** Seconds since 1970. */
  timestamp: number
  modelStateDict: Dict
  trainingState: TrainingState
  /** What the user says of the model: any plain values. */
  config: Plain
  /** Validation loss of these weights; NaN where they were not validated. */
  validationLoss: number
  isBest: boolean
  epoch: number
  phase: number
  /** Over the parameters that the phase trains, in the order of `phaseState.groups`. */
  optimizerStateDict: Dict
  /** Null for a constant rate. */
  schedulerState: Dict | null
  trainingConfig: TrainingConfig
  rngState: RngState<Tensor>
  /** `EarlyStopping.stateDict()` of the current phase; null without one. */
  earlyStopping: Plain
  /** Null between epochs. */
  dataPosition: DataPosition<Tensor> | null
  /** Gradients by parameter name, only inside an accumulation: already divided by the number of its batches. */
  accumulatedGrads?: Dict
  phaseState: PhaseState
  modelGraph: ModelGraph | null
  metadata: Metadata
}

const dict: Field<Dict> = opaque('a dict', (value) => value instanceof Map)
const tensor: Field<unknown> = opaque(
  'a tensor',
  (value) => typeof value === 'object' && value !== null && !(value instanceof Map) && !Array.isArray(value),
)
const names = list(text)

const checkpointField = record<Checkpoint>({
  timestamp: ['timestamp', integer(0)],
  modelStateDict: ['model_state_dict', dict],
  trainingState: ['training_state', trainingStateField],
  config: ['config', plain],
  validationLoss: ['validation_loss', float()],
  isBest: ['is_best', flag],
  epoch: ['epoch', integer(0)],
  phase: ['phase', integer(1)],
  optimizerStateDict: ['optimizer_state_dict', dict],
  schedulerState: ['scheduler_state', nullable(dict)],
  trainingConfig: ['training_config', trainingConfigField],
  rngState: [
    'rng_state',
    record<RngState<unknown>>({
      cpu: ['cpu', tensor],
      loader: ['loader', nullable(tensor)],
      valLoader: ['val_loader', nullable(tensor)],
    }),
  ],
  earlyStopping: ['early_stopping', plain],
  dataPosition: [
    'data_position',
    nullable(
      record<DataPosition<unknown>>({
        batchesDone: ['batches_done', integer(0)],
        batchSize: ['batch_size', integer(1)],
        shuffle: ['shuffle', flag],
        dropLast: ['drop_last', flag],
        numSamples: ['num_samples', nullable(integer(1))],
        epochRngState: ['epoch_rng_state', tensor],
        loaderRngState: ['loader_rng_state', nullable(tensor)],
        lossSum: ['loss_sum', float()],
        samplesDone: ['samples_done', integer(0)],
        epochTime: ['epoch_time', float()],
        skippedBatches: ['skipped_batches', integer(0), 'optional'],
        accumulatedBatches: ['accumulated_batches', integer(0), 'optional'],
        accumulatedSkipped: ['accumulated_skipped', integer(0), 'optional'],
        sourceState: ['source_state', plain, 'optional'],
      }),
    ),
  ],
  accumulatedGrads: ['accumulated_grads', dict, 'optional'],
  phaseState: [
    'phase_state',
    record<PhaseState>({
      name: ['name', text],
      frozen: ['frozen', names],
      groups: ['groups', list(names)],
      modulesInEval: ['modules_in_eval', names],
      keptOptimizerState: ['kept_optimizer_state', dict, 'optional'],
    }),
  ],
  modelGraph: [
    'model_graph',
    nullable(
      record<ModelGraph>({
        train: ['train', text],
        eval: ['eval', text],
        constants: ['constants', record<GraphConstants>({ train: ['train', dict], eval: ['eval', dict] }), 'optional'],
      }),
    ),
  ],
  metadata: [
    'metadata',
    record<Metadata>({
      title: ['title', text],
      description: ['description', text],
      tags: ['tags', names],
      configHash: ['config_hash', text],
      modelType: ['model_type', text, 'optional'],
      nodeVersion: ['node_version', text, 'optional'],
      runId: ['run_id', text, 'optional'],
      torchkeepVersion: ['torchkeep_version', text],
      libtorchVersion: ['libtorch_version', text],
      threads: ['threads', integer(1), 'optional'],
    }),
  ],
})

/** The dict that goes into a file. A wrong field (a config with a function in it) is `ERR_INVALID_ARGUMENT`. */
export function encodeCheckpoint(checkpoint: Checkpoint): Map<string, unknown> {
  const fields = checkpointField.encode(checkpoint, new Place('ERR_INVALID_ARGUMENT', '')) as Map<string, unknown>
  return new Map<string, unknown>([['format', 'torchkeep'], ['version', checkpointVersion], ...fields])
}

/**
 * The checkpoint in what was read from `path`.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` naming the missing or wrong field, `ERR_CHECKPOINT_NEWER` for a later version, `ERR_CHECKPOINT_UNSUPPORTED`
 *   for a file that no Torchkeep wrote.
 */
export function decodeCheckpoint<Tensor>(value: unknown, path: string): Checkpoint<Tensor> {
  checkVersion(value, path)
  return checkpointField.decode(value, new Place('ERR_CHECKPOINT_INCOMPATIBLE', path)) as Checkpoint<Tensor>
}

function checkVersion(value: unknown, path: string): void {
  const found = value instanceof Map ? { format: value.get('format'), version: value.get('version') } : undefined
  if (found?.format !== 'torchkeep' || typeof found.version !== 'string') {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_UNSUPPORTED',
      `${path} is not a Torchkeep checkpoint: it has no 'format' of 'torchkeep' with a 'version'`,
      {
        suggestions: ['load() reads any .pth file; Module.loadStateDict() takes the weights in it'],
      },
    )
  }
  const major = Number.parseInt(found.version, 10)
  if (major > 3) {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_NEWER',
      `${path} has version ${found.version}; this Torchkeep reads up to 3.x`,
      {
        suggestions: ['update torchkeep'],
      },
    )
  }
  if (major !== 3)
    throw new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `${path} has version ${found.version}; 3.x was expected`)
}
