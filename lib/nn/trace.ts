/** Records a module's forward, or a function, as a graph of ATen operators in torch.export's schema. */
import { TorchkeepError } from '../../src/format/errors.js'
import { arange, cat } from '../creation.js'
import type { TensorInfo } from '../contract.js'
import { noGrad } from '../grad-mode.js'
import { knownOptions } from '../options.js'
import { preserveRngState } from '../random.js'
import { withRecorder } from '../recording.js'
import { keep, scope } from '../scope.js'
import { Tensor } from '../tensor.js'
import {
  scalarTypes,
  type Argument,
  type ExportedGraph,
  type InputSpec,
  type ModuleCallEntry,
  type SymInt,
  type TensorMeta,
} from '../../src/format/export-schema.js'
import { toDevice } from './graph-arguments.js'
import { GraphRecorder, type ModuleFrame } from './graph-recorder.js'
import type { Module } from './module.js'

const constantsOfGraphs = new WeakMap<ExportedGraph, ReadonlyMap<string, Tensor>>()

/**
 * Tensors that a graph uses besides parameters, buffers and inputs, by the names of its signature. They are no part of
 * the JSON.
 */
export function constantsOf(graph: ExportedGraph): ReadonlyMap<string, Tensor> {
  return constantsOfGraphs.get(graph) ?? new Map()
}

/** Gives a graph that was read from JSON its constants, for {@link constantsOf}. */
export function setConstants(graph: ExportedGraph, constants: ReadonlyMap<string, Tensor>): void {
  constantsOfGraphs.set(graph, constants)
}

export interface TraceOptions {
  /**
   * Further batch sizes that the graph will meet, such as that of a last batch that is not full. The recording is made for each of them too and must be
   * the same, so that a `forward` that decides by the size is refused. Default: none.
   */
  batchSizes?: readonly number[]
}

/**
 * Records what `module.call(...exampleInputs)` does, with each submodule in its present mode. The example's values are
 * used only to run the operators on copies: parameters, buffers, inputs and the random state stay as they are. Inputs
 * that share the first one's first size are taken for batches; the module is run a second time with twice as many rows,
 * and a graph that holds the batch size is refused (`ERR_INVALID_ARGUMENT` naming the node), as it would go wrong for
 * any other.
 */
export function trace(module: Module, exampleInputs: readonly Tensor[], options: TraceOptions = {}): ExportedGraph {
  knownOptions('trace', options, ['batchSizes'])
  const rows = exampleInputs.find((input) => input.dim() > 0)?.size(0)
  const isBatch = (input: Tensor): boolean => input.dim() > 0 && input.size(0) === rows
  return traceForBatches(module, (...inputs) => module.call(...inputs), exampleInputs, isBatch, options)
}

/** Records a function such as a loss. All inputs with at least one dimension are taken for batches. */
export function traceFunction(
  fn: (...inputs: Tensor[]) => Tensor | Tensor[],
  exampleInputs: readonly Tensor[],
  options: TraceOptions = {},
): ExportedGraph {
  knownOptions('traceFunction', options, ['batchSizes'])
  return traceForBatches(null, fn, exampleInputs, (input) => input.dim() > 0, options)
}

interface Recording {
  recorder: GraphRecorder
  specs: InputSpec[]
  inputNames: string[]
  outputs: Argument[]
  isSingleOutput: boolean
}

function traceForBatches(
  module: Module | null,
  fn: (...inputs: Tensor[]) => Tensor | Tensor[],
  inputs: readonly Tensor[],
  isBatch: (input: Tensor) => boolean,
  { batchSizes = [] }: TraceOptions,
): ExportedGraph {
  return preserveRngState(() =>
    noGrad(() => {
      const constants = new Map<string, Tensor>()
      const graph = scope(() => {
        const once = record(module, fn, inputs)
        const twice = record(
          module,
          fn,
          inputs.map((input) => (isBatch(input) ? cat([input, input]) : input)),
        )
        compareNodes(once.recorder, twice.recorder)
        for (const rows of new Set(batchSizes)) {
          const resized = inputs.map((input) => (isBatch(input) ? withRows(input, rows) : input))
          compareNodes(once.recorder, record(module, fn, resized).recorder)
        }
        for (const [name, tensor] of once.recorder.constants) constants.set(name.slice('c_'.length), keep(tensor))
        const batch = inputs.find(isBatch)?.size(0) ?? 0
        return toGraph(module, once, new SymbolicSizes(batch), twice.recorder.infos)
      })
      setConstants(graph, constants)
      return graph
    }),
  )
}

