/** What an export is made from: the weights of a checkpoint of any layout as descriptions, and the model that runs them where it is known. */
import { createHash } from 'node:crypto'
import { extname, join } from 'node:path'
import type { Plain } from '../checkpoint/fields.js'
import { isStateDict, type CheckpointKind } from '../checkpoint/kind.js'
import type { Layout } from '../checkpoint/layouts.js'
import type { TopLevel } from '../checkpoint/migrations.js'
import { normalizeCheckpoint, type NormalizedCheckpoint } from '../checkpoint/normalize.js'
import { recoveryRecordOf } from '../checkpoint/recovery-record.js'
import { ByteSource } from '../format/byte-source.js'
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile, type TorchFile } from '../format/read.js'
import { isTensorRecord, type AnyTensorRecord, type TensorRecord } from '../format/tensor-record.js'
import { OrderedDict } from '../format/values.js'
import { autocastOf, modelFromCheckpoint, modelOf, type FoundModel } from './model-from-checkpoint.js'
import { modelFromPt2, type FittedModel } from './model-from-pt2.js'
import { readPt2Program } from './program.js'
import type { ExportableModel } from './types.js'
import { checkWholeness } from './wholeness.js'

/** How {@link openExportSource} makes the model. */
export interface ExportSourceOptions {
  /** A `.pt2`, or a module (`.js`, `.mjs`, `.ts`...) that exports a `nn.Module`, its class or a function. In place of the checkpoint's own graph. */
  model?: string
  /** Of the module. `default` unless told. */
  modelExport?: string
  /** The first argument of the module's class or function. `{}` unless told. */
  modelOptions?: Plain
  /** A file with inputs for the model; a module is recorded with them. */
  sample?: string
  signal?: AbortSignal
  onProgress?: (progress: { what: string; doneBytes: number; totalBytes: number }) => void
}

/** What an export is made from. Nothing of it is open; no weights are in memory. */
export interface ExportSource {
  path: string
  /** In hex. Of a checkpoint in several files, of the one that names the others. */
  fileSha256: string
  file: TorchFile
  kind: CheckpointKind
  layout: Layout | null
  /** The file's value under the keys of version 3. Integral floats are `PyFloat`s, so that they are written as floats again. */
  normalized: TopLevel
  /** The model's tensors under its own names, with `_metadata` where the file has it. Aliases share a storage. */
  stateDict: OrderedDict<string, AnyTensorRecord>
  /** Null where the file does not tell and none was given; the gaps say why. */
  model: ExportableModel | null
  /** Why there is no model, where there could be one; also among the gaps. */
  modelGap: string | null
  /** What a module was recorded with; null where {@link ExportSource.model} is not from a module. */
  sample: readonly TensorRecord<Uint8Array>[] | null
  /** What is missing or noteworthy, as sentences. */
  gaps: string[]
}

/**
 * Reads a checkpoint for an export. Every byte of it is read once and its CRC-32 checked, so that no damaged weights leave.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_MISSING`, `_UNREADABLE`, `_CORRUPT` (naming the record), `_UNSAFE`; `_NEWER` for a later major version; `_UNSUPPORTED` for a file without weights by name, and one that was recovered with
 *   damaged values left in it; `_INCOMPATIBLE` where weights and model do not fit; `ERR_LIBTORCH_MISSING` for a module without LibTorch; `ERR_ABORTED`.
 */
export async function openExportSource(path: string, options: ExportSourceOptions = {}): Promise<ExportSource> {
  const file = await readTorchFile(path, { keepFloats: true })
  const gaps: string[] = []
  const checkpoint = withWeights(normalizeCheckpoint(file, { keepFloats: true }), gaps)
  refuseNewer(path, checkpoint, gaps)
  refuseDamagedRecovery(path, checkpoint.value, gaps)
  const stateDict = stateDictOf(path, checkpoint, gaps)
  const own = options.model === undefined ? await ownModel(path, file, checkpoint, stateDict) : null
  const others = [...(own?.model?.constants.values() ?? []), ...(own?.model?.state.values() ?? [])]
  await checkWholeness(file, checkpoint, stateDict, others, options, gaps)
  const given =
    options.model === undefined ? null : await givenModel(options.model, options, checkpoint, { file, stateDict })
  if (own?.model === null) gaps.push(own.gap)
  gaps.push(...(given?.gaps ?? []))
  return {
    ...{ path, file, kind: checkpoint.kind, layout: checkpoint.layout, normalized: checkpoint.value, gaps },
    fileSha256: await sha256(file, options.signal),
    stateDict: given?.stateDict ?? stateDict,
    model: given?.model ?? own?.model ?? null,
    modelGap: own?.gap ?? null,
    sample: given?.sample ?? null,
  }
}

