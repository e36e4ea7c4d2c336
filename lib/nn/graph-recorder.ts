/** Records one run of a function, operator by operator. */
import { TorchkeepError } from '../../src/format/errors.js'
import { isInPlace, type Argument as CallArgument, type Result } from '../call.js'
import { addon } from '../native.js'
import { withoutRecorder, type Kwargs, type RecordedCall, type Recorder } from '../recording.js'
import { TensorBase } from '../tensor-base.js'
import { Tensor } from '../tensor.js'
import type { TensorInfo } from '../contract.js'
import type { Argument, Node } from '../../src/format/export-schema.js'
import { namedArguments } from './graph-arguments.js'
import { GraphNames } from './graph-names.js'

/** A module as `nn_module_stack` names it. */
export interface ModuleFrame {
  /** Dotted name, empty for the root. */
  path: string
  /** Full Python name of its class. */
  type: string
}

/** A tensor of the graph: its name and the tensor that stands for it while recording. */
interface Symbol {
  name: string
  own: Tensor
}

/**
 * Runs on copies, for real: whatever operators do to sizes, strides and dtypes is then exactly right, and what they do
 * to parameters, buffers and inputs stays in the copies.
 */
export class GraphRecorder implements Recorder {
  readonly nodes: Node[] = []
  /** Sizes, strides and dtype of every tensor by name. */
  readonly infos = new Map<string, TensorInfo>()
  /** Tensors that were neither inputs nor state of the module, by the name of their value in the graph. */
  readonly constants = new Map<string, Tensor>()
  readonly #names = new GraphNames()
  readonly #symbols = new Map<TensorBase, Symbol>()
  readonly #frames: string[] = []
  readonly #calls = new Map<object, number>()

  /** `frameOf`: the place of a module in the recorded one, undefined for modules outside. */
  constructor(private readonly frameOf: (module: object) => ModuleFrame | undefined) {}

  /** Declares an input of the graph; returns its name. */
  addInput(candidate: string, tensor: Tensor): string {
    const name = this.#names.create(candidate)
    this.bind(name, tensor)
    return name
  }

  /** Makes `tensor` stand for the value `name`, which may have been another tensor's before (tied parameters). */
  bind(name: string, tensor: Tensor): void {
    const known = this.#symbols.get(tensor)
    const own = known?.own ?? withoutRecorder(() => tensor.detach().clone())
    this.#symbols.set(tensor, { name, own })
    this.infos.set(name, { ...tensor.info() })
  }

  /** The value of an output tensor. */
  nameOf(tensor: TensorBase): string {
    return this.#symbol(tensor).name
  }

  record(call: RecordedCall, run: (args: readonly CallArgument[], kwargs: Kwargs) => Result): Result {
    const schema = addon().operatorSchema({ op: call.op, overload: call.overload })
    const inputs = namedArguments(call, schema, (tensor) => this.nameOf(tensor))
    const ownArgs = call.args.map((arg) => this.#own(arg))
    const ownKwargs = Object.fromEntries(Object.entries(call.kwargs).map(([name, arg]) => [name, this.#own(arg)]))
    const result = withoutRecorder(() => run(ownArgs, ownKwargs))
    const [namespace = '', operator = ''] = call.op.split('::')
    const name = this.#names.create(operator)
    const node: Node = {
      target: `torch.ops.${namespace}.${operator}.${call.overload === '' ? 'default' : call.overload}`,
      inputs,
      outputs: this.#outputs(name, result, schema.returns),
      metadata: this.#frames.length === 0 ? {} : { nn_module_stack: this.#frames.join(';') },
      is_hop_single_tensor_return: null,
      name,
    }
    this.nodes.push(node)
    const self = call.args[0]
    if (!isInPlace(operator) || !(self instanceof TensorBase)) return result
    // The caller's tensor now means the node's output, as in a graph that Python records.
    this.#symbols.set(self, { name, own: this.#symbol(self).own })
    return self as Tensor
  }

  within<T>(module: object, forward: () => T): T {
    const frame = this.frameOf(module)
    if (frame === undefined) return forward()
    const count = this.#calls.get(module) ?? 0
    this.#calls.set(module, count + 1)
    this.#frames.push(`L__self__${frame.path}${count === 0 ? '' : `@${count}`},${frame.path},${frame.type}`)
    try {
      return forward()
    } finally {
      this.#frames.pop()
    }
  }

  #own(value: CallArgument): CallArgument {
    if (value instanceof TensorBase) return this.#symbol(value).own
    return Array.isArray(value) ? value.map((item) => this.#own(item as CallArgument)) : value
  }

  #symbol(tensor: TensorBase): Symbol {
    return this.#symbols.get(tensor) ?? this.#addConstant(tensor as Tensor)
  }

  /**
   * A tensor from outside becomes a constant of the graph, copied at its first use as Python's export does, so that no
   * run can change it.
   */
  #addConstant(tensor: Tensor): Symbol {
    const constant = this.#names.create(`c_lifted_tensor_${this.constants.size}`)
    this.constants.set(constant, tensor)
    this.bind(constant, tensor)
    const name = this.#names.create('lift_fresh_copy')
    this.nodes.push({
      target: 'torch.ops.aten.lift_fresh_copy.default',
      inputs: [{ name: 'self', arg: { as_tensor: { name: constant } }, kind: 1 }],
      outputs: [{ as_tensor: { name } }],
      metadata: {},
      is_hop_single_tensor_return: null,
      name,
    })
    this.bind(name, tensor)
    return this.#symbol(tensor)
  }

  #outputs(name: string, result: Result, returns: readonly { type: string }[]): Argument[] {
    const [first] = returns
    if (first === undefined) return []
    if (returns.length > 1) return (result as Result[]).map((item) => this.#output(this.#names.create('getitem'), item))
    if (!first.type.startsWith('Tensor[]')) return [this.#output(name, result)]
    const tensors = (result as Tensor[]).map((item) => {
      const itemName = this.#names.create('getitem')
      this.#define(itemName, item)
      return { name: itemName }
    })
    return [{ as_tensors: tensors }]
  }

  #output(name: string, result: Result): Argument {
    if (result === null) return { as_none: true }
    if (!(result instanceof Tensor)) {
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `${name} returns a value and no tensor, so the graph would hold one example's value`,
      )
    }
    this.#define(name, result)
    return { as_tensor: { name } }
  }

  #define(name: string, tensor: Tensor): void {
    if (!this.#symbols.has(tensor)) this.#symbols.set(tensor, { name, own: tensor })
    this.infos.set(name, tensor.info())
  }
}
