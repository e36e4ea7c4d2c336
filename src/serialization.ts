/** `save` and `load`: any nesting of plain values and tensors to PyTorch's `.pth` and back, through a plan of `src/format` and an executor. */
import { type ArchiveValue, call, Parameter, saveArchive as writeArchive, Tensor } from '../lib/index.js'
import type { DType, TensorHandle } from '../lib/contract.js'
import { addon } from '../lib/native.js'
import { publish, publishNew, type PublishOptions } from './checkpoint/store.js'
import {
  type AnyTensorRecord,
  type ByteOrigin,
  checkWritten,
  formatPath,
  listTensors,
  planTorchFile,
  readTorchFile,
  replaceTensors,
  StorageRecord,
  TensorRecord,
  topFolderOf,
  type TorchFilePlan,
  type ValuePath,
  type Verify,
  writePlan,
} from './format/index.js'
import { TorchkeepError } from './format/errors.js'

/**
 * Saves a value as `torch.save` would: it opens in Python with `torch.load(path, weights_only=True)`. Tensors that share a storage still do afterwards; of a
 * view's storage only what the saved tensors touch is written. The file is published: written beside its final name, flushed and renamed, so an older file of this
 * name is whole until the new one is. Tensors are read while this runs: change none before it resolves.
 *
 * @param value null, booleans, numbers (integral ones become ints; `PyFloat` says float), bigints, strings, Uint8Array (bytes), arrays, `Tuple`, Maps and plain objects
 *   (dicts), `OrderedDict`, Sets, tensors, and descriptions of tensors of another file (not mixed with live tensors).
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` naming the place of what cannot be saved; `ERR_CHECKPOINT_WRITE`.
 */
export async function save(path: string, value: unknown, options: SaveOptions = {}): Promise<void> {
  await publish(path, ...writerOf(path, value, options))
}

/** {@link save}, but never over another file: where `path` is taken, the file is called `stem-2.pth`, `stem-3.pth`... Resolves to its name. */
export async function saveNew(path: string, value: unknown, options: SaveOptions = {}): Promise<string> {
  return publishNew(path, ...writerOf(path, value, options))
}

/** How {@link save} writes. */
export interface SaveOptions extends Pick<PublishOptions, 'files'> {
  /** What of the file is read back and compared before it gets its name; default `structure`: its size and all but the tensors' bytes. See `checkWritten`. */
  verify?: Verify
}

/** Plans the file now, so that what cannot be saved is refused before anything is written. How it is written, and the options of publishing it. */
function writerOf(
  path: string,
  value: unknown,
  { files, verify = 'structure' }: SaveOptions,
): [(temporaryPath: string) => Promise<void>, PublishOptions] {
  requirePath(path)
  const plan = planTorchFile<TensorHandle | ByteOrigin>(value, { topFolder: topFolderOf(path), describeTensor })
  let crcs: readonly number[] = []
  const write = async (temporaryPath: string): Promise<void> => {
    crcs = await execute(plan, temporaryPath)
  }
  return [write, { files, check: (temporaryPath) => checkWritten(temporaryPath, plan, crcs, verify) }]
}

/**
 * Writes the archive of C++'s `torch::save`, for programs that call `torch::load`; published as {@link save} does. Python's `torch.load` refuses such a file: for Python
 * use `save`. `buffers`: the names among a module's tensors that are buffers, which C++ loads apart from the parameters.
 */
export async function saveArchive(
  path: string,
  value: ArchiveValue,
  options: { buffers?: readonly string[] } = {},
): Promise<void> {
  requirePath(path)
  await publish(path, (temporaryPath) => writeArchive(temporaryPath, value, options))
}

/** Refuses what cannot name a file, so that no later failure speaks of a missing or unwritable one. */
function requirePath(path: unknown): void {
  if (typeof path === 'string' && path !== '' && !path.includes('\0')) return
  const found = typeof path === 'string' ? JSON.stringify(path) : path instanceof URL ? 'a URL' : String(path)
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `path should be a file's path as a string, but is ${found}`, {
    suggestions: path instanceof URL ? ['fileURLToPath of node:url makes a path of a URL'] : [],
  })
}

