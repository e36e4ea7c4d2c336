/** The weights of an export as files that Python opens, without LibTorch. */
import { join } from 'node:path'
import { castTensors } from '../format/cast.js'
import type { DTypeName } from '../format/dtypes.js'
import { planPt2 } from '../format/pt2-write.js'
import { upcastProgram } from '../format/pt2-upcast.js'
import { planSafetensors } from '../format/safetensors-write.js'
import { planTorchFile } from '../format/plan.js'
import type { AnyTensorRecord, ByteOrigin, TensorRecord } from '../format/tensor-record.js'
import { OrderedDict } from '../format/values.js'
import { writePlan } from '../format/write-plan.js'
import { stateSpecs } from './graph-tensors.js'
import type { ExportableModel, ExportDType } from './types.js'

/** Tensors by name. */
export type Tensors = ReadonlyMap<string, AnyTensorRecord<ByteOrigin>>

/** A state dict with its floating tensors rounded to `dtype`, in its order and with its `_metadata`. */
export function roundedStateDict(
  stateDict: OrderedDict<string, AnyTensorRecord<ByteOrigin>>,
  dtype: ExportDType | null,
): OrderedDict<string, AnyTensorRecord<ByteOrigin>> {
  if (dtype === null) return stateDict
  const rounded = new OrderedDict<string, AnyTensorRecord<ByteOrigin>>(castTensors(stateDict, dtype))
  if (stateDict.metadata !== undefined) rounded.metadata = stateDict.metadata
  return rounded
}

/** Writes a value as Python's `torch.save` does; `weights_only=True` opens it. */
export async function writePth(folder: string, name: string, value: unknown, signal?: AbortSignal): Promise<void> {
  const plan = planTorchFile<ByteOrigin>(value, { topFolder: name })
  await writePlan(join(folder, `${name}.pth`), plan, signal === undefined ? {} : { signal })
}

/** Writes `model.safetensors`; returns what the format could not keep, as sentences. */
export async function writeSafetensors(folder: string, tensors: Tensors, signal?: AbortSignal): Promise<string[]> {
  const plan = planSafetensors(tensors, { format: 'pt' })
  await writePlan(join(folder, 'model.safetensors'), plan, signal === undefined ? {} : { signal })
  if (plan.unshared.length === 0) return []
  return [
    `In model.safetensors ${plan.unshared.join(', ')} have bytes of their own, though they share memory in the checkpoint.`,
  ]
}

/** What goes along with a graph. */
export interface Pt2Options {
  dtype: ExportDType | null
  sampleInputs: readonly TensorRecord<Uint8Array>[]
  /** The text of `extra/torchkeep.json`. */
  facts: string
  signal?: AbortSignal
}

/** Writes `model.pt2`: the graph, weights and buffers of the state dict rounded, all else as it is. */
export async function writePt2(folder: string, model: ExportableModel, options: Pt2Options): Promise<void> {
  const own = new Map<string, AnyTensorRecord<ByteOrigin>>()
  for (const { name, persistent } of stateSpecs(model.program)) {
    const tensor = model.state.get(name)
    if (persistent && tensor !== undefined) own.set(name, tensor)
  }
  const weights = options.dtype === null ? own : castTensors(own, options.dtype)
  const stored = new Map<string, DTypeName>()
  for (const [name, tensor] of weights) if ('dtype' in tensor) stored.set(name, tensor.dtype)
  const others = [...model.state].filter(([name]) => !own.has(name))
  const plan = planPt2({
    topFolder: 'model',
    models: { model: options.dtype === null ? model.program : upcastProgram(model.program, stored) },
    weights,
    constants: new Map([...model.constants, ...others]),
    sampleInputs: options.sampleInputs,
    extra: { 'torchkeep.json': options.facts },
  })
  await writePlan(join(folder, 'model.pt2'), plan, options.signal === undefined ? {} : { signal: options.signal })
}
