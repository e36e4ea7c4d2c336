/** The recorded graphs as a checkpoint holds them, with all that they need besides its state dict. */
import { constantsOf, type ExportedGraph, type Module, Tensor } from '../../lib/index.js'
import type { Checkpoint, ModelGraph } from '../checkpoint/schema.js'
import { TorchkeepError } from '../format/errors.js'

/** The graphs for the checkpoints of a phase. The tensors in it are the live ones of the module and of the graphs. */
export function modelGraph(
  module: Module,
  { trainGraph, evalGraph }: { trainGraph: ExportedGraph; evalGraph: ExportedGraph },
): ModelGraph {
  const texts = { train: JSON.stringify(trainGraph), eval: JSON.stringify(evalGraph) }
  const constants = { train: neededBy(trainGraph, module), eval: neededBy(evalGraph, module) }
  return constants.train.size + constants.eval.size === 0 ? texts : { ...texts, constants }
}

/** What a graph needs that is in no state dict. */
function neededBy(graph: ExportedGraph, module: Module): Map<string, Tensor> {
  const buffers = module.namedBuffers({ removeDuplicate: false })
  const constants = constantsOf(graph)
  const needed = new Map(constants)
  for (const spec of graph.signature.input_specs) {
    if (!('buffer' in spec) || spec.buffer.persistent) continue
    const name = spec.buffer.buffer_name
    if (constants.has(name))
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `the buffer '${name}' has the name of a tensor that forward() makes, so a checkpoint cannot hold both`,
        { suggestions: ['give the buffer another name, or register it as persistent'] },
      )
    needed.set(name, buffers.get(name) as Tensor)
  }
  return needed
}

/** Names of the module's non-persistent buffers that a checkpoint holds with other values: `loadStateDict` does not put them back, as in Python. */
export function differingBuffers(module: Module, graph: ModelGraph | null): string[] {
  const persistent = module.stateDict()
  const names = [...module.namedBuffers()].flatMap(([name, buffer]) => {
    const saved: unknown = graph?.constants?.train.get(name)
    return persistent.has(name) || !(saved instanceof Tensor) || hasSameValues(buffer, saved) ? [] : [name]
  })
  for (const tensor of persistent.values()) tensor.dispose()
  return names
}

function hasSameValues(a: Tensor, b: Tensor): boolean {
  if (a.dtype !== b.dtype || String(a.shape) !== String(b.shape)) return false
  const bytes = (tensor: Tensor): Buffer => {
    const { buffer, byteOffset, byteLength } = tensor.data()
    return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength)
  }
  return bytes(a).equals(bytes(b))
}

/**
 * The constant of the evaluation graph with this name in a checkpoint that was read; undefined without.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` for what is no tensor.
 */
export function evalConstant(
  path: string,
  { modelGraph: graph }: Checkpoint<Tensor>,
  name: string,
): Tensor | undefined {
  const found: unknown = graph?.constants?.eval.get(name)
  if (found === undefined || found instanceof Tensor) return found
  throw new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    `${path}: model_graph.constants.eval['${name}'] should be a tensor, but is ${typeof found}`,
  )
}
