/** A model given as a module of the user's own (`--model`): recorded in evaluation mode with a checkpoint's weights in it. */
import { basename, resolve } from 'node:path'
import {
  autocast,
  constantsOf,
  exportedProgram,
  getRngState,
  setRngState,
  Tensor,
  trace,
  versions,
  type ExportedProgram,
  type Module,
} from '../../lib/index.js'
import type { Plain } from '../checkpoint/fields.js'
import { TorchkeepError } from '../format/errors.js'
import type { AnyTensorRecord, ByteOrigin, TensorRecord } from '../format/tensor-record.js'
import { exportOf, loadModule } from '../train-config/load-module.js'
import { constructModel } from '../train-config/models.js'
import { requireLibTorch } from '../train-config/require-libtorch.js'
import { disposeTensors } from '../training/dispose-tensors.js'
import { whyNotEvaluation } from './evaluation-mode.js'
import { aliasesBy, fitState, gapsOf, renamed, requireEqualTies, type WantedTensor } from './fit-state.js'
import { stateSpecs } from './graph-tensors.js'
import { liveTensors, recordOf } from './live-tensors-with-libtorch.js'
import { inRole } from './model-from-checkpoint.js'
import type { FittedModel, Weights } from './model-from-pt2.js'
import { readSample } from './sample-with-libtorch.js'
import type { ExportableModel } from './types.js'

/** Which export of the module, and what it is given. */
export interface ModuleOptions {
  modelExport?: string
  modelOptions?: Plain
  sample?: string
}

/** With what the model was recorded. */
export interface RecordedModel extends FittedModel {
  sample: TensorRecord<Uint8Array>[]
}

/**
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` for a module that cannot be loaded, exports no model, or has no sample to be recorded with; for a `forward` that holds the batch size; `ERR_CHECKPOINT_INCOMPATIBLE` where the
 *   checkpoint's names, shapes and dtypes are not the model's; `ERR_LIBTORCH_MISSING`.
 */
export async function modelFromModule(path: string, weights: Weights, options: ModuleOptions): Promise<RecordedModel> {
  requireLibTorch()
  const exports = await loadModule(resolve(path))
  const inputs = await sampleFor(path, exports, options.sample)
  // A forward() may change its inputs in place.
  const sample = inputs.map(recordOf)
  const before = getRngState()
  try {
    const name = options.modelExport ?? 'default'
    const where = `model ${name} of ${path}`
    const module = await constructModel(where, exportOf(path, exports, name), options.modelOptions ?? {}, {})
    const fitted = fitState(weights.file.path, weights.stateDict, where, wantedBy(module))
    await requireEqualTies(weights.file, fitted, where)
    const live = await liveTensors(fitted.tensors)
    module.loadStateDict(live)
    disposeTensors(live)
    const record = (): ExportedProgram => exportedProgram(trace(module.eval(), inputs), versions().libtorchRuntime)
    const program = autocast('cpu', weights.autocast, record)
    const problem = whyNotEvaluation(program)
    if (problem !== null) throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${where} cannot be exported: ${problem}`)
    const model = modelWith(program, module, fitted.tensors, weights.autocast)
    const gaps = [...gapsOf(fitted), ...ownBufferGap(path, program)]
    return { model, stateDict: renamed(weights.stateDict, fitted), gaps, sample }
  } finally {
    setRngState(before)
    before.dispose()
    disposeTensors(inputs)
  }
}

/** What the module exports, or a file holds. */
async function sampleFor(
  path: string,
  exports: Readonly<Record<string, unknown>>,
  sample: string | undefined,
): Promise<Tensor[]> {
  if (sample !== undefined) return readSample(sample, null)
  const found = exports['exampleInputs']
  const given: unknown = typeof found === 'function' ? await (found as () => unknown)() : found
  const tensors = given instanceof Tensor ? [given] : given
  if (Array.isArray(tensors) && tensors.length > 0 && tensors.every((item) => item instanceof Tensor))
    return tensors.map((item) => item.detach())
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `${path} ${found === undefined ? 'exports no exampleInputs' : 'should export exampleInputs as a tensor or an array of tensors'}, and a model is recorded with an example of its inputs`,
    {
      suggestions: [
        'export const exampleInputs = [randn([4, 16])] in the module: one tensor for each input of forward, the batch first',
        '--sample FILE gives them: a .safetensors or .pth file with one tensor for each input',
      ],
    },
  )
}

/** Names of parameters and persistent buffers. What stands under two names is one tensor. */
function wantedBy(module: Module): Map<string, WantedTensor> {
  const own = module.stateDict()
  const infos = new Map([...own].map(([name, value]) => [name, value.info()]))
  disposeTensors(own)
  const aliasesOf = aliasesBy([...infos.keys()], (name) => {
    const { storageId, storageOffset, sizes, strides } = infos.get(name) as NonNullable<ReturnType<typeof infos.get>>
    return sizes.includes(0) ? name : `${storageId} ${storageOffset} ${sizes.join()} ${strides.join()}`
  })
  const entries = [...infos].map(([name, { dtype, sizes }]): [string, WantedTensor] => [
    name,
    { dtype, sizes, aliases: aliasesOf(name), hasOwn: true },
  ])
  return new Map(entries)
}

/** The checkpoint's tensors where it has them; what only the module has (other buffers, constants) as values in memory. */
function modelWith(
  program: ExportedProgram,
  module: Module,
  given: ReadonlyMap<string, AnyTensorRecord>,
  autocastDtype: 'bfloat16' | null,
): ExportableModel {
  const buffers = module.namedBuffers({ removeDuplicate: false })
  const made = constantsOf(program.graph_module)
  const state = new Map<string, AnyTensorRecord<ByteOrigin>>()
  const constants = new Map<string, AnyTensorRecord<ByteOrigin>>()
  for (const spec of stateSpecs(program)) {
    if (spec.role === 'constant') constants.set(spec.name, recordOf(made.get(spec.name) as Tensor))
    else {
      const record = given.get(spec.name)
      const own = (): TensorRecord<Uint8Array> => recordOf(buffers.get(spec.name) as Tensor)
      state.set(spec.name, record === undefined ? own() : inRole(record, spec, program))
    }
  }
  return { program, state, constants, autocast: autocastDtype, origin: 'module' }
}

/** Buffers that no state dict holds: nobody can tell whether training had others. */
function ownBufferGap(path: string, program: ExportedProgram): string[] {
  const names = stateSpecs(program).flatMap(({ role, persistent, name }) =>
    role === 'buffer' && !persistent ? [name] : [],
  )
  if (names.length === 0) return []
  return [`Buffers that no state dict holds have the values that ${basename(path)} gives them: ${names.join(', ')}.`]
}
