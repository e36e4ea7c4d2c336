/** The model of a checkpoint or `.pt2` that holds its own graph. */
import type { ExportedProgram } from '../format/export-schema.js'
import { dtypeOf, sizesOf } from '../checkpoint/tensor-roles.js'
import { TorchkeepError } from '../format/errors.js'
import {
  isTensorRecord,
  MetaTensorRecord,
  TensorRecord,
  type AnyTensorRecord,
  type ByteOrigin,
} from '../format/tensor-record.js'
import { whyNotEvaluation } from './evaluation-mode.js'
import { stateSpecs, type StateSpec } from './graph-tensors.js'
import { programOf } from './program.js'
import { restride } from './restride.js'
import type { ExportableModel } from './types.js'

type Dict = ReadonlyMap<unknown, unknown>

/** A model, or why there is none. */
export type FoundModel = { model: ExportableModel; gap: null } | { model: null; gap: string }

/**
 * What `model_graph` of a checkpoint of Torchkeep, brought to the current form, makes with its weights.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_CORRUPT` for a graph that is none, `ERR_CHECKPOINT_INCOMPATIBLE` where tensors are others than its own graph says.
 */
export function modelFromCheckpoint(
  path: string,
  normalized: Dict,
  state: ReadonlyMap<string, AnyTensorRecord>,
): FoundModel {
  const text = at(normalized, 'model_graph', 'eval')
  if (typeof text !== 'string')
    return none('The checkpoint holds no recorded model: --model FILE gives one (a module, or a .pt2 of torch.export).')
  const version = at(normalized, 'metadata', 'libtorch_version')
  const program = programOf(path, text, typeof version === 'string' ? version : '')
  const constants = at(normalized, 'model_graph', 'constants', 'eval')
  return modelOf(path, program, state, constants, { autocast: autocastOf(normalized), origin: 'checkpoint' })
}

/** Whether the phase that made a checkpoint ran under `torch.autocast`. */
export function autocastOf(normalized: Dict): 'bfloat16' | null {
  const phases = at(normalized, 'training_config', 'phases')
  const phase = normalized.get('phase')
  const own: unknown = Array.isArray(phases) && typeof phase === 'number' ? phases[phase - 1] : undefined
  const told =
    own instanceof Map && own.has('autocast') ? own.get('autocast') : at(normalized, 'training_config', 'autocast')
  return told === 'bfloat16' ? told : null
}

/**
 * A graph with the tensors that it takes.
 *
 * @param constants by name: tensors that no state dict holds.
 */
export function modelOf(
  path: string,
  program: ExportedProgram,
  stateDict: ReadonlyMap<string, AnyTensorRecord>,
  others: unknown,
  facts: Pick<ExportableModel, 'autocast' | 'origin'>,
): FoundModel {
  const problem = whyNotEvaluation(program)
  if (problem !== null) return none(`Its recorded model is none for inference: ${problem}.`)
  const state = new Map<string, AnyTensorRecord<ByteOrigin>>()
  const constants = new Map<string, AnyTensorRecord<ByteOrigin>>()
  for (const spec of stateSpecs(program)) {
    const own = spec.role === 'constant' ? undefined : stateDict.get(spec.name)
    const record: unknown = own ?? (others instanceof Map ? others.get(spec.name) : undefined)
    if (record === undefined || record instanceof MetaTensorRecord)
      return none(`Its recorded model needs the ${spec.role} '${spec.name}', which the file does not hold.`)
    if (!isTensorRecord(record))
      throw new TorchkeepError('ERR_CHECKPOINT_INCOMPATIBLE', `${path}: ${spec.name} is no tensor`)
    requireSame(path, spec, record)
    const target = spec.role === 'constant' ? constants : state
    target.set(spec.name, inRole(record, spec, program))
  }
  return { model: { program, state, constants, ...facts }, gap: null }
}

/** The record as what it is to the graph, whatever it was saved as. */
export function inRole(
  record: AnyTensorRecord,
  spec: StateSpec,
  { graph_module }: ExportedProgram,
): AnyTensorRecord<ByteOrigin> {
  if (!(record instanceof TensorRecord)) return record
  const isParameter = spec.role === 'parameter'
  const requiresGrad = isParameter && graph_module.graph.tensor_values[spec.argument]?.requires_grad === true
  const facts = { isParameter, requiresGrad, attributes: null, className: null }
  return restride(spec.name, new TensorRecord<ByteOrigin>({ ...record, ...facts }), spec.strides)
}

function requireSame(path: string, spec: StateSpec, record: AnyTensorRecord): void {
  const [found, expected] = [sizesOf(record).join(', '), spec.sizes.join(', ')]
  if (found === expected && (spec.dtype === null || dtypeOf(record) === spec.dtype)) return
  throw new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    `${path}: ${spec.role} ${spec.name} is ${dtypeOf(record)} [${found}], but its recorded model takes ${spec.dtype} [${expected}]`,
  )
}

const none = (gap: string): FoundModel => ({ model: null, gap })

/** A value in nested dicts; undefined where there is none. */
function at(value: unknown, ...keys: readonly string[]): unknown {
  return keys.reduce<unknown>((dict, key) => (dict instanceof Map ? dict.get(key) : undefined), value)
}
