/** Checkpoints of the older Python system (layouts L1 and L2) as the beginning or the continuation of a run, and weights out of any file. */
import type { Module, Tensor } from '../../lib/index.js'
import { normalizeCheckpoint, type NormalizedCheckpoint } from '../checkpoint/normalize.js'
import { layoutOf } from '../checkpoint/layouts.js'
import { historyOf } from '../checkpoint/migrations.js'
import type { Dict, TrainingMetrics } from '../checkpoint/schema.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile } from '../format/read.js'
import { loadTensors } from '../serialization.js'
import { disposeTensors } from './dispose-tensors.js'
import { settlePhase } from './phase-config.js'
import type { Restored } from './resume.js'

/** Layouts that say where their run stood. */
const resumable: readonly (string | null)[] = ['L1', 'L2']

/** Whether a file's value is a checkpoint of the older system. */
export function isOldCheckpoint(value: unknown): boolean {
  const isTraining =
    value instanceof Map && (value.has('model_state_dict') || value.has('model_state')) && !value.has('export_type')
  return isTraining && resumable.includes(layoutOf('training_checkpoint', value as ReadonlyMap<unknown, unknown>))
}

/**
 * Reads a checkpoint of the older system as one to go on from: weights, optimizer state where it fits the model, history, and the place in the run that the history tells.
 *
 * @param parameters the model's, by name, aliases once: the order in which that system's optimizer counted them.
 * @throws TorchkeepError what reading the file throws.
 */
export async function readOldCheckpoint(
  path: string,
  parameters: ReadonlyMap<string, Tensor>,
  trainingConfig: TrainingConfig,
): Promise<Restored> {
  const { value } = normalizeCheckpoint(await readTorchFile(path))
  const notHeld = [
    'the random state and the position in the data: orders and dropout are drawn anew',
    'the training configuration: this run has its own, of which nothing was compared',
    'the state of early stopping: it counts from here',
  ]
  const wanted = new Map([...value].filter(([key]) => key === 'model_state_dict' || key === 'optimizer_state_dict'))
  const live = (await loadTensors(path, wanted)) as ReadonlyMap<string, Dict>
  const history = historyRows(value, notHeld)
  const phase = numberAt(value, 'training_state', 'current_phase') ?? numberAt(value, 'phase') ?? 1
  const optimizer = live.get('optimizer_state_dict')
  const config = trainingConfig.phases[phase - 1]
  const optimizerName = config === undefined ? null : settlePhase(trainingConfig, config).optimizer.name
  const optimizerStateDict = fittingOptimizer(optimizer, parameters, optimizerName, notHeld)
  const rowsOfPhase = history.filter((row) => row.phase === phase)
  const epochs = numberAt(value, 'training_state', 'current_epoch') ?? numberAt(value, 'epoch') ?? 0
  const steps = stepsOf(optimizerStateDict)
  if (steps === 0) notHeld.push('how many steps it had made: they count from 0')
  if (numberAt(value, 'scheduler_state', 'epoch') !== null)
    notHeld.push(
      'a state that a scheduler here could take over: the rates follow the scheduler of this run from the number of epochs done',
    )
  return {
    path,
    changes: [],
    notHeld,
    passedOver: [],
    checkpoint: {
      timestamp: numberAt(value, 'timestamp') ?? 0,
      modelStateDict: live.get('model_state_dict') as Dict,
      trainingState: {
        currentEpoch: history.length > 0 ? history.length : epochs,
        currentPhase: phase,
        phaseEpochsDone: history.length > 0 ? rowsOfPhase.length : epochs,
        globalStep: steps,
        bestValLoss: numberAt(value, 'training_state', 'best_val_loss') ?? Infinity,
        best: null,
        totalTrainingTime: history.reduce((sum, row) => sum + row.trainingTime, 0),
        metricsHistory: history,
        phaseStepsDone: 0,
      },
      config: {},
      validationLoss: numberAt(value, 'validation_loss') ?? NaN,
      isBest: false,
      epoch: epochs,
      phase,
      optimizerStateDict,
      schedulerState: null,
      trainingConfig,
      rngState: null,
      earlyStopping: null,
      dataPosition: null,
      phaseState: { name: '', frozen: [], groups: [[...parameters.keys()]], modulesInEval: [] },
      modelGraph: null,
      metadata: { title: '', description: '', tags: [], configHash: '', torchkeepVersion: '', libtorchVersion: '' },
    },
  }
}

