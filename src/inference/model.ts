/** A model that runs: a recorded evaluation graph with its tensors on a thread of its own. */
import { callTensor, keep, noGrad, scope, Session, type DType, type Tensor } from '../../lib/index.js'
import { setConstants } from '../../lib/nn/trace.js'
import { inputsOf, outputsOf, stateSpecs } from '../export/graph-tensors.js'
import { liveTensors } from '../export/live-tensors-with-libtorch.js'
import type { ExportableModel, ModelTensor } from '../export/types.js'
import { TorchkeepError } from '../format/errors.js'
import { disposeTensors } from '../training/dispose-tensors.js'
import { aborted, CallQueue, disposed } from './call-queue.js'
import { InputReader, type Inputs } from './input-values.js'
import { sizeRules, type SizeRules } from './sizes.js'
import type { InferenceModel, InferenceOptions, NestedNumbers, PredictOptions } from './types.js'

/**
 * Puts a model together from descriptions and starts its thread. CRC-32s of its tensors are checked.
 *
 * @param path what the model is called in messages.
 * @throws TorchkeepError `ERR_CHECKPOINT_CORRUPT`; `ERR_CHECKPOINT_UNSUPPORTED` naming an operator, condition or tensor that is not run here; `ERR_INVALID_ARGUMENT` for a device or number of threads that is none.
 */
export async function startModel(
  path: string,
  model: ExportableModel,
  { device = 'cpu', threads = 1 }: InferenceOptions = {},
): Promise<InferenceModel> {
  if (!Number.isSafeInteger(threads) || threads < 1 || threads > 1024)
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `threads should be 1 to 1024, but is ${String(threads)}`)
  const { program, autocast } = model
  const rules = rulesOf(model)
  const state = await stateOn(device, model)
  try {
    const { graph_module: graph } = program
    const part = (wanted: string): Map<string, Tensor> =>
      new Map(
        stateSpecs(program)
          .filter(({ role }) => role === wanted)
          .map(({ name }) => [name, state.get(name) as Tensor]),
      )
    setConstants(graph, part('constant'))
    const session = await Session.create({
      module: { parameters: part('parameter'), buffers: part('buffer') },
      ...{ trainGraph: null, evalGraph: graph, lossGraph: null, optimizer: null, device, threads, autocast },
    }).catch((error: unknown) => {
      throw notRunnable(path, error)
    })
    return new RunningModel(model, rules, device, session, state)
  } catch (error) {
    disposeTensors(state)
    throw error
  }
}

function rulesOf({ program }: ExportableModel): SizeRules {
  const { signature, graph, module_call_graph: calls } = program.graph_module
  const names = inputsOf(program).map(({ name }) => name)
  const sizes = names.map((name) => graph.tensor_values[name]?.sizes ?? [])
  const own = calls.find(({ fqn }) => fqn === '')?.signature?.forward_arg_names
  const inputs = signature.input_specs.filter((spec) => 'user_input' in spec).length
  return sizeRules(program, sizes, own?.length === inputs ? own : names)
}

/** Live tensors on the device; those that are one stay one. */
async function stateOn(device: string, { state, constants }: ExportableModel): Promise<Map<string, Tensor>> {
  const live = await liveTensors(new Map([...state, ...constants]))
  if (device === 'cpu') return live
  const moved = new Map<string, Tensor>()
  try {
    const entries = [...live].map(([name, tensor]): [string, Tensor] => {
      const { storageId, storageOffset, sizes, strides, requiresGrad } = tensor.info()
      const key = JSON.stringify([sizes.includes(0) ? name : storageId, storageOffset, sizes, strides])
      const copy = moved.get(key) ?? scope(() => noGrad(() => tensor.detach().to(device)))
      moved.set(key, copy)
      if (requiresGrad) copy.requiresGrad_()
      return [name, copy]
    })
    return new Map(entries)
  } catch (error) {
    disposeTensors(moved)
    throw error
  } finally {
    disposeTensors(live)
  }
}

/** What the native side cannot compile is no mistake of the caller's. */
function notRunnable(path: string, error: unknown): unknown {
  if (!(error instanceof TorchkeepError) || error.code !== 'ERR_INVALID_ARGUMENT') return error
  if (error.message.startsWith('device:')) return error
  return new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `${path} cannot be run here: ${error.message}`, {
    cause: error,
  })
}

class RunningModel implements InferenceModel {
  readonly inputs: readonly ModelTensor[]
  readonly outputs: readonly ModelTensor[]
  readonly #queue: CallQueue<Inputs, Tensor[]>
  readonly #reader: InputReader

  constructor(
    { program }: ExportableModel,
    rules: SizeRules,
    device: string,
    session: Session,
    state: ReadonlyMap<string, Tensor>,
  ) {
    const { tensor_values: values } = program.graph_module.graph
    const shapeOf = (name: string): (number | null)[] =>
      (values[name]?.sizes ?? []).map((size) => ('as_int' in size ? size.as_int : null))
    const told = ({ name, dtype }: ModelTensor): ModelTensor => ({ name, dtype, shape: shapeOf(name) })
    this.inputs = inputsOf(program).map(told)
    this.outputs = outputsOf(program).map(told)
    this.#reader = new InputReader(this.inputs as readonly { name: string; dtype: DType }[], rules, device)
    this.#queue = new CallQueue({
      run: (calls) =>
        session.predict(
          calls.map(({ tensors }) => tensors),
          maxRunMs,
        ),
      stop: () => session.pause(),
      free: ({ made }) => disposeTensors([...made]),
      drop: (outputs) => disposeTensors(outputs),
      end: () => {
        session.dispose()
        disposeTensors(state)
      },
    })
  }

  // Without an await before the queue: a call that need not wait begins now, so that its inputs are as they were given.
  async predict(inputs: readonly (Tensor | NestedNumbers)[], { signal }: PredictOptions = {}): Promise<Tensor[]> {
    if (this.#queue.closed) throw disposed()
    if (signal?.aborted === true) throw aborted(signal)
    const read = this.#reader.read(inputs)
    return this.#queue.add(this.#queue.busy ? owned(read) : read, signal)
  }

  dispose(): void {
    this.#queue.close()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** Calls that wait are run together for so long before their results are handed out: going from thread to thread takes longer than a small model. */
const maxRunMs = 1

/** Copies of what the caller may change before the call's turn comes. */
function owned({ tensors, made }: Inputs): Inputs {
  const copies = tensors.map((tensor) =>
    made.has(tensor) ? tensor : keep(noGrad(() => callTensor('clone', [tensor]))),
  )
  return { tensors: copies, made: new Set(copies) }
}
