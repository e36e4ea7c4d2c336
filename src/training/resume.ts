/** Taking up a run where a checkpoint left it. */
import type { Tensor } from '../../lib/index.js'
import { getRngState, type Module, setRngState } from '../../lib/index.js'
import { decodeCheckpoint, type Checkpoint, type DataPosition, type RngState } from '../checkpoint/schema.js'
import { compareTrees, type ValueDifference } from '../checkpoint/compare-values.js'
import { canonicalJson, configHash, decidingConfig } from '../checkpoint/config-hash.js'
import type { Plain } from '../checkpoint/fields.js'
import { recoveryRecordOf } from '../checkpoint/recovery-record.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import { configChanges, isAccepted, isWithin } from './config-changes.js'
import { disposeTensors } from './dispose-tensors.js'
import type { BatchFeed } from './feed.js'
import { loadWanted } from './load-wanted.js'
import { monitoredValue } from './monitor.js'
import { isOldCheckpoint, readOldCheckpoint } from './old-checkpoint.js'
import type { PhaseNames } from './patterns.js'
import { namedState, type NamedState } from './phase-optimizer.js'
import type { RestoredPhase } from './phase-session.js'
import type { EpochPosition } from './run-state.js'

/** A checkpoint that a run goes on from. */
export interface Restored {
  path: string
  checkpoint: Omit<Checkpoint<Tensor>, 'rngState'> & {
    /** Null in checkpoints of the older system: the run then draws from where the generators are. */
    rngState: RngState<Tensor> | null
  }
  /** Where the training configuration differs from the checkpoint's, as the caller accepted. */
  changes: readonly string[]
  /** What a checkpoint of the older system did not hold, for people; empty for our own. */
  notHeld: readonly string[]
  /** For people: what is newer but missing or broken, where `latest` therefore means another file than `latest.pth`; else empty. */
  passedOver: readonly string[]
}

/** What decides whether a checkpoint may be taken up. */
export interface ResumeRules {
  modelConfig: Plain
  trainingConfig: TrainingConfig
  /** Names of the model's parameters, aliases once, in the order of a Python optimizer over all of them. */
  parameters: ReadonlyMap<string, Tensor>
  validates: boolean
  /** Parts of the training configuration that may differ: `phases[1].lr`, or `phases` for all of them; parts of the model's configuration as `config.width`, or `config`. */
  accepted: readonly string[]
  /** Whether a checkpoint may be taken that was recovered from a damaged file: its weights or labels may not be those of the run. */
  acceptRecovered: boolean
}

/**
 * Reads the checkpoint that `wanted` means (`latest`, `best` or a path) and refuses one of another training configuration, or of another model. One of the older Python system says nothing of either.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_MISSING`, `ERR_CHECKPOINT_INCOMPATIBLE`, and what reading the file throws.
 */
export async function readCheckpoint(folder: string, wanted: string, rules: ResumeRules): Promise<Restored> {
  const { path, value, passedOver } = await loadWanted(folder, wanted)
  if (isOldCheckpoint(value)) {
    disposeTensors(value)
    const old = await readOldCheckpoint(path, rules.parameters, rules.trainingConfig)
    checkPlace(path, old.checkpoint, rules.trainingConfig)
    return { ...old, passedOver }
  }
  if (!rules.acceptRecovered) refuseRecovered(path, value)
  const checkpoint = decodeCheckpoint<Tensor>(value, path)
  checkModelConfig(path, checkpoint.config, rules.modelConfig, rules.accepted)
  const changes = configChanges(checkpoint.trainingConfig, rules.trainingConfig, rules.validates)
  const refused = changes.filter((change) => !isAccepted(change, rules.accepted))
  if (refused.length > 0) {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_INCOMPATIBLE',
      `${path} was made with another training configuration; these differ: ${refused.join(', ')}`,
      {
        suggestions: [
          `pass accept: [${refused.map((change) => `'${change}'`).join(', ')}] to go on with the new values`,
        ],
      },
    )
  }
  checkPlace(path, checkpoint, rules.trainingConfig)
  return { path, checkpoint, changes, notHeld: [], passedOver }
}

function refuseRecovered(path: string, value: unknown): void {
  const record = recoveryRecordOf(value)
  if (record === null) return
  const acts = (['damaged', 'lost', 'repaired', 'filled', 'unknown'] as const).flatMap((act) => {
    const [first] = record[act]
    return first === undefined
      ? []
      : [`${act}: ${first}${record[act].length > 1 ? `, ... (${record[act].length})` : ''}`]
  })
  throw new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    `${path} was recovered from the damaged ${record.source}; a run that goes on from it is not the run that was. ${acts.join('; ')}`,
    { suggestions: ['pass acceptRecovered: true to go on all the same', 'resume from an undamaged checkpoint'] },
  )
}

/**
 * Refuses a configuration of another model: one whose hash differs. The hash of the file's configuration is computed anew and not taken from its metadata, since Torchkeep 0.1 stored one that was over the training
 * configuration too.
 */
