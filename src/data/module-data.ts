/** Data that a module of the user's exports. */
import { DataLoader, Dataset, scope } from '../../lib/index.js'
import { TorchkeepError } from '../format/errors.js'
import { loadExport } from '../train-config/load-module.js'
import { feedOf, type TrainingData } from '../training/feed.js'
import { isIterable } from '../training/iterable-feed.js'
import { type BatchSettings, batchSettings, evalLoader, trainLoader } from './batches.js'
import type { OpenedData, OpenOptions, TensorDescription } from './open-data.js'
import { splitDataset } from './split-dataset.js'
import type { ModuleSpec } from './spec.js'
import { describeTensors } from './tensor-data.js'
import { invalid, resolvePath } from './table-recipe.js'

/** What the export may be, or give: one thing for training, or several by name. */
type Given =
  | Dataset
  | TrainingData
  | { train: Dataset | TrainingData; val?: Dataset | TrainingData | null; test?: Dataset | TrainingData | null }

export async function openModule(spec: ModuleSpec, options: OpenOptions): Promise<OpenedData> {
  const settings = batchSettings(spec)
  const { baseFolder, seed = 0 } = options
  const path = resolvePath(baseFolder, spec.file)
  const name = `${path}: ${spec.export ?? 'default'}`
  const given = await givenBy(await loadExport(path, spec.export === undefined ? {} : { export: spec.export }), spec, {
    name,
    folder: baseFolder,
    seed,
  })
  const parts = await partsOf(given, spec, name, { baseFolder, seed })
  const train = asTraining(parts.train, settings, `${name}${given === parts.train ? '' : '.train'}`)
  const described = await describe(train)
  return {
    train,
    val: parts.val === null ? null : asEvaluation(parts.val, settings, `${name}.val`),
    test: parts.test === null ? null : asEvaluation(parts.test, settings, `${name}.test`),
    fitted: null,
    report: [`data of ${name}${parts.sentence === null ? '' : ` (${parts.sentence})`}`],
    inputs: described.slice(0, -1),
    target: { ...(described.at(-1) as TensorDescription), name: 'target', classes: null, columns: ['target'] },
  }
}

/** The export, or what it gives where it is a function. */
async function givenBy(
  exported: unknown,
  { options = {} }: ModuleSpec,
  { name, folder, seed }: { name: string; folder: string; seed: number },
): Promise<Given> {
  if (typeof exported !== 'function') return exported as Given
  const make = exported as (
    options: Readonly<Record<string, unknown>>,
    place: { seed: number; folder: string },
  ) => unknown
  try {
    return (await make(options, { seed, folder })) as Given
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new TorchkeepError('ERR_DATA', `${name}() failed: ${reason}`, { cause: error })
  }
}

interface Parts {
  train: Dataset | TrainingData
  val: Dataset | TrainingData | null
  test: Dataset | TrainingData | null
  sentence: string | null
}

async function partsOf(
  given: Given,
  { split }: ModuleSpec,
  name: string,
  place: { baseFolder: string; seed: number },
): Promise<Parts> {
  if (given instanceof Dataset) return splitDataset(given, split, place)
  if (split !== undefined) invalid('split', `is for a Dataset, but ${name} gives something else`)
  if (isTrainingData(given)) return { train: given, val: null, test: null, sentence: null }
  if (typeof given !== 'object' || given === null || !('train' in given))
    throw new TorchkeepError(
      'ERR_DATA',
      `${name} should give a Dataset, a DataLoader, an (async) iterable of batches, or { train, val, test } of these, but gives ${found(given)}`,
    )
  return { train: given.train, val: given.val ?? null, test: given.test ?? null, sentence: null }
}

function asTraining(data: Dataset | TrainingData, settings: BatchSettings, name: string): TrainingData {
  return data instanceof Dataset ? trainLoader(data, settings) : required(data, name)
}

function asEvaluation(data: Dataset | TrainingData, settings: BatchSettings, name: string): TrainingData | null {
  return data instanceof Dataset ? evalLoader(data, settings) : required(data, name)
}

function required(data: unknown, name: string): TrainingData {
  if (isTrainingData(data)) return data
  throw new TorchkeepError(
    'ERR_DATA',
    `${name} should be a Dataset, a DataLoader or an (async) iterable of batches, but is ${found(data)}`,
  )
}

function isTrainingData(data: unknown): data is TrainingData {
  return data instanceof DataLoader || (isIterable(data) && typeof data !== 'string')
}

/** What a first batch is like. Of an iterable it is not known before one is read, which training does. */
async function describe(data: TrainingData): Promise<TensorDescription[]> {
  if (!(data instanceof DataLoader))
    return [
      { name: 'input 1', dtype: 'unknown', shape: [], indices: null },
      { name: 'target', dtype: 'unknown', shape: [], indices: null },
    ]
  const feed = await feedOf(data, 'training')
  const example = feed.example(1)
  const described = scope(() => describeTensors(example, []))
  for (const tensor of example) tensor.dispose()
  return described
}

function found(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? `an object with ${Object.keys(value).join(', ') || 'no keys'}` : typeof value
}
