/**
 * Plans a torch.export archive (`.pt2`) with the records that `torch.export.save` of torch 2.13 writes, in its order: `torch.export.load` opens it. Source: `torch/export/pt2_archive/_package.py` and
 * `_package_weights.py`.
 */
import { denseTensor } from './contiguous.js'
import { dtypes, type DTypeName } from './dtypes.js'
import { TorchkeepError } from './errors.js'
import { exactJson } from './json-plain.js'
import { planBytes } from './plan-bytes.js'
import { planTorchFile, serializationId, type TorchFilePlan } from './plan.js'
import { codeOfDType } from './pt2-payloads.js'
import { collectTensors, type StorageSpan } from './storage-spans.js'
import { ChunkedTensorRecord, TensorRecord, type AnyTensorRecord, type ByteOrigin } from './tensor-record.js'
import { Tuple } from './values.js'
import { ZipPlanner } from './zip-write.js'

/** What goes into an archive. */
export interface Pt2Contents {
  /** As in {@link PlanOptions}: the file's name without its ending. */
  topFolder: string
  /** `ExportedProgram`s by name, written as they are; `model` is the one that `torch.export.load` opens. All share the tensors. */
  models: Readonly<Record<string, unknown>>
  /** Parameters and persistent buffers under all their names, in the order of the signature; tensors over one storage share it. */
  weights: ReadonlyMap<string, AnyTensorRecord<ByteOrigin>>
  /** Tensor constants and buffers that no state dict has, by the names of the signature. */
  constants: ReadonlyMap<string, AnyTensorRecord<ByteOrigin>>
  /** Positional example inputs, which Python gives as `example_inputs`. Default: none. */
  sampleInputs?: readonly TensorRecord<Uint8Array>[]
  /** Further files, by name, which Python gives back as `extra_files`. */
  extra?: Readonly<Record<string, string>>
}

/**
 * Plans the archive.
 *
 * @throws TorchkeepError ERR_INVALID_ARGUMENT naming the tensor that has no place in an archive: sparse, quantized, nested, without values.
 */
export function planPt2(contents: Pt2Contents): TorchFilePlan<ByteOrigin> {
  const { topFolder, models, weights, constants, sampleInputs, extra = {} } = contents
  const zip = new ZipPlanner<ByteOrigin>(topFolder, 64)
  const text = (content: string): Buffer => Buffer.from(content)
  const names = Object.keys(models)
  const folders = [
    { folder: 'data/weights/', stem: 'weight_', config: 'weights', tensors: weights },
    { folder: 'data/constants/', stem: 'tensor_', config: 'constants', tensors: constants },
  ]
  const written: string[] = []
  for (const { folder, stem, config, tensors } of folders) {
    const json = exactJson({ config: addPayloads(zip, folder + stem, tensors) })
    written.push(json)
    // Each model has a table of its own, over the same records.
    for (const name of names) zip.addBytes(`${folder}${name}_${config}_config.json`, text(json))
  }
  for (const [name, program] of Object.entries(models)) {
    const json = exactJson(program)
    written.push(json)
    zip.addBytes(`models/${name}.json`, text(json))
  }
  // The record has to be there; an empty one means none.
  const sample = sampleInputs === undefined ? new Uint8Array(0) : sampleBytes(sampleInputs)
  for (const name of names) zip.addBytes(`data/sample_inputs/${name}.pt`, sample)
  for (const [name, content] of Object.entries(extra)) zip.addBytes(`extra/${name}`, text(content))
  zip.addBytes('archive_format', text('pt2'))
  zip.addBytes('archive_version', text('0'))
  zip.addBytes('.data/version', text('6\n'))
  zip.addBytes('byteorder', text('little'))
  zip.addBytes('.data/serialization_id', text(serializationId(text(written.join('\n')))))
  zip.finish()
  return { sizeBytes: zip.sizeBytes, parts: zip.parts, storages: [], crcSlots: zip.crcSlots }
}

/** `(args, kwargs)` in a torch file of its own. */
function sampleBytes(inputs: readonly TensorRecord<Uint8Array>[]): Uint8Array {
  const plan = planTorchFile<Uint8Array>(new Tuple<unknown>([new Tuple(inputs), new Map()]), { topFolder: 'archive' })
  return planBytes(plan)
}

/** Adds the storages of the tensors, each once; returns how the tensors lie in them. */
function addPayloads(
  zip: ZipPlanner<ByteOrigin>,
  stem: string,
  tensors: ReadonlyMap<string, AnyTensorRecord<ByteOrigin>>,
): Record<string, unknown> {
  const dense = new Map([...tensors].map(([name, tensor]) => [name, littleTensor(name, tensor)]))
  const { spans } = collectTensors<ByteOrigin>(dense, () => undefined)
  const written: StorageSpan<ByteOrigin>[] = []
  const payload = (tensor: TensorRecord<ByteOrigin>): unknown => {
    const span = spans.get(tensor.storage.id) as StorageSpan<ByteOrigin>
    if (span.key === null) {
      const record = stem + written.length
      span.key = record.slice(record.lastIndexOf('/') + 1)
      zip.addStorage(record, span.storage.source, span.beginBytes, span.endBytes - span.beginBytes)
      written.push(span)
    }
    return payloadOf(tensor, span)
  }
  return Object.fromEntries([...dense].map(([name, tensor]) => [name, payload(tensor)]))
}

/** Archives have strides, shared storages and offsets, but one byte order and no conjugate views. */
function littleTensor(name: string, tensor: AnyTensorRecord<ByteOrigin>): TensorRecord<ByteOrigin> {
  if (!(tensor instanceof TensorRecord) && !(tensor instanceof ChunkedTensorRecord))
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `'${name}' is a ${tensor.kind} tensor, which has no place in a .pt2; a .pth holds it`,
    )
  const asItIs = tensor instanceof TensorRecord && tensor.storage.byteOrder === 'little' && !tensor.conj && !tensor.neg
  return asItIs ? tensor : denseTensor(name, tensor)
}

function payloadOf(tensor: TensorRecord<ByteOrigin>, span: StorageSpan<ByteOrigin>): unknown {
  const { dtype, sizes, strides, storageOffset, requiresGrad, isParameter } = tensor
  const { itemSizeBytes, elementsPerByte } = dtypes[dtype]
  const begin = (span.beginBytes * elementsPerByte) / itemSizeBytes
  const ints = (values: readonly number[]): unknown[] => values.map((value) => ({ as_int: value }))
  return {
    path_name: span.key,
    is_param: isParameter,
    use_pickle: false,
    tensor_meta: {
      dtype: codeOf(dtype),
      sizes: ints(sizes),
      requires_grad: requiresGrad,
      device: { type: 'cpu', index: null },
      strides: ints(strides),
      storage_offset: { as_int: Math.max(storageOffset - begin, 0) },
      layout: 7,
    },
  }
}

function codeOf(dtype: DTypeName): number {
  const code = codeOfDType(dtype)
  if (code !== undefined) return code
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `torch.export has no dtype ${dtype}`)
}