/**
 * Puts the weights of any file that holds a state dict into the model: of a checkpoint of any layout, a bare state dict, an export, safetensors.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_UNSUPPORTED` for a file without weights, `ERR_CHECKPOINT_INCOMPATIBLE` where they do not fit the model.
 */
export async function initFromFile(model: Module, path: string): Promise<NormalizedCheckpoint> {
  const normalized = normalizeCheckpoint(await readTorchFile(path))
  const weights = normalized.value.get('model_state_dict')
  if (!(weights instanceof Map))
    throw new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `${path} holds no weights by name to start from`, {
      suggestions: [`torchkeep inspect ${path} shows what is in it`],
    })
  const live = await loadTensors(path, weights)
  try {
    model.loadStateDict(live as ReadonlyMap<string, Tensor>)
  } catch (error) {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_INCOMPATIBLE',
      `${path} does not fit the model: ${(error as Error).message}`,
      { cause: error },
    )
  } finally {
    disposeTensors(live)
  }
  return normalized
}

/** The rows of the history, counted through the whole run; what is no number in them is left out. */
function historyRows(value: ReadonlyMap<unknown, unknown>, notHeld: string[]): TrainingMetrics[] {
  const rows = historyOf(value) ?? []
  if (rows.length === 0) notHeld.push('a history: the epochs done are those that its label says')
  return rows.map((row, index) => {
    const number = (key: string): number | null => numberAt(row, key)
    const metrics = [...row].flatMap(([key, item]) =>
      typeof key === 'string' && key.startsWith('val_') && key !== 'val_loss' && typeof item === 'number'
        ? [[key.slice('val_'.length), item] as const]
        : [],
    )
    const memoryUsageMb = number('memory_usage')
    return {
      epoch: index + 1,
      phase: number('phase') ?? 1,
      trainLoss: number('train_loss') ?? NaN,
      valLoss: number('val_loss'),
      valMetrics: Object.fromEntries(metrics),
      learningRate: number('learning_rate') ?? NaN,
      trainingTime: number('training_time') ?? 0,
      ...(memoryUsageMb === null ? {} : { memoryUsageMb }),
    }
  })
}

/** The optimizer's state dict where its state fits the model's parameters and the phase's optimizer; else one without state, and the reason is noted. */
function fittingOptimizer(
  optimizer: Dict | undefined,
  parameters: ReadonlyMap<string, Tensor>,
  name: string | null,
  notHeld: string[],
): Dict {
  const state = optimizer?.get('state')
  const reason = optimizer === undefined ? 'there is none' : whyNot(state, parameters, name)
  if (reason === null) return optimizer as Dict
  notHeld.push(`an optimizer state that this run could take over (${reason}): the optimizer begins anew`)
  disposeTensors(state)
  return new Map([['state', new Map()]])
}

function whyNot(state: unknown, parameters: ReadonlyMap<string, Tensor>, name: string | null): string | null {
  if (!(state instanceof Map) || state.size === 0) return 'it is empty'
  if (name === 'SGD') return 'it is of Adam, and this phase has SGD'
  const names = [...parameters]
  for (const [number, own] of state as Map<number, ReadonlyMap<string, Tensor>>) {
    const [parameter, tensor] = names[number] ?? []
    if (tensor === undefined) return `it has parameter ${number}, and the model has ${names.length}`
    const found = own instanceof Map ? own.get('exp_avg')?.shape : undefined
    if (String(found) !== String(tensor.shape))
      return `its parameter ${number} has shape [${String(found ?? '')}], and the model's ${parameter} [${tensor.shape.join(', ')}]`
  }
  return null
}

/** Steps that an Adam has made, as its state says. */
function stepsOf(optimizer: Dict): number {
  const state = optimizer.get('state') as ReadonlyMap<number, ReadonlyMap<string, Tensor>>
  return Math.max(0, ...[...state.values()].map((own) => Number(own.get('step')?.item() ?? 0)))
}

/** A number in nested dicts, or null. */
function numberAt(value: unknown, ...keys: readonly string[]): number | null {
  const found = keys.reduce<unknown>((dict, key) => (dict instanceof Map ? dict.get(key) : undefined), value)
  return typeof found === 'number' ? found : null
}