function checkModelConfig(path: string, saved: Plain, now: Plain, accepted: readonly string[]): void {
  if (configHash(saved) === configHash(now)) return
  if (accepted.includes('config')) return
  const { differences: found } = compareTrees(decidingConfig(saved), decidingConfig(now), {}, 'config')
  const refused = found.filter(({ path: place }) => !accepted.some((part) => isWithin(place, part)))
  if (refused.length === 0) return
  const text = ({ path: place, before, after }: ValueDifference): string =>
    `${place}: ${valueText(before)} -> ${valueText(after)}`
  throw new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    `${path} was made with the configuration of another model; from the checkpoint to now: ${refused.map(text).join(', ')}`,
    {
      suggestions: [
        `pass accept: [${refused.map(({ path: place }) => `'${place}'`).join(', ')}] to go on all the same`,
      ],
    },
  )
}

const valueText = (value: Plain | undefined): string => (value === undefined ? '(absent)' : canonicalJson(value))

/** Refuses a place in the run that the configuration does not have: phases were taken away. */
function checkPlace(
  path: string,
  { trainingState }: Pick<Checkpoint, 'trainingState'>,
  { phases }: TrainingConfig,
): void {
  if (trainingState.currentPhase <= phases.length) return
  throw new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    `${path} stands in phase ${trainingState.currentPhase}, but the training configuration has ${phases.length}`,
    { suggestions: ['keep the phases that are done in the configuration'] },
  )
}

/** Puts a checkpoint's weights into the model; a model of another shape is refused with the names that do not fit. */
export function restoreWeights(model: Module, { path, checkpoint }: Restored): void {
  try {
    model.loadStateDict(checkpoint.modelStateDict as ReadonlyMap<string, Tensor>)
  } catch (error) {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_INCOMPATIBLE',
      `${path} does not fit the model: ${(error as Error).message}`,
      { cause: error },
    )
  }
}

/**
 * Puts the random state back and, inside an epoch, draws the epoch's order again from the state that the generators had when it began.
 *
 * @param feed the training data in the batches of the checkpoint's phase.
 * @returns where the epoch stands, or null between epochs.
 * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` where the data have other samples or batches than those before.
 */
export async function restorePosition(
  { path, checkpoint }: Restored,
  feed: BatchFeed,
  validation: BatchFeed | null,
): Promise<EpochPosition | null> {
  const { dataPosition: position, rngState, trainingState } = checkpoint
  if (rngState === null) return null
  requireSameGenerator(path, feed, rngState.loader)
  if (validation !== null) requireSameGenerator(path, validation, rngState.valLoader)
  const sourceState = position?.sourceState ?? trainingState.sourceState ?? null
  await feed.takeUp({ path, batchesDone: position?.batchesDone ?? 0, sourceState })
  let restored: EpochPosition | null = null
  if (position !== null) {
    requireSameBatches(path, position, feed)
    putState(path, 'data_position.epoch_rng_state', () => setRngState(position.epochRngState))
    putState(path, 'data_position.loader_rng_state', () => feed.setGeneratorState(position.loaderRngState))
    restored = {
      ...position,
      epochRngState: position.epochRngState.clone(),
      loaderRngState: position.loaderRngState?.clone() ?? null,
      order: feed.epochOrder(),
      batches: feed.batches,
      accumulatedBatches: position.accumulatedBatches ?? 0,
      accumulatedSkipped: position.accumulatedSkipped ?? 0,
      skippedBatches: position.skippedBatches ?? 0,
      validationTime: 0,
    }
  }
  putState(path, 'rng_state.cpu', () => setRngState(rngState.cpu))
  putState(path, 'rng_state.loader', () => feed.setGeneratorState(rngState.loader))
  putState(path, 'rng_state.val_loader', () => validation?.setGeneratorState(rngState.valLoader))
  return restored
}

function requireSameBatches(path: string, position: DataPosition<Tensor>, feed: BatchFeed): void {
  for (const field of ['numSamples', 'batchSize', 'shuffle', 'dropLast'] as const) {
    // How many samples an iterable has is known after an epoch only.
    if (position[field] === feed[field] || position[field] === null || feed[field] === null) continue
    throw new TorchkeepError(
      'ERR_CHECKPOINT_INCOMPATIBLE',
      `${path} stops inside an epoch with ${field} ${position[field]}, but the training loader has ${feed[field]}`,
      { suggestions: ['resume from a checkpoint made at the end of an epoch'] },
    )
  }
  if (feed.batches !== null && position.batchesDone > feed.batches)
    throw new TorchkeepError(
      'ERR_CHECKPOINT_INCOMPATIBLE',
      `${path}: data_position.batches_done is ${position.batchesDone}, but an epoch has ${feed.batches} batches`,
    )
}

/** Puts a generator's state back; one that is no state is named by its place in the file. */
function putState(path: string, field: string, put: () => void): void {
  try {
    put()
  } catch (error) {
    if (!(error instanceof TorchkeepError) || error.code !== 'ERR_INVALID_ARGUMENT') throw error
    throw new TorchkeepError(
      'ERR_CHECKPOINT_INCOMPATIBLE',
      `${path}: ${field} is no generator's state: ${error.message}`,
      {
        cause: error,
      },
    )
  }
}

