/** A model that is to be exported, in memory and ready to run. */
import { scope, Session, traceFunction, zeros, type DType, type Tensor } from '../../lib/index.js'
import { setConstants } from '../../lib/nn/trace.js'
import { TorchkeepError } from '../format/errors.js'
import { GraphState } from '../training/checkpoint-model.js'
import { disposeTensors } from '../training/dispose-tensors.js'
import { outputsOf, stateSpecs } from './graph-tensors.js'
import { liveTensors } from './live-tensors-with-libtorch.js'
import type { ExportableModel } from './types.js'

/** Threads of every comparison: with others, sums may be added up in another order. */
export const threads = 1

/** A model with its weights in memory, on the CPU, one call at a time. */
export class LoadedModel {
  private constructor(
    private readonly session: Session,
    private readonly tensors: readonly Tensor[],
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** @throws TorchkeepError `ERR_CHECKPOINT_UNSUPPORTED` for weights or operators that cannot be run, naming them. */
  static async open(
    { program, state, constants, autocast }: ExportableModel,
    signal?: AbortSignal,
  ): Promise<LoadedModel> {
    const specs = new Map(stateSpecs(program).map((spec) => [spec.name, spec]))
    const [weights, made] = [await liveTensors(state), await liveTensors(constants)]
    const tensors = [...weights.values(), ...made.values()]
    try {
      const graph = program.graph_module
      setConstants(graph, made)
      const roles = [...weights].map(([name, tensor]) => {
        const kind = specs.get(name)?.role ?? 'buffer'
        return [name, { kind, tensor }] as const
      })
      const lossGraph = scope(() => traceFunction((output) => output.float().mean(), exampleOutput(program)))
      const session = await Session.create({
        module: new GraphState(new Map(roles)),
        ...{ trainGraph: graph, evalGraph: graph, lossGraph, optimizer: null, device: 'cpu', threads, autocast },
      })
      return new LoadedModel(session, tensors, signal)
    } catch (error) {
      disposeTensors(tensors)
      throw error
    }
  }

  /** Outputs for a batch; they are the caller's. */
  async predict(inputs: readonly Tensor[]): Promise<Tensor[]> {
    if (this.signal?.aborted === true) throw new TorchkeepError('ERR_ABORTED', 'the export was stopped')
    return (await this.session.evaluate({ batches: [inputs], inputs: inputs.length })).outputs
  }

  dispose(): void {
    this.session.dispose()
    disposeTensors(this.tensors)
  }
}

/** A session computes a loss where there are targets; here there are none, so any will do. */
function exampleOutput(program: ExportableModel['program']): Tensor[] {
  const [output] = outputsOf(program)
  return output === undefined ? [] : [zeros(output.recordedShape, { dtype: output.dtype as DType })]
}
