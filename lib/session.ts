/**
 * A training session: a recorded model with its loss and optimizer on a thread of its own. JavaScript owns the loop
 * between chunks.
 */
import { TorchkeepError } from '../src/format/errors.js'
import type {
  BatchSource as NativeBatchSource,
  NativeSession,
  RunOptions as NativeRunOptions,
  RunResult,
  TensorHandle,
} from './contract.js'
import { addon, translate } from './native.js'
import type { ExportedGraph } from '../src/format/export-schema.js'
import { Module } from './nn/module.js'
import { constantsOf } from './nn/trace.js'
import type { Optimizer } from './optim/optimizer.js'
import { keep } from './scope.js'
import { Tensor } from './tensor.js'

export type { RunResult }

/** Parameters and buffers by dotted name, under all their names: what a session needs of a module. */
export interface ModelState {
  parameters: ReadonlyMap<string, Tensor>
  buffers: ReadonlyMap<string, Tensor>
}

/** What a session is made of. */
export interface SessionOptions {
  /** Owns the parameters and buffers, which the session changes in place. For a graph without its code: the tensors themselves. */
  module: Module | ModelState
  /** {@link trace} of the module in training mode; null, without an optimizer, for a session that does not train. */
  trainGraph: ExportedGraph | null
  /** {@link trace} of the module in evaluation mode. */
  evalGraph: ExportedGraph
  /** {@link traceFunction} of the loss: the module's outputs, then the targets, to a scalar; null, without an optimizer, for one that
   * computes no loss. */
  lossGraph: ExportedGraph | null
  /** Of (some of) the module's parameters; null: for evaluation only. Its state and hyperparameters go along. */
  optimizer: Optimizer | null
  /** Where the parameters are; theirs unless told. */
  device?: string
  /** Threads of the session; LibTorch's default unless told. Bits of some operators depend on it. */
  threads?: number
  /**
   * `torch.autocast` of this dtype around model and loss, in training and evaluation; the outputs of an evaluation then
   * have the dtypes that autocast gives them. Default null: none.
   */
  autocast?: 'bfloat16' | null
}

/** Rows of whole tensors by number, or ready batches. */
export type BatchSource =
  | {
      /** Model inputs, then targets, all with the same first size. */
      tensors: readonly Tensor[]
      /** Row numbers, cut into batches of `batchSize`; the last may be shorter. */
      order: BigInt64Array
      batchSize: number
    }
  | { batches: readonly (readonly Tensor[])[] }

export type EvaluateOptions = BatchSource & {
  /** How many leading tensors of a batch go to the model; the rest go to the loss. */
  inputs: number
}

/** Batches and how to train on them; `RunOptions` of `lib/contract.ts` says what each option does. */
export type RunOptions = EvaluateOptions & Omit<NativeRunOptions, keyof NativeBatchSource | 'inputs'>

export interface EvaluateResult {
  samples: number
  /** Mean of the losses of the batches weighted by their sizes; NaN without targets. */
  loss: number
  /** The model's outputs, joined over the batches. */
  outputs: Tensor[]
  reason: 'end' | 'paused' | 'stopped'
}

/**
 * Made by {@link Session.create}. One operation at a time: a second one is `ERR_BUSY`. While one runs, do not touch the
 * module's tensors nor draw random numbers.
 */
export class Session {
  private constructor(
    private readonly native: NativeSession,
    private readonly parameterNames: ReadonlyMap<Tensor, string>,
    private readonly optimizer: Optimizer | null,
  ) {}

  /**
   * Compiles the graphs and starts the thread. Rejects with `ERR_INVALID_ARGUMENT` where graphs, module and optimizer
   * do not fit.
   */
  static async create(options: SessionOptions): Promise<Session> {
    const { module, optimizer } = options
    const { parameters, buffers } = module instanceof Module ? stateOf(module) : module
    const names = new Map<Tensor, string>()
    for (const [name, parameter] of parameters) if (!names.has(parameter)) names.set(parameter, name)
    const [trainGraph, evalGraph, lossGraph] = [options.trainGraph, options.evalGraph, options.lossGraph]
    const constants = new Map<string, Tensor>()
    const native = await addon().createSession({
      trainGraph: trainGraph && withConstants(trainGraph, 'train', constants),
      evalGraph: withConstants(evalGraph, 'eval', constants),
      lossGraph: lossGraph && withConstants(lossGraph, 'loss', constants),
      parameters: handlesOf(parameters),
      buffers: handlesOf(buffers),
      constants: handlesOf(constants),
      optimizer: optimizer === null ? null : { ...optimizer.toNative(nameIn(names)), name: optimizer.name },
      device: options.device ?? [...parameters.values()][0]?.device ?? 'cpu',
      threads: options.threads ?? 0,
      autocast: options.autocast ?? null,
    })
    return new Session(native, names, optimizer)
  }

  /**
   * Trains on a chunk of batches. Resolves when the batches are done, the time is up, {@link pause} was called, or a loss
   * or gradient is not finite.
   */
  async run(options: RunOptions): Promise<RunResult> {
    return this.native.run({ ...options, ...toNative(options) })
  }