/** A batch of another size from the rows of this one, again from the first where it has too few. */
function withRows(batch: Tensor, rows: number): Tensor {
  return batch.indexSelect(0, arange(rows).remainder(batch.size(0)).long())
}

function record(
  module: Module | null,
  fn: (...inputs: Tensor[]) => Tensor | Tensor[],
  inputs: readonly Tensor[],
): Recording {
  const frames = module === null ? new Map<object, ModuleFrame>() : framesOf(module)
  const recorder = new GraphRecorder((part) => frames.get(part))
  const specs = module === null ? [] : addState(recorder, module)
  const copies = inputs.map((input) => input.detach())
  const inputNames = copies.map((copy, i) => recorder.addInput(`args_${i}`, copy))
  const result = withRecorder(recorder, () => fn(...copies))
  const outputs = [result].flat().map((output): Argument => {
    if (output instanceof Tensor) return { as_tensor: { name: recorder.nameOf(output) } }
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `forward() returned ${typeof output}, expected a tensor or an array of tensors`,
    )
  })
  return { recorder, specs, inputNames, outputs, isSingleOutput: result instanceof Tensor }
}

/**
 * Parameters and buffers under all their names; the last name of a tied one is the one that nodes use, as in Python.
 */
function addState(recorder: GraphRecorder, module: Module): InputSpec[] {
  const specs: InputSpec[] = []
  for (const [fullName, parameter] of module.namedParameters({ removeDuplicate: false })) {
    const name = recorder.addInput(`p_${fullName}`, parameter)
    specs.push({ parameter: { arg: { name }, parameter_name: fullName } })
  }
  const persistent = module.stateDict()
  for (const [fullName, buffer] of module.namedBuffers({ removeDuplicate: false })) {
    const name = recorder.addInput(`b_${fullName}`, buffer)
    specs.push({ buffer: { arg: { name }, buffer_name: fullName, persistent: persistent.has(fullName) } })
  }
  return specs
}

function framesOf(module: Module): Map<object, ModuleFrame> {
  return new Map([...module.namedModules()].map(([path, part]) => [part, { path, type: pythonNameOf(part) }]))
}

/** The class as Python names it; a class of the user's own is one of `__main__`. */
function pythonNameOf(module: Module): string {
  const type = module.constructor as { name: string; pythonName?: string }
  return Object.hasOwn(type, 'pythonName') && type.pythonName !== undefined ? type.pythonName : `__main__.${type.name}`
}

/** A number that differs between the two batch sizes is the batch size, or was computed from it. */
function compareNodes(once: GraphRecorder, twice: GraphRecorder): void {
  const differs = once.nodes.findIndex((node, i) => {
    const other = twice.nodes[i]
    return (
      other === undefined ||
      node.target !== other.target ||
      JSON.stringify([node.inputs, node.outputs]) !== JSON.stringify([other.inputs, other.outputs])
    )
  })
  const node =
    once.nodes[differs < 0 ? once.nodes.length : differs] ?? (differs < 0 ? twice.nodes[once.nodes.length] : undefined)
  if (node === undefined) return
  const place = node.metadata['nn_module_stack']?.split(';').at(-1)?.split(',')[1] ?? ''
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `Node '${node.name}' (${node.target}${place === '' ? '' : ` in module '${place}'`}) depends on the batch size: the graph would only fit batches like the example`,
    {
      suggestions: [
        'Write sizes so that they hold for any batch, such as flatten(1) or reshape(-1, 10) in place of x.shape[0].',
      ],
    },
  )
}

/** Sizes that follow the batch become expressions of the symbol `s0`; others that differ get symbols of their own. */
class SymbolicSizes {
  #next = 1
  readonly #others = new Map<string, string>()

  constructor(private readonly batch: number) {}