/** Writes a plan: the addon where storages are live tensors, Node's fs where they are bytes or parts of other files. Resolves to the CRC-32 of each slot. */
async function execute(plan: TorchFilePlan<TensorHandle | ByteOrigin>, path: string): Promise<number[]> {
  const origins = plan.parts.flatMap((part) => (part.kind === 'storage' ? [part.tensor] : []))
  const live = origins.filter(isHandle).length
  if (live > 0 && live < origins.length) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      'a file is saved from live tensors or from descriptions of another file, not from both',
    )
  }
  const { crc32 } =
    live === 0
      ? await writePlan(path, plan as TorchFilePlan<ByteOrigin>)
      : await addon().writeTensorFile({ path, parts: (plan as TorchFilePlan<TensorHandle>).parts, fsync: false })
  return crc32
}

const isHandle = (origin: TensorHandle | ByteOrigin): origin is TensorHandle => 'dispose' in origin

/** What a live tensor is, for the plan. */
function describeTensor(value: object): TensorRecord<TensorHandle> | undefined {
  if (!(value instanceof Tensor)) return undefined
  const { dtype, sizes, strides, storageOffset, device, requiresGrad, storageId, storageSizeBytes } = value.info()
  const isParameter = value instanceof Parameter
  return new TensorRecord({
    storage: new StorageRecord({
      id: storageId,
      dtype,
      sizeBytes: storageSizeBytes,
      location: device,
      source: value.handle,
    }),
    dtype,
    sizes,
    strides,
    storageOffset,
    requiresGrad,
    isParameter,
    conj: call('is_conj', [value]) === true,
    neg: call('is_neg', [value]) === true,
  })
}

export interface LoadOptions {
  /**
   * Maps the file instead of reading it: quick for big files, and pages come in as they are touched. Changes to the tensors stay in memory. The file must not be cut short
   * while the tensors live. Default false.
   */
  mmap?: boolean
  /** Whether the CRC-32 of every tensor's bytes is checked, which `torch.load` does not do. Default true. */
  verify?: boolean
  /** Whether a Python float of integral value (1.0) becomes a `PyFloat` rather than the number 1, so that saving the value again gives floats. Default false. */
  keepFloats?: boolean
}

/**
 * Loads what `torch.load(path, weights_only=True)` loads, and the tensors of all other formats that `readTorchFile` reads (safetensors, index files of shards, `.pt2`, TorchScript, folders of
 * `torch.distributed.checkpoint`), without running any code of the file. Tensors are on the CPU wherever they were saved; those that shared a storage do
 * again. Dicts are Maps, lists arrays, tuples `Tuple`. Python attributes set on a tensor object are not kept.
 *
 * @throws TorchkeepError `ERR_CHECKPOINT_MISSING`, `_CORRUPT` (naming the tensor), `_UNSAFE`, `_UNSUPPORTED` for sparse, quantized, nested and meta tensors, those in chunks and
 *   those of big-endian files.
 */
export async function load(
  path: string,
  { mmap = false, verify = true, keepFloats = false }: LoadOptions = {},
): Promise<unknown> {
  requirePath(path)
  const file = await readTorchFile(path, { keepFloats })
  return loadTensors(path, file.value, { mmap, verify })
}

/**
 * Loads the tensors that a part of what `readTorchFile(path)` read describes, and puts them in the place of their descriptions, in that value itself.
 *
 * @throws TorchkeepError as {@link load}.
 */
export async function loadTensors(
  path: string,
  value: unknown,
  { mmap = false, verify = true }: Pick<LoadOptions, 'mmap' | 'verify'> = {},
): Promise<unknown> {
  const found = listTensors(value).map(({ path: at, record }) => ({
    at,
    record: requireStrided(path, at, record),
  }))
  const tensors = new Map<AnyTensorRecord, Tensor>()
  for (const [source, ofFile] of byFile(found)) {
    for (const [record, handle] of await mapTensors(source, ofFile, { mmap, verify }))
      tensors.set(record, liveTensor(handle, record))
  }
  return replaceTensors(value, (record) => tensors.get(record))
}

