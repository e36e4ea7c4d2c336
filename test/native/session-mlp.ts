/** A small network written by hand in torch.export's schema, for tests of a session's life that need no Python; child processes and workers import it too. */
import type { GraphModule, NativeAddon, SessionSpec, TensorHandle } from '../../lib/contract.js'

type Argument = Record<string, unknown>

const tensor = (name: string): Argument => ({ as_tensor: { name } })

function node(target: string, inputs: Record<string, Argument>, output: string): Argument {
  const named = Object.entries(inputs).map(([name, arg]) => ({ name, arg, kind: 1 }))
  return { target: `torch.ops.aten.${target}`, inputs: named, outputs: [tensor(output)], metadata: {}, name: output }
}

/** A graph without meta data of its values: sizes and dtypes are then checked by the operators alone. */
function graphOf(inputSpecs: Argument[], nodes: Argument[], output: string): GraphModule {
  return {
    graph: { inputs: [], outputs: [tensor(output)], nodes, tensor_values: {} },
    signature: { input_specs: inputSpecs, output_specs: [{ user_output: { arg: tensor(output) } }] },
  }
}

const userInput = (name: string): Argument => ({ user_input: { arg: tensor(name) } })

export interface MlpOptions {
  /** Width of every layer. Default 16. */
  width?: number
  /** Hidden layers, each linear, relu, dropout. Default 1. */
  layers?: number
  threads?: number
}

function modelGraph(layers: number, training: boolean): GraphModule {
  const specs: Argument[] = []
  const nodes: Argument[] = []
  let value = 'x'
  for (let i = 0; i <= layers; i++) {
    for (const kind of ['weight', 'bias']) {
      specs.push({ parameter: { arg: { name: `p_${i}_${kind}` }, parameter_name: `${i}.${kind}` } })
    }
    const weights = { weight: tensor(`p_${i}_weight`), bias: tensor(`p_${i}_bias`) }
    nodes.push(node('linear.default', { input: tensor(value), ...weights }, `linear_${i}`))
    value = `linear_${i}`
    if (i === layers) break
    nodes.push(node('relu.default', { self: tensor(value) }, `relu_${i}`))
    const flags = { p: { as_float: 0.5 }, train: { as_bool: training } }
    nodes.push(node('dropout.default', { input: tensor(`relu_${i}`), ...flags }, `dropout_${i}`))
    value = `dropout_${i}`
  }
  return graphOf([...specs, userInput('x')], nodes, value)
}

export function mseGraph(): GraphModule {
  const loss = node('mse_loss.default', { self: tensor('output'), target: tensor('target') }, 'loss')
  return graphOf([userInput('output'), userInput('target')], [loss], 'loss')
}

/** With all three graphs. */
export type TrainingSpec = SessionSpec & { trainGraph: GraphModule; lossGraph: GraphModule }

/** A session that trains `weight` (one dimension) with SGD: abs(sqrt(weight * x)), of any floating or complex dtype. */
export function elementwise(weight: TensorHandle): TrainingSpec {
  const nodes = [
    node('mul.Tensor', { self: tensor('x'), other: tensor('p_weight') }, 'product'),
    node('sqrt.default', { self: tensor('product') }, 'root'),
    node('abs.default', { self: tensor('root') }, 'magnitude'),
  ]
  const weightSpec = { parameter: { arg: { name: 'p_weight' }, parameter_name: 'weight' } }
  const graph = graphOf([weightSpec, userInput('x')], nodes, 'magnitude')
  const options = { lr: 0.1, momentum: 0, dampening: 0, weight_decay: 0, nesterov: false, maximize: false, fused: null }
  return {
    trainGraph: graph,
    evalGraph: graph,
    lossGraph: mseGraph(),
    parameters: { weight },
    buffers: {},
    optimizer: { name: 'SGD', groups: [{ params: ['weight'], options }] },
    device: 'cpu',
    threads: 1,
  }
}

/** Float32 values that a formula gives, so that every process makes the same ones. */
export function ramp(native: NativeAddon, sizes: number[], seed: number): TensorHandle {
  const count = sizes.reduce((product, size) => product * size, 1)
  const data = Float32Array.from({ length: count }, (_, i) => Math.sin(i * 0.7 + seed) / 4)
  return native.tensorFromData({ dtype: 'float32', sizes, data, device: 'cpu' })
}

/** The session's description, with Adam, and data of 64 rows to go with it. */
export function mlp(
  native: NativeAddon,
  { width = 16, layers = 1, threads = 1 }: MlpOptions = {},
): { spec: TrainingSpec; data: TensorHandle[] } {
  const parameters: Record<string, TensorHandle> = {}
  for (let i = 0; i <= layers; i++) {
    parameters[`${i}.weight`] = ramp(native, [width, width], i)
    parameters[`${i}.bias`] = ramp(native, [width], i + 0.5)
  }
  for (const parameter of Object.values(parameters)) {
    native.call({ op: 'aten::requires_grad_', args: [parameter, true], gradEnabled: true })
  }
  const options = {
    lr: 1e-3,
    betas: [0.9, 0.999],
    eps: 1e-8,
    weight_decay: 0,
    amsgrad: false,
    maximize: false,
    fused: null,
  }
  const spec: TrainingSpec = {
    trainGraph: modelGraph(layers, true),
    evalGraph: modelGraph(layers, false),
    lossGraph: mseGraph(),
    parameters,
    buffers: {},
    optimizer: { name: 'Adam', groups: [{ params: Object.keys(parameters), options }] },
    device: 'cpu',
    threads,
  }
  return { spec, data: [ramp(native, [64, width], 100), ramp(native, [64, width], 200)] }
}

/** Row numbers for `steps` batches of `batchSize` out of 64 rows. */
export function rows(steps: number, batchSize = 8): BigInt64Array {
  return BigInt64Array.from({ length: steps * batchSize }, (_, i) => BigInt((i * 37) % 64))
}

/** All bytes of the parameters and of the optimizer's state, in hex. */
export function snapshot(
  native: NativeAddon,
  spec: SessionSpec,
  state: Record<string, Record<string, TensorHandle>>,
): string[] {
  const tensors = [...Object.values(spec.parameters), ...Object.values(state).flatMap((entry) => Object.values(entry))]
  return tensors.map((entry) => Buffer.from(native.tensorToData({ tensor: entry })).toString('hex'))
}