  size(once: number, twice: number): SymInt {
    if (once === twice) return { as_int: once }
    return { as_expr: { expr_str: this.#expression(once, twice), hint: { as_int: once } } }
  }

  #expression(once: number, twice: number): string {
    const factor = once / this.batch
    if (twice !== 2 * once || !Number.isInteger(factor)) return symbol(this.#other(once, twice))
    return factor === 1 ? symbol('s0') : `Mul(Integer(${factor}), ${symbol('s0')})`
  }

  #other(once: number, twice: number): string {
    const key = `${once},${twice}`
    const name = this.#others.get(key) ?? `s${this.#next++}`
    this.#others.set(key, name)
    return name
  }
}

const symbol = (name: string): string => `Symbol('${name}', positive=True, integer=True)`

function toGraph(
  module: Module | null,
  recording: Recording,
  symbolic: SymbolicSizes,
  doubled: ReadonlyMap<string, TensorInfo>,
): ExportedGraph {
  const { recorder, specs, inputNames, outputs, isSingleOutput } = recording
  const constants = [...recorder.constants.keys()]
  const stateNames = specs.map((spec) =>
    'parameter' in spec ? spec.parameter.arg.name : 'buffer' in spec ? spec.buffer.arg.name : '',
  )
  const trained = new Set(specs.flatMap((spec) => ('parameter' in spec ? [spec.parameter.arg.name] : [])))
  const metas = [...recorder.infos].map(([name, info]) => {
    const twice = doubled.get(name) ?? info
    return [name, toMeta(info, twice, symbolic, trained.has(name) && info.requiresGrad)] as const
  })
  return {
    graph: {
      inputs: [...stateNames, ...constants, ...inputNames].map((name) => ({ as_tensor: { name } })),
      outputs,
      nodes: recorder.nodes,
      tensor_values: Object.fromEntries(metas),
      sym_int_values: {},
      sym_bool_values: {},
      is_single_tensor_return: false,
      custom_obj_values: {},
      sym_float_values: {},
    },
    signature: {
      input_specs: [
        ...specs,
        ...constants.map((name) => ({
          tensor_constant: { arg: { name }, tensor_constant_name: name.slice('c_'.length) },
        })),
        ...inputNames.map((name) => ({ user_input: { arg: { as_tensor: { name } } } })),
      ],
      output_specs: outputs.map((arg) => ({ user_output: { arg } })),
    },
    module_call_graph: moduleCallGraph(module, inputNames, outputs.length, isSingleOutput),
    metadata: {},
    treespec_namedtuple_fields: {},
  }
}

function toMeta(once: TensorInfo, twice: TensorInfo, symbolic: SymbolicSizes, requiresGrad: boolean): TensorMeta {
  const pairs = (a: readonly number[], b: readonly number[]): SymInt[] =>
    a.map((value, i) => symbolic.size(value, b[i] ?? value))
  return {
    dtype: scalarTypes[once.dtype] ?? 0,
    sizes: pairs(once.sizes, twice.sizes),
    requires_grad: requiresGrad,
    device: toDevice(once.device),
    strides: pairs(once.strides, twice.strides),
    storage_offset: symbolic.size(once.storageOffset, twice.storageOffset),
    layout: 7,
  }
}

/** How Python calls the graph: all inputs positional, one tensor or a tuple back. */
function moduleCallGraph(
  module: Module | null,
  inputNames: string[],
  outputs: number,
  isSingleOutput: boolean,
): ModuleCallEntry[] {
  const leaf = { type: null, context: null, children_spec: [] }
  const tuple = (children: unknown[]): unknown => ({ type: 'builtins.tuple', context: 'null', children_spec: children })
  const inSpec = tuple([tuple(inputNames.map(() => leaf)), { type: 'builtins.dict', context: '[]', children_spec: [] }])
  const outSpec = isSingleOutput ? leaf : tuple(Array.from({ length: outputs }, () => leaf))
  const spec = (tree: unknown): string => JSON.stringify([1, tree])
  const parts = module === null ? [] : [...module.namedModules().keys()].filter((path) => path !== '')
  return [
    {
      fqn: '',
      signature: {
        inputs: [],
        outputs: [],
        in_spec: spec(inSpec),
        out_spec: spec(outSpec),
        forward_arg_names: inputNames,
      },
    },
    ...parts.map((fqn) => ({ fqn, signature: null })),
  ]
}
