/** Models, losses and metrics of a configuration. */
import { Module, nn } from '../../lib/index.js'
import type { Plain } from '../checkpoint/fields.js'
import type { TensorDescription } from '../data/open-data.js'
import { TorchkeepError } from '../format/errors.js'
import type { MetricFunction } from '../training/metrics.js'
import type { LossFunction } from '../training/recording.js'
import { loadExport } from './load-module.js'
import { metricName, type TrainConfig } from './read-config.js'
import type { Exported, ModelSpec } from './schema.js'

/** What a model is told about the data, as the second argument of its class or function: `{ data }`. */
export interface ModelContext {
  data: DataSummary
}

/** The shapes of the data. */
export interface DataSummary {
  /** In the order of `forward`. */
  inputs: readonly TensorDescription[]
  target: TensorDescription
  /** Names of the classes of a target that is a category; null otherwise. */
  classes: readonly string[] | null
}

/** A model as the `model` of a checkpoint's configuration holds it: what decides its build, sizes from the data included. */
export interface MadeModel {
  module: Module
  config: Plain
}

/**
 * The model of a configuration. Draws its initial weights from the default generator.
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` for a module without that export, an export that is no model, or one that throws.
 */
export async function makeModel(config: TrainConfig, data: DataSummary): Promise<MadeModel> {
  const spec = config.settings.model
  if ('name' in spec) return makeMlp(spec, data)
  const made = await loadExport(config.resolve(spec.file), spec)
  const { options = {} } = spec
  const where = `model ${spec.export ?? 'default'} of ${spec.file}`
  return { module: await constructModel(where, made, options as Plain, { data }), config: spec as Plain }
}

/**
 * What a module exports for a model, made: a `nn.Module` is itself, a class is constructed, a function called.
 *
 * @param where names it in messages.
 * @param context the second argument; without data where no configuration tells of any.
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` for what is no model, or throws.
 */
export async function constructModel(
  where: string,
  made: unknown,
  options: Plain,
  context: Partial<ModelContext>,
): Promise<Module> {
  const fail = (what: string, cause?: unknown): never => {
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${where} ${what}`, { cause })
  }
  if (made instanceof Module) return made
  if (typeof made !== 'function') return fail(`should be a class or a function, but is ${typeof made}`)
  const isClass = made.prototype instanceof Module
  let model: unknown
  try {
    model = isClass
      ? new (made as new (options: Plain, context: Partial<ModelContext>) => Module)(options, context)
      : await (made as (options: Plain, context: Partial<ModelContext>) => unknown)(options, context)
  } catch (error) {
    if (error instanceof TorchkeepError && error.code !== 'ERR_INVALID_ARGUMENT') throw error
    return fail(`cannot be made with the options ${JSON.stringify(options)}: ${(error as Error).message}`, error)
  }
  if (model instanceof Module) return model
  return fail(`should give a nn.Module, but gives ${model === null ? 'null' : typeof model}`)
}

function makeMlp(spec: Extract<ModelSpec, { name: string }>, data: DataSummary): MadeModel {
  const { hidden = [64, 64], dropout = 0 } = spec
  const [input] = data.inputs
  if (data.inputs.length !== 1 || input === undefined || input.shape.length !== 1 || input.dtype !== 'float32')
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `model mlp takes one input of numbers, but the data give ${data.inputs.map(({ dtype, shape }) => `${dtype} [${shape.join(', ')}]`).join(' and ')}`,
      { suggestions: ['write a model of your own: model: {file: model.ts}'] },
    )
  const inputs = input.shape[0] ?? 0
  const outputs = data.classes?.length ?? data.target.shape.reduce((product, size) => product * size, 1)
  const sizes = [inputs, ...hidden]
  const layers = hidden.flatMap((size, index) => [
    new nn.Linear(sizes[index] as number, size),
    new nn.ReLU(),
    ...(dropout > 0 ? [new nn.Dropout(dropout)] : []),
  ])
  const module = new nn.Sequential(...layers, new nn.Linear(sizes.at(-1) as number, outputs))
  return { module, config: { name: 'mlp', inputs, hidden, outputs, dropout } }
}

/** The loss of a configuration where a module exports it; null for one by name. */
export async function makeLoss(config: TrainConfig): Promise<LossFunction | null> {
  const { loss } = config.settings
  if (typeof loss === 'string') return null
  return loadFunction<LossFunction>(config, 'loss', loss)
}

/** The metrics of a configuration that modules export, by name. */
export async function makeMetrics(config: TrainConfig): Promise<Record<string, MetricFunction>> {
  const own = (config.settings.metrics ?? []).filter((metric) => typeof metric !== 'string')
  const made = own.map(async (metric) => [metricName(metric), await loadMetric(config, metric)] as const)
  return Object.fromEntries(await Promise.all(made))
}

async function loadMetric(config: TrainConfig, metric: Pick<Exported, 'file' | 'export'>): Promise<MetricFunction> {
  const exported = await loadExport(config.resolve(metric.file), metric)
  // resolveMetrics of the trainer says what else a metric may be.
  return exported as MetricFunction
}

async function loadFunction<F>(config: TrainConfig, role: string, spec: Exported): Promise<F> {
  const exported = await loadExport(config.resolve(spec.file), spec)
  if (typeof exported === 'function') return exported as F
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `${role} ${spec.export ?? 'default'} of ${spec.file} should be a function, but is ${typeof exported}`,
  )
}
