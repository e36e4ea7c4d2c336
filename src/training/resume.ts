/** Taking up a run where a checkpoint left it. */
import { getRngState, type Module, setRngState, Tensor } from '../../lib/index.js'
import { findCheckpoint } from '../checkpoint/layout.js'
import { decodeCheckpoint, type Checkpoint } from '../checkpoint/schema.js'
import { compareTrees, type ValueDifference } from '../checkpoint/compare-values.js'
import { canonicalJson, configHash, decidingConfig } from '../checkpoint/config-hash.js'
import { differences, type Plain } from '../checkpoint/fields.js'
import { recoveryRecordOf } from '../checkpoint/recovery-record.js'
import type { TrainingConfig } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import { load } from '../serialization.js'
import type { BatchFeed } from './feed.js'
import type { PhaseNames } from './patterns.js'
import type { RestoredPhase } from './phase-session.js'
import type { EpochPosition } from './run-state.js'

/** A checkpoint that a run goes on from. */
export interface Restored {
  path: string
  checkpoint: Checkpoint<Tensor>
  /** Where the training configuration differs from the checkpoint's, as the caller accepted. */
  changes: readonly string[]
}

/**
 * Reads the checkpoint that `wanted` means (`latest`, `best` or a path) and refuses one of another training configuration, or of another model.
 *
 * @param accepted parts of the training configuration that may differ: `phases[1].lr`, or `phases` for all of them; parts of the model's configuration as `config.width`, or `config`.
 * @param acceptRecovered whether a checkpoint may be taken that was recovered from a damaged file: its weights or labels may not be those of the run.
 * @throws TorchkeepError `ERR_CHECKPOINT_MISSING`, `ERR_CHECKPOINT_INCOMPATIBLE`, and what reading the file throws.
 */
export async function readCheckpoint(
  folder: string,
  wanted: string,
  { modelConfig, trainingConfig: config }: { modelConfig: Plain; trainingConfig: TrainingConfig },
  accepted: readonly string[],
  acceptRecovered = false,
): Promise<Restored> {
  const path = await findCheckpoint(folder, wanted)
  const value = await load(path)
  if (!acceptRecovered) refuseRecovered(path, value)
  const checkpoint = decodeCheckpoint<Tensor>(value, path)
  checkModelConfig(path, checkpoint.config, modelConfig, accepted)
  const changes = differences(checkpoint.trainingConfig as unknown as Plain, config as unknown as Plain)
  const refused = changes.filter((change) => !accepted.some((part) => isWithin(change, part)))
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
  checkPlace(path, checkpoint, config)
  return { path, checkpoint, changes }
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
function checkPlace(path: string, { trainingState }: Checkpoint<Tensor>, { phases }: TrainingConfig): void {
  if (trainingState.currentPhase <= phases.length) return
  throw new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    `${path} stands in phase ${trainingState.currentPhase}, but the training configuration has ${phases.length}`,
    { suggestions: ['keep the phases that are done in the configuration'] },
  )
}

/** Whether a path of a configuration is `part` or lies in it: `phases[1].lr` in `phases[1]`. */
function isWithin(path: string, part: string): boolean {
  return path === part || path.startsWith(`${part}.`) || path.startsWith(`${part}[`)
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
 * @returns where the epoch stands, or null between epochs.
 * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` where the loader has other samples or batches than the one before.
 */
export function restorePosition(
  { path, checkpoint }: Restored,
  feed: BatchFeed,
  validation: BatchFeed | null,
): EpochPosition | null {
  const { dataPosition: position, rngState } = checkpoint
  requireSameGenerator(path, 'training', feed, rngState.loader)
  if (validation !== null) requireSameGenerator(path, 'validation', validation, rngState.valLoader)
  let restored: EpochPosition | null = null
  if (position !== null) {
    const { shuffle, dropLast } = feed.loader
    const now = { numSamples: feed.numSamples, batchSize: feed.batchSize, shuffle, dropLast }
    for (const field of ['numSamples', 'batchSize', 'shuffle', 'dropLast'] as const) {
      if (position[field] === now[field]) continue
      throw new TorchkeepError(
        'ERR_CHECKPOINT_INCOMPATIBLE',
        `${path} stops inside an epoch with ${field} ${position[field]}, but the training loader has ${now[field]}`,
        { suggestions: ['resume from a checkpoint made at the end of an epoch'] },
      )
    }
    if (position.batchesDone > feed.batches)
      throw new TorchkeepError(
        'ERR_CHECKPOINT_INCOMPATIBLE',
        `${path}: data_position.batches_done is ${position.batchesDone}, but an epoch has ${feed.batches} batches`,
      )
    putState(path, 'data_position.epoch_rng_state', () => setRngState(position.epochRngState))
    putState(path, 'data_position.loader_rng_state', () => feed.setGeneratorState(position.loaderRngState))
    const epochRngState = position.epochRngState.clone()
    const loaderRngState = position.loaderRngState?.clone() ?? null
    restored = { ...position, epochRngState, loaderRngState, order: feed.loader.epochOrder(), batches: feed.batches }
  }
  putState(path, 'rng_state.cpu', () => setRngState(rngState.cpu))
  putState(path, 'rng_state.loader', () => feed.setGeneratorState(rngState.loader))
  putState(path, 'rng_state.val_loader', () => validation?.setGeneratorState(rngState.valLoader))
  return restored
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

function requireSameGenerator(path: string, role: string, { loader }: BatchFeed, saved: Tensor | null): void {
  if ((loader.generator === null) === (saved === null)) return
  const [then, now] = saved === null ? ['no', 'one'] : ['a', 'none']
  throw new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    `${path}: the ${role} loader had ${then} generator of its own, but now has ${now}`,
  )
}

/**
 * The optimizer and scheduler to go on with.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` where the phase trained other parameters: their optimizer state fits no others.
 */
export function restoredPhase({ path, checkpoint, changes }: Restored, names: PhaseNames): RestoredPhase {
  const { phaseState, trainingState, optimizerStateDict, schedulerState } = checkpoint
  const trained = phaseState.groups.flat()
  if (trained.join('\n') !== names.trained.join('\n')) {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_INCOMPATIBLE',
      `${path}: phase '${phaseState.name}' trained ${trained.join(', ')}; now it would train ${names.trained.join(', ')}`,
    )
  }
  const parts = [`phases[${trainingState.currentPhase - 1}]`, 'optimizer']
  return {
    optimizer: optimizerStateDict,
    scheduler: schedulerState,
    epochsDone: trainingState.phaseEpochsDone,
    isChanged: changes.some((change) => parts.some((part) => isWithin(change, part))),
  }
}

/** Disposes the tensors of a checkpoint that has been taken up. */
export function release({ checkpoint }: Restored): void {
  const { modelStateDict, optimizerStateDict, rngState, dataPosition } = checkpoint
  for (const value of [modelStateDict, optimizerStateDict, rngState, dataPosition]) disposeTensors(value)
}

function disposeTensors(value: unknown): void {
  if (value instanceof Tensor) value.dispose()
  else if (value instanceof Map) for (const item of value.values()) disposeTensors(item)
  else if (typeof value === 'object' && value !== null) for (const item of Object.values(value)) disposeTensors(item)
}

/** Begins an epoch: remembers the random state and draws the order of the samples, as making the iterator of a `DataLoader` does in Python. */
export function beginEpoch(feed: BatchFeed): EpochPosition {
  const { loader, batchSize, numSamples, batches } = feed
  const { shuffle, dropLast } = loader
  const epochRngState = getRngState()
  const loaderRngState = feed.generatorState()
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
    order: loader.epochOrder(),
    batches,
  }
}
