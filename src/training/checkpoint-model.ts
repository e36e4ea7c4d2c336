/** The model of a checkpoint, ready to be evaluated without the code that made it: the recorded evaluation graph with the weights of the file. */
import {
  autocast,
  constantsOf,
  type DType,
  type ExportedGraph,
  isFloatingPoint,
  Module,
  Parameter,
  scope,
  Session,
  type Tensor,
  traceFunction,
  zeros,
} from '../../lib/index.js'
import { setConstants } from '../../lib/nn/trace.js'
import { type Checkpoint, decodeCheckpoint } from '../checkpoint/schema.js'
import type { Phase } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import { load } from '../serialization.js'
import { settlePhase } from './phase-config.js'
import { disposeTensors } from './dispose-tensors.js'
import { evalConstant } from './model-graph.js'
import type { LossFunction } from './recording.js'

/** One tensor of a recorded graph. */
export interface RecordedTensor {
  /** The first size is the batch's. */
  shape: readonly number[]
  dtype: DType
}

/** How a checkpoint's model is run. */
export interface CheckpointModelOptions {
  /** `cpu` unless told. */
  device?: string
  /** Threads of an operator; LibTorch's choice unless told. */
  threads?: number
}

/**
 * A checkpoint's model. Everything comes from the file: the graph (`model_graph.eval`), parameters and buffers (`model_state_dict`), whether it was trained under autocast. Outputs have the bits of the validation of
 * the run, given the same batches and threads.
 */
export class CheckpointModel {
  private constructor(
    readonly path: string,
    readonly checkpoint: Checkpoint<Tensor>,
    readonly graph: ExportedGraph,
    readonly module: Module,
    readonly options: CheckpointModelOptions,
  ) {}

  /**
   * Reads a checkpoint and puts its model together.
   *
   * @throws TorchkeepError `ERR_CHECKPOINT_*` for a file that is no whole checkpoint of Torchkeep; `ERR_CHECKPOINT_UNSUPPORTED` where its graph needs tensors that the file does not hold.
   */
  static async load(path: string, options: CheckpointModelOptions = {}): Promise<CheckpointModel> {
    const checkpoint = decodeCheckpoint<Tensor>(await load(path), path)
    let used = new Set<Tensor>()
    try {
      const graph = graphOf(path, checkpoint)
      const state = stateOf(path, checkpoint, graph)
      const module = new GraphState(new Map([...state].filter(([, { kind }]) => kind !== 'constant')))
      if (options.device !== undefined) module.to(options.device)
      const constants = constantsIn(state, options.device)
      setConstants(graph, constants)
      used = new Set([...module.parameters(), ...module.buffers(), ...constants.values()])
      return new CheckpointModel(path, checkpoint, graph, module, options)
    } finally {
      // The state of the optimizer and what else an evaluation does without.
      disposeTensors(checkpoint, (tensor) => !used.has(tensor))
    }
  }

  /** What goes in, with the batch size of the recording. */
  get inputs(): RecordedTensor[] {
    const names = this.graph.signature.input_specs.flatMap((spec) =>
      'user_input' in spec && 'as_tensor' in spec.user_input.arg ? [spec.user_input.arg.as_tensor.name] : [],
    )
    return names.map((name) => recorded(this.graph.graph.tensor_values[name]))
  }

  /** What comes out for a batch of so many rows. */
  outputsFor(rows: number): RecordedTensor[] {
    const recordedRows = this.inputs.find(({ shape }) => shape.length > 0)?.shape[0] ?? 1
    return this.graph.graph.outputs.flatMap((output) =>
      'as_tensor' in output
        ? [recorded(this.graph.graph.tensor_values[output.as_tensor.name], rows / recordedRows)]
        : [],
    )
  }

  /**
   * Refuses a batch that the model was not recorded for: another number of inputs, other dtypes, other sizes than the batch's.
   *
   * @throws TorchkeepError `ERR_DATA`.
   */
  checkInputs(inputs: readonly Tensor[]): void {
    const wanted = this.inputs
    const text = (tensors: readonly { dtype: string; shape: readonly number[] }[]): string =>
      tensors.map(({ dtype, shape }) => `${dtype} [${['rows', ...shape.slice(1)].join(', ')}]`).join(' and ')
    const fits = inputs.length === wanted.length && text(inputs) === text(wanted)
    if (fits) return
    throw new TorchkeepError(
      'ERR_DATA',
      `the model of ${this.path} takes ${text(wanted)}, but the data give ${text(inputs)}`,
      {
        suggestions: ['make the tensors as in training: evaluate and predict of the command line do so for CSV files'],
      },
    )
  }

  /** The phase that the checkpoint was made in. */
  get phase(): Phase {
    const { trainingConfig, phase } = this.checkpoint
    return trainingConfig.phases[phase - 1] as Phase
  }