  /** Evaluates the batches without gradients. */
  async evaluate(options: EvaluateOptions): Promise<EvaluateResult> {
    const result = await this.native.evaluate({ ...toNative(options), inputs: options.inputs })
    return { ...result, outputs: result.outputs.map((handle) => new Tensor(handle)) }
  }

  /**
   * Runs the evaluation graph without gradients on the inputs of each call, of any sizes that it takes, until the first call past the time. Of the calls done, in order: the outputs, which share no memory with the module and the
   * inputs, or what the call failed with. They are fewer than the calls where the time was up, or {@link pause} or {@link dispose} was called.
   */
  async predict(
    calls: readonly (readonly Tensor[])[],
    maxDurationMs = Infinity,
  ): Promise<(Tensor[] | TorchkeepError)[]> {
    const handles = calls.map((inputs) => inputs.map((tensor) => tensor.handle))
    const { done } = await this.native.predict({ calls: handles, maxDurationMs })
    return done.map((outputs) =>
      outputs instanceof Error ? (translate(outputs) as TorchkeepError) : outputs.map((handle) => new Tensor(handle)),
    )
  }

  /** Hands the optimizer's hyperparameters over, after a scheduler changed them. */
  syncOptimizer(): void {
    if (this.optimizer === null) return
    this.native.setParamGroups({ groups: this.optimizer.toNative(nameIn(this.parameterNames)).groups })
  }

  /** Makes `optimizer.state` refer to the session's live state, so that `optimizer.stateDict()` describes it. */
  pullOptimizerState(): void {
    if (this.optimizer === null) return
    const native = this.native.optimizerState()
    const { state } = this.optimizer
    const before = new Map(state)
    state.clear()
    for (const [parameter, name] of this.parameterNames) {
      const own = native[name]
      if (own !== undefined) state.set(parameter, adoptState(own, before.get(parameter)))
    }
  }

  /**
   * Gradients of an unfinished step by parameter name: those of the `accumulated` batches of the last run. They are the
   * live tensors, which the next run changes; a parameter that has none yet is absent.
   */
  gradients(): Map<string, Tensor> {
    const handles = Object.entries(this.native.gradients())
    return new Map(handles.map(([name, handle]) => [name, new Tensor(handle)]))
  }

  /**
   * Puts copies of such gradients in place of those that are there; the next run, told how many batches they are of
   * (`accumulated`), goes on with their step. Throws `ERR_INVALID_ARGUMENT` for a name that the optimizer does not have
   * and for another dtype or shape than the parameter's.
   */
  setGradients(gradients: ReadonlyMap<string, Tensor>): void {
    this.native.setGradients({ gradients: handlesOf(gradients) })
  }

  /** Ends the running chunk after the present batch, a prediction between two nodes of the graph. */
  pause(): void {
    this.native.pause()
  }

  /** Ends the session and its thread; the module keeps what it learned. Idempotent. */
  dispose(): void {
    this.native.dispose()
  }

  /** For `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}

function stateOf(module: Module): ModelState {
  return {
    parameters: module.namedParameters({ removeDuplicate: false }),
    buffers: module.namedBuffers({ removeDuplicate: false }),
  }
}

function toNative(source: BatchSource): NativeBatchSource {
  if ('batches' in source) return { batches: source.batches.map((batch) => batch.map((tensor) => tensor.handle)) }
  return { tensors: source.tensors.map((tensor) => tensor.handle), order: source.order, batchSize: source.batchSize }
}

/**
 * State as tensors; those that were adopted before stay the same objects, so that pulling again and again makes no new
 * ones.
 */
function adoptState(
  handles: Readonly<Record<string, TensorHandle>>,
  before: ReadonlyMap<string, Tensor> | undefined,
): Map<string, Tensor> {
  const entries = Object.entries(handles).map(([key, handle]): [string, Tensor] => {
    const fresh = keep(new Tensor(handle))
    const known = before?.get(key)
    if (known === undefined || known.disposed || known.info().storageId !== fresh.info().storageId) return [key, fresh]
    fresh.dispose()
    return [key, known]
  })
  return new Map(entries)
}

function handlesOf(tensors: ReadonlyMap<string, Tensor>): Record<string, TensorHandle> {
  return Object.fromEntries([...tensors].map(([name, tensor]) => [name, tensor.handle]))
}

function nameIn(names: ReadonlyMap<Tensor, string>): (parameter: Tensor) => string {
  return (parameter) => {
    const name = names.get(parameter)
    if (name !== undefined) return name
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `The optimizer has a parameter of shape [${parameter.shape.join(', ')}] that is not the module's`,
    )
  }
}

/** Three graphs share one table of constants, so each constant's name gets the graph's in front. */
function withConstants(
  graph: ExportedGraph,
  prefix: string,
  constants: Map<string, Tensor>,
): Readonly<Record<string, unknown>> {
  const own = constantsOf(graph)
  for (const [name, tensor] of own) constants.set(`${prefix}.${name}`, tensor)
  const inputSpecs = graph.signature.input_specs.map((spec) =>
    'tensor_constant' in spec
      ? {
          tensor_constant: {
            ...spec.tensor_constant,
            tensor_constant_name: `${prefix}.${spec.tensor_constant.tensor_constant_name}`,
          },
        }
      : spec,
  )
  return { ...graph, signature: { ...graph.signature, input_specs: inputSpecs } }
}
