/** Files that hold a model with its graph: what of them is run. */
import { access, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { normalizeCheckpoint } from '../checkpoint/normalize.js'
import { modelFromCheckpoint, modelOf, type FoundModel } from '../export/model-from-checkpoint.js'
import { readPt2Program } from '../export/program.js'
import type { ExportableModel } from '../export/types.js'
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile } from '../format/read.js'
import { isTensorRecord, type AnyTensorRecord } from '../format/tensor-record.js'

/**
 * The model in a `.pt2`, in a checkpoint of Torchkeep with its graph, or in the `model.pt2` of an export folder: descriptions, whose values are not read.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_*`; `_UNSUPPORTED` for a file that holds no graph, one recorded in training mode (naming the node), or one that is not called with tensors and gives tensors.
 */
export async function openModel(path: string): Promise<{ path: string; model: ExportableModel }> {
  const file = await modelFile(path)
  const { model, gap } = await modelIn(file)
  if (model !== null) return { path: file, model }
  throw new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `${file} cannot be run: ${gap}`, {
    suggestions: [
      'give a checkpoint of Torchkeep, an inference export, or what torch.export.save(torch.export.export(model.eval(), inputs), path) wrote',
      `torchkeep export ${path} inference NAME --model FILE gives weights the graph of a module or .pt2`,
    ],
  })
}

async function modelIn(path: string): Promise<FoundModel> {
  const file = await readTorchFile(path)
  if (file.container === 'pt2') {
    const { program, autocast } = await readPt2Program(path)
    const { major } = program.schema_version
    if (major !== 8) return { model: null, gap: `its graph has the schema version ${major}, of which only 8 is known.` }
    return modelOf(path, program, tensorsAt(file.value, 'state_dict'), tensorsAt(file.value, 'constants'), {
      autocast,
      origin: 'pt2',
    })
  }
  const { value } = normalizeCheckpoint(file)
  if ((value.get('model_graph') ?? null) === null) return { model: null, gap: 'it holds no recorded model.' }
  return modelFromCheckpoint(path, value, tensorsAt(value, 'model_state_dict'))
}

function tensorsAt(value: unknown, key: string): Map<string, AnyTensorRecord> {
  const dict: unknown = value instanceof Map ? value.get(key) : undefined
  const tensors = new Map<string, AnyTensorRecord>()
  if (!(dict instanceof Map)) return tensors
  for (const [name, item] of dict as Map<unknown, unknown>)
    if (typeof name === 'string' && isTensorRecord(item)) tensors.set(name, item)
  return tensors
}

/** Of an export folder the file that runs. */
async function modelFile(path: string): Promise<string> {
  const found = await stat(path).catch(() => null)
  if (found?.isDirectory() !== true) return path
  const file = join(path, 'model.pt2')
  const isThere = await access(file).then(
    () => true,
    () => false,
  )
  if (isThere) return file
  throw new TorchkeepError('ERR_CHECKPOINT_MISSING', `the folder ${path} holds no model.pt2`, {
    suggestions: ['export with the format pt2: torchkeep export CHECKPOINT inference NAME', 'name the file itself'],
  })
}
