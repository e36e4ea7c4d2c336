/** A model given as a `.pt2` (`--model`): its graph, with a checkpoint's weights in place of its own. */
import { basename } from 'node:path'
import type { ExportedProgram } from '../format/export-schema.js'
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile, type TorchFile } from '../format/read.js'
import { TensorRecord, isTensorRecord, type AnyTensorRecord } from '../format/tensor-record.js'
import type { OrderedDict } from '../format/values.js'
import { trainingNode, whyNotEvaluation } from './evaluation-mode.js'
import { aliasesBy, fitState, gapsOf, renamed, requireEqualTies, type WantedTensor } from './fit-state.js'
import { stateSpecs } from './graph-tensors.js'
import { modelOf } from './model-from-checkpoint.js'
import { readPt2Program } from './program.js'
import type { ExportableModel } from './types.js'
import { requireWhole } from './wholeness.js'

/** A checkpoint whose weights a model gets. */
export interface Weights {
  file: TorchFile
  stateDict: OrderedDict<string, AnyTensorRecord>
  /** What its training ran under. */
  autocast: 'bfloat16' | null
}

/** A model with the weights of a checkpoint. */
export interface FittedModel {
  model: ExportableModel
  /** Under the model's names. */
  stateDict: OrderedDict<string, AnyTensorRecord>
  gaps: string[]
}

/**
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` for a graph of training (naming the node) or one that is not called with tensors; `ERR_CHECKPOINT_INCOMPATIBLE` with all names, shapes and dtypes that do not fit.
 */
export async function modelFromPt2(path: string, weights: Weights): Promise<FittedModel> {
  const file = await readTorchFile(path)
  if (file.container !== 'pt2')
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `--model ${path} is no .pt2, but ${file.container}`, {
      suggestions: ['a .pt2 is what torch.export.save(torch.export.export(model.eval(), inputs), path) makes'],
    })
  const { program, autocast } = await readPt2Program(path)
  requireEvaluation(path, program)
  const own = file.value as ReadonlyMap<string, ReadonlyMap<string, unknown>>
  const before = own.get('state_dict') ?? new Map<string, unknown>()
  const fitted = fitState(weights.file.path, weights.stateDict, path, wantedBy(program, before))
  await requireEqualTies(weights.file, fitted, path)
  const others = new Map(own.get('constants'))
  for (const name of fitted.absent) others.set(name, before.get(name))
  const found = modelOf(path, program, fitted.tensors, others, { autocast, origin: 'pt2' })
  if (found.model === null) throw new TorchkeepError('ERR_CHECKPOINT_CORRUPT', `${path}: ${found.gap}`)
  await requireWhole(file, [...others.values()].filter(isTensorRecord))
  const gaps = [...gapsOf(fitted), ...autocastGap(path, weights, found.model)]
  return { model: found.model, stateDict: renamed(weights.stateDict, fitted), gaps }
}

function requireEvaluation(path: string, program: ExportedProgram): void {
  const reason = whyNotEvaluation(program)
  if (reason === null) return
  const suggestions =
    trainingNode(program) === null ? [] : ['torch.export.export(model.eval(), ...) records it for inference']
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `the graph of ${path} cannot be exported for inference: ${reason}`, {
    suggestions,
  })
}

/** Names of its persistent parameters and buffers. Those over the same bytes are tied. */
function wantedBy(program: ExportedProgram, before: ReadonlyMap<string, unknown>): Map<string, WantedTensor> {
  const specs = stateSpecs(program).filter(({ role, persistent }) => role !== 'constant' && persistent)
  const names = specs.map(({ name }) => name)
  const aliasesOf = aliasesBy(names, (name) => {
    const record = before.get(name)
    if (!(record instanceof TensorRecord) || record.sizes.includes(0)) return name
    return `${record.storage.id} ${record.storageOffset} ${record.sizes.join()} ${record.strides.join()}`
  })
  return new Map(
    specs.map(({ name, dtype, sizes }) => {
      const hasOwn = before.get(name) instanceof TensorRecord
      return [name, { dtype, sizes, aliases: aliasesOf(name), hasOwn }]
    }),
  )
}

function autocastGap(path: string, { autocast }: Weights, model: ExportableModel): string[] {
  if (autocast === model.autocast || autocast === null) return []
  return [
    `The checkpoint was trained under autocast (${autocast}); the graph of ${basename(path)} computes as it was recorded.`,
  ]
}