function requireSameGenerator(path: string, { role, hasGenerator }: BatchFeed, saved: Tensor | null): void {
  if (hasGenerator === (saved !== null)) return
  const [then, now] = saved === null ? ['no', 'one'] : ['a', 'none']
  throw new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    `${path}: the ${role} loader had ${then} generator of its own, but now has ${now}`,
  )
}

/** Parts of a phase that decide its optimizer: where one was changed, the new values count and not the saved ones. */
const optimizerParts = ['lr', 'optimizer', 'groups', 'scheduler', 'freeze', 'unfreeze']

/** All optimizer state in a checkpoint by parameter name, with what its phase keeps of parameters that stand still. The tensors are the checkpoint's. */
export function stateInCheckpoint({ checkpoint }: Restored): NamedState {
  const { phaseState, optimizerStateDict } = checkpoint
  const kept = (phaseState.keptOptimizerState ?? new Map()) as NamedState
  return new Map([...kept, ...namedState(optimizerStateDict, phaseState.groups)])
}

/** {@link stateInCheckpoint}, for a caller who takes it: {@link release} does not dispose it any more. */
export function takeStateOut(restored: Restored | null): NamedState | null {
  if (restored === null) return null
  const state = stateInCheckpoint(restored)
  restored.checkpoint.optimizerStateDict = new Map()
  restored.checkpoint.phaseState = { ...restored.checkpoint.phaseState, keptOptimizerState: new Map() }
  return state
}

/**
 * The optimizer and scheduler to go on with.
 *
 * @param monitor what a scheduler goes by.
 * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` where the phase trained other parameters though its configuration is the same, or where the step that it stands in cannot be gone on with.
 */
export function restoredPhase(restored: Restored, names: PhaseNames, monitor: string): RestoredPhase {
  const { path, checkpoint, changes, notHeld } = restored
  const { phaseState, trainingState, optimizerStateDict, schedulerState } = checkpoint
  const phase = `phases[${trainingState.currentPhase - 1}]`
  const isChanged = changes.some((change) => optimizerParts.some((part) => isWithin(change, `${phase}.${part}`)))
  const isOld = notHeld.length > 0
  if (!isChanged && !isOld && groupsText(phaseState.groups) !== groupsText(names.groups)) {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_INCOMPATIBLE',
      `${path}: phase '${phaseState.name}' trained ${phaseState.groups.flat().join(', ')}; now it would train ${names.trained.join(', ')}`,
    )
  }
  const gradients = (checkpoint.accumulatedGrads ?? new Map()) as ReadonlyMap<string, Tensor>
  const isAccumulating = (checkpoint.dataPosition?.accumulatedBatches ?? 0) > 0
  const fitsStep = !isChanged && !changes.some((change) => isWithin(change, `${phase}.accumulateGradBatches`))
  if (isAccumulating && !fitsStep) {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_INCOMPATIBLE',
      `${path} stops inside an accumulation of gradients, which cannot be gone on with since ${changes.join(', ')} changed`,
      { suggestions: ['resume from a checkpoint made after a whole step'] },
    )
  }
  const rows = trainingState.metricsHistory.filter((row) => row.phase === trainingState.currentPhase)
  return {
    optimizer: isChanged || isOld ? null : optimizerStateDict,
    state: stateInCheckpoint(restored),
    scheduler: schedulerState,
    scores: rows.map((row) => monitoredValue(monitor, row)),
    stepsDone: trainingState.phaseStepsDone ?? 0,
    gradients,
  }
}

const groupsText = (groups: PhaseNames['groups']): string => groups.map((group) => group.join('\n')).join('\n\n')

/** Disposes the tensors of a checkpoint that has been taken up. */
export function release({ checkpoint }: Restored): void {
  const { modelStateDict, optimizerStateDict, rngState, dataPosition, phaseState, accumulatedGrads } = checkpoint
  const { modelGraph } = checkpoint
  for (const value of [modelStateDict, optimizerStateDict, rngState, dataPosition, phaseState, accumulatedGrads])
    disposeTensors(value)
  disposeTensors(modelGraph)
}

/** Begins an epoch: remembers the random state and draws the order of the samples, as making the iterator of a `DataLoader` does in Python. */
export function beginEpoch(feed: BatchFeed): EpochPosition {
  const { batchSize, numSamples, batches, shuffle, dropLast } = feed
  const epochRngState = getRngState()
  const loaderRngState = feed.generatorState()
  const order = feed.epochOrder()
  return {
    batchesDone: 0,
    batchSize,
    shuffle,
    dropLast,
    numSamples,
    epochRngState,
    loaderRngState,
    lossSum: 0,
    samplesDone: 0,
    epochTime: 0,
    order,
    batches,
    accumulatedBatches: 0,
    accumulatedSkipped: 0,
    skippedBatches: 0,
    validationTime: 0,
  }
}