interface FoundTensor {
  at: ValuePath
  record: TensorRecord
}

/** Tensors by the file that their storages lie in: of a sharded checkpoint there are several. */
function byFile(found: readonly FoundTensor[]): Map<string, FoundTensor[]> {
  const files = new Map<string, FoundTensor[]>()
  for (const tensor of found) {
    const { path } = tensor.record.storage.source
    const ofFile = files.get(path)
    if (ofFile === undefined) files.set(path, [tensor])
    else ofFile.push(tensor)
  }
  return files
}

/** Makes the tensors of one file; a damaged storage is named by the first tensor over it. */
async function mapTensors(
  path: string,
  found: readonly FoundTensor[],
  { mmap, verify }: { mmap: boolean; verify: boolean },
): Promise<[TensorRecord, TensorHandle][]> {
  const storages = [...new Map(found.map(({ record: { storage } }) => [storage.id, storage])).values()]
  const places = new Map(storages.map(({ id }, index) => [id, index]))
  try {
    const handles = await addon().mapTensorFile({
      path,
      mode: mmap ? 'map' : 'read',
      storages: storages.map(({ source: { offsetBytes, sizeBytes }, crc32 }) => {
        return { offsetBytes, sizeBytes, crc32: verify ? crc32 : null }
      }),
      tensors: found.map(({ record: { storage, dtype, sizes, strides, storageOffset } }) => {
        return { storage: places.get(storage.id) as number, dtype: dtype as DType, sizes, strides, storageOffset }
      }),
    })
    return found.map(({ record }, index) => [record, handles[index] as TensorHandle])
  } catch (error) {
    if (!(error instanceof TorchkeepError) || !('storage' in error)) throw error
    const storage = storages[error.storage as number] as StorageRecord
    const tensor = found.find(({ record }) => record.storage.id === storage.id)
    const where = tensor === undefined ? '' : ` of the tensor ${formatPath(tensor.at)}`
    throw new TorchkeepError(
      error.code,
      `${path}: the record ${storage.recordName}${where} is damaged (${error.message})`,
      { cause: error },
    )
  }
}

function requireStrided(path: string, at: ValuePath, record: AnyTensorRecord): TensorRecord {
  const what = record instanceof TensorRecord ? record.className : record.kind
  if (record instanceof TensorRecord && what === null) {
    if (record.storage.byteOrder === 'little') return record
    throw new TorchkeepError(
      'ERR_CHECKPOINT_UNSUPPORTED',
      `${path} holds big-endian tensors, which load() does not make`,
      { suggestions: ['readTensorValues of torchkeep/format reads them as typed arrays'] },
    )
  }
  throw new TorchkeepError(
    'ERR_CHECKPOINT_UNSUPPORTED',
    `${path}: ${formatPath(at)} is a tensor of the kind ${what}, which load() does not make yet`,
    {
      suggestions: ['readTorchFile of torchkeep/format describes it without loading'],
    },
  )
}

/** The tensor that a description and its handle mean. */
function liveTensor(handle: TensorHandle, record: TensorRecord): Tensor {
  let tensor = Tensor.fromHandle(handle)
  for (const view of [...(record.conj ? ['conj'] : []), ...(record.neg ? ['_neg_view'] : [])]) {
    const viewed = call(view, [tensor]) as Tensor
    tensor.dispose()
    tensor = viewed
  }
  if (record.isParameter) {
    const parameter = new Parameter(tensor, { requiresGrad: record.requiresGrad })
    tensor.dispose() // so that nothing but the parameter holds the storage
    return parameter
  }
  return record.requiresGrad ? tensor.requiresGrad_() : tensor
}
