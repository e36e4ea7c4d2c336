/** A recorded model without what its recording tells of files and people. */
import { dtypes } from '../format/dtypes.js'
import { elementCount, tensorFromBytes, type TensorRecord } from '../format/tensor-record.js'
import { inputsOf } from './graph-tensors.js'
import type { ExportableModel } from './types.js'

/** What nodes keep of the code that they were recorded from: stack traces with the paths of files, and copies of them. Running needs none of it. */
const ofTheCode = new Set(['stack_trace', 'from_node', 'source_fn_stack', 'custom', 'original_aten'])

/** The same model; its graph runs as before. What is left of it is searched with the written file. */
export function shareableProgram(model: ExportableModel): ExportableModel {
  const { graph_module: module } = model.program
  const nodes = module.graph.nodes.map((node) => ({
    ...node,
    metadata: Object.fromEntries(Object.entries(node.metadata).filter(([key]) => !ofTheCode.has(key))),
  }))
  return { ...model, program: { ...model.program, graph_module: { ...module, graph: { ...module.graph, nodes } } } }
}

/** Example inputs, without which Python does not make a module of the graph: zeros in the sizes of the recording, since a sample of real data may be private. */
export function zeroInputs({ program }: ExportableModel): TensorRecord<Uint8Array>[] {
  return inputsOf(program).map(({ dtype, recordedShape: sizes }) => {
    const { itemSizeBytes, elementsPerByte } = dtypes[dtype]
    const bytes = new Uint8Array(Math.ceil((elementCount(sizes) * itemSizeBytes) / elementsPerByte))
    return tensorFromBytes({ dtype, sizes, bytes })
  })
}
