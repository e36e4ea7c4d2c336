/** Sessions made of what {@link runReferences} hands over, and their state in the form that Python's is in. */
import type { NativeSession, SessionSpec, TensorHandle } from '../../lib/contract.js'
import { addon } from '../../lib/native.js'
import type { PackedTensor, PackedTensors, Reference, ReferenceResult, ReferenceRun } from './session-reference.js'

export function unpack(packed: PackedTensor): TensorHandle {
  const data = Buffer.from(packed.data, 'base64')
  const tensor = addon().tensorFromData({ dtype: packed.dtype, sizes: packed.sizes, data, device: 'cpu' })
  if (packed.requiresGrad) addon().call({ op: 'aten::requires_grad_', args: [tensor, true], gradEnabled: true })
  return tensor
}

export const unpackAll = (packed: PackedTensors) =>
  Object.fromEntries(Object.entries(packed).map(([name, tensor]) => [name, unpack(tensor)]))

export function pack(tensor: TensorHandle): PackedTensor {
  const { dtype, sizes, requiresGrad } = addon().tensorInfo({ tensor })
  return { dtype, sizes, data: Buffer.from(addon().tensorToData({ tensor })).toString('base64'), requiresGrad }
}

export const packAll = (tensors: Readonly<Record<string, TensorHandle>>) =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, pack(tensor)]))

/** Tensors as they were before Python trained; names that Python ties share one handle, as a module of ours would share it. */
export function specOf(reference: Reference, run: ReferenceRun, result: ReferenceResult): SessionSpec {
  const parameters = unpackAll(reference.parameters)
  for (const name of Object.keys(parameters)) {
    const [owner] = Object.keys(result.parameters)
    if (!(name in result.parameters) && owner !== undefined) parameters[name] = parameters[owner] as TensorHandle
  }
  const { trainGraph, evalGraph, lossGraph } = reference
  const optimizer = { name: run.optimizer, groups: result.groups }
  const buffers = unpackAll(reference.buffers)
  return {
    trainGraph,
    evalGraph,
    lossGraph,
    parameters,
    buffers,
    constants: unpackAll(reference.constants),
    optimizer,
    device: 'cpu',
    threads: 1,
    autocast: run.autocast === true ? 'bfloat16' : null,
  }
}

export function trainedState(session: NativeSession, spec: SessionSpec): object {
  const state = Object.entries(session.optimizerState()).map(([name, entry]) => [name, packAll(entry)])
  const generator = addon().getGeneratorState({ generator: addon().defaultGenerator() })
  return {
    parameters: packAll(spec.parameters),
    buffers: packAll(spec.buffers),
    state: Object.fromEntries(state) as object,
    generatorState: Buffer.from(generator).toString('base64'),
  }
}

/** What Python ended with, in the form of {@link trainedState}: tied names are spelled out. */
export function expectedState(reference: Reference, result: ReferenceResult): object {
  const [owner] = Object.values(result.parameters)
  const parameters = Object.fromEntries(
    Object.keys(reference.parameters).map((name) => [name, result.parameters[name] ?? owner]),
  )
  const { buffers, state, generatorState } = result
  return { parameters, buffers, state, generatorState }
}