  /**
   * Opens a session that evaluates; dispose of it.
   *
   * @param loss recorded with an example of the targets; null: the session computes no loss.
   */
  async open(loss: { compute: LossFunction; target: Tensor } | null): Promise<Session> {
    const { autocast: autocastDtype } = settlePhase(this.checkpoint.trainingConfig, this.phase)
    const { device = 'cpu', threads = 0 } = this.options
    const record = (): ExportedGraph => {
      const outputs = this.outputsFor(loss?.target.size(0) ?? 2).map(({ shape, dtype }) => zeros([...shape], { dtype }))
      if (loss === null)
        return traceFunction(
          (output) => output.mean(),
          outputs.slice(0, 1).map((output) => output.float()),
        )
      return traceFunction(loss.compute as (...tensors: Tensor[]) => Tensor, [...outputs, loss.target])
    }
    const lossGraph = scope(() => autocast(device, autocastDtype, record))
    // The training graph would need nothing else, but is never run here.
    const graphs = { trainGraph: this.graph, evalGraph: this.graph, lossGraph }
    return Session.create({ module: this.module, ...graphs, optimizer: null, device, threads, autocast: autocastDtype })
  }

  /** Frees the tensors. */
  dispose(): void {
    const { module, graph } = this
    for (const tensor of [...module.parameters(), ...module.buffers(), ...constantsOf(graph).values()]) tensor.dispose()
  }
}

/** Numbers of `torch.export`'s ScalarType that outputs and inputs may have. */
const dtypes: Readonly<Record<number, DType>> = {
  1: 'uint8',
  2: 'int8',
  3: 'int16',
  4: 'int32',
  5: 'int64',
  6: 'float16',
  7: 'float32',
  8: 'float64',
  12: 'bool',
  13: 'bfloat16',
}

/** A tensor of the graph; sizes that follow the batch are multiplied by `scale`. */
function recorded(meta: ExportedGraph['graph']['tensor_values'][string] | undefined, scale = 1): RecordedTensor {
  const shape = (meta?.sizes ?? []).map((size) => ('as_int' in size ? size.as_int : size.as_expr.hint.as_int * scale))
  return { shape, dtype: dtypes[meta?.dtype ?? 7] ?? 'float32' }
}

function graphOf(path: string, { modelGraph }: Checkpoint<Tensor>): ExportedGraph {
  if (modelGraph === null)
    throw new TorchkeepError(
      'ERR_CHECKPOINT_UNSUPPORTED',
      `${path} holds no recorded model (model_graph), so it cannot be run without its code`,
    )
  return JSON.parse(modelGraph.eval) as ExportedGraph
}

/** What the graph needs of the file: parameters, buffers and constants by name. */
function stateOf(path: string, checkpoint: Checkpoint<Tensor>, graph: ExportedGraph): Map<string, State> {
  const state = new Map<string, State>()
  for (const spec of graph.signature.input_specs) {
    if ('user_input' in spec) continue
    const [kind, name] =
      'parameter' in spec
        ? (['parameter', spec.parameter.parameter_name] as const)
        : 'buffer' in spec
          ? (['buffer', spec.buffer.buffer_name] as const)
          : (['constant', spec.tensor_constant.tensor_constant_name] as const)
    const inStateDict = kind === 'constant' ? undefined : (checkpoint.modelStateDict.get(name) as Tensor | undefined)
    const tensor = inStateDict ?? evalConstant(path, checkpoint, name)
    if (tensor === undefined)
      throw new TorchkeepError(
        'ERR_CHECKPOINT_UNSUPPORTED',
        `${path}: the recorded model needs the ${kind} '${name}', which the file does not hold; it cannot be run from the file alone`,
        {
          suggestions: [
            'files of Torchkeep 0.1 hold what is in the state dict only: train on from it to make a new one',
          ],
        },
      )
    state.set(name, { kind, tensor })
  }
  return state
}

interface State {
  kind: 'parameter' | 'buffer' | 'constant'
  tensor: Tensor
}

function constantsIn(state: ReadonlyMap<string, State>, device: string | undefined): Map<string, Tensor> {
  const constants = [...state].filter(([, { kind }]) => kind === 'constant')
  return new Map(constants.map(([name, { tensor }]) => [name, device === undefined ? tensor : tensor.to(device)]))
}

/** A tree of modules with the parameters and buffers of a file, for a session that runs a recorded graph over them. */
class GraphState extends Module {
  constructor(state: ReadonlyMap<string, State>, prefix = '') {
    super()
    const children = new Set<string>()
    for (const [name, { kind, tensor }] of state) {
      if (!name.startsWith(prefix)) continue
      const [own = '', ...rest] = name.slice(prefix.length).split('.')
      if (rest.length > 0) children.add(own)
      else if (kind === 'buffer') this.registerBuffer(own, tensor)
      else this.registerParameter(own, new Parameter(tensor, { requiresGrad: isFloatingPoint(tensor.dtype) }))
    }
    for (const child of children) this.registerModule(child, new GraphState(state, `${prefix}${child}.`))
  }

  override forward(): Tensor {
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', 'the model of a checkpoint is run by its recorded graph')
  }
}