/** A model from another file, which needs LibTorch where that is a module. */
async function givenModel(
  model: string,
  options: ExportSourceOptions,
  checkpoint: NormalizedCheckpoint,
  weights: Pick<ExportSource, 'file' | 'stateDict'>,
): Promise<FittedModel & { sample?: ExportSource['sample'] }> {
  const facts = { ...weights, autocast: autocastOf(checkpoint.value) }
  if (!/^\.[cm]?[jt]sx?$/.test(extname(model))) return modelFromPt2(model, facts)
  const { modelFromModule } = await import('./model-from-module-with-libtorch.js')
  return modelFromModule(model, facts, options)
}

function refuseNewer(path: string, { newer, version }: NormalizedCheckpoint, gaps: string[]): void {
  if (!newer) return
  const message = `${path} has version ${version}; this Torchkeep knows up to 3.x`
  if (Number.parseInt(version ?? '', 10) > 3)
    throw new TorchkeepError('ERR_CHECKPOINT_NEWER', message, { suggestions: ['update torchkeep'] })
  gaps.push(`The checkpoint has version ${version}, later than this Torchkeep: what is new in it was not understood.`)
}

function refuseDamagedRecovery(path: string, value: TopLevel, gaps: string[]): void {
  const record = recoveryRecordOf(value)
  if (record === null) return
  if (record.damaged.length > 0)
    throw new TorchkeepError(
      'ERR_CHECKPOINT_UNSUPPORTED',
      `${path} was recovered from a damaged file and still holds values known to be changed: ${record.damaged.slice(0, 3).join('; ')}`,
      { suggestions: ['export an undamaged checkpoint of the run: torchkeep list shows them'] },
    )
  const acts = [...record.lost, ...record.repaired, ...record.filled]
  gaps.push(`The checkpoint was recovered from a damaged file; what was done to it: ${acts.join('; ') || 'nothing'}.`)
}

/** Scripts keep their weights under keys of their own, such as `model`: the only state dict of a file is taken for them. */
function withWeights(checkpoint: NormalizedCheckpoint, gaps: string[]): NormalizedCheckpoint {
  const { value } = checkpoint
  const keys = [...value].filter(([, item]) => isStateDict(item)).map(([key]) => key)
  if (value.has('model_state_dict') || keys.length !== 1) return checkpoint
  gaps.push(`The weights are those under the key '${String(keys[0])}', the only state dict of the file.`)
  const named = [...value].map(([key, item]) => [key === keys[0] ? 'model_state_dict' : key, item] as const)
  return { ...checkpoint, value: new Map(named) }
}

function stateDictOf(
  path: string,
  { value, kind }: NormalizedCheckpoint,
  gaps: string[],
): OrderedDict<string, AnyTensorRecord> {
  const found: unknown = value.get('model_state_dict')
  if (!(found instanceof Map))
    throw new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `${path} (${kind}) holds no weights by name to export`, {
      suggestions: [`torchkeep inspect ${path} shows what is in it`],
    })
  const stateDict = new OrderedDict<string, AnyTensorRecord>()
  if (found instanceof OrderedDict && found.metadata !== undefined) stateDict.metadata = found.metadata
  for (const [name, item] of found as Map<unknown, unknown>) {
    if (typeof name === 'string' && isTensorRecord(item)) stateDict.set(name, requireValues(path, name, item))
    else if (typeof name === 'string' && name.endsWith('_extra_state'))
      gaps.push(`'${name}' of the state dict is no tensor and is not exported.`)
    else
      throw new TorchkeepError(
        'ERR_CHECKPOINT_UNSUPPORTED',
        `${path}: '${String(name)}' of its state dict is no tensor`,
      )
  }
  if (stateDict.size > 0) return stateDict
  throw new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `${path}: its state dict holds no tensor`)
}

function requireValues(path: string, name: string, record: AnyTensorRecord): AnyTensorRecord {
  if (record.kind !== 'meta') return record
  throw new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `${path}: '${name}' is a tensor without values (device meta)`)
}

/** The graph that the file itself holds. */
async function ownModel(
  path: string,
  { container, value }: TorchFile,
  checkpoint: NormalizedCheckpoint,
  stateDict: ReadonlyMap<string, AnyTensorRecord>,
): Promise<FoundModel> {
  if (container !== 'pt2') return modelFromCheckpoint(path, checkpoint.value, stateDict)
  const { program, autocast } = await readPt2Program(path)
  const constants = value instanceof Map ? value.get('constants') : undefined
  return modelOf(path, program, stateDict, constants, { autocast, origin: 'pt2' })
}

async function sha256(file: TorchFile, signal: AbortSignal | undefined): Promise<string> {
  const path = file.container === 'distributed' ? join(file.path, '.metadata') : file.path
  return ByteSource.with(path, async (source) => {
    source.requireUnchanged(file.identity)
    const hash = createHash('sha256')
    for await (const chunk of source.chunks(0, source.sizeBytes)) {
      if (signal?.aborted === true) throw new TorchkeepError('ERR_ABORTED', 'the export was stopped')
      hash.update(chunk)
    }
    return hash.digest('hex')
  })
}
