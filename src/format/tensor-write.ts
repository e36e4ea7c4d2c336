/** Pickles tensor descriptions as `torch.Tensor.__reduce_ex__` and `torch.save`'s persistent ids do (torch 2.13). */
import { dtypes, type DTypeName } from './dtypes.js'
import { TorchkeepError } from './errors.js'
import { opcode } from './opcodes.js'
import type { PickleWriter } from './pickle-write.js'
import type { CollectedTensors, StorageSpan } from './storage-spans.js'
import {
  ChunkedTensorRecord,
  NestedTensorRecord,
  QuantizedTensorRecord,
  SparseTensorRecord,
  StorageRecord,
  TensorRecord,
  type AnyTensorRecord,
} from './tensor-record.js'
import { Size } from './values.js'

const rebuilders = 'torch._utils'

/** Writes the tensors and storages of one file, numbering its storages in the order of their first use. */
export class TensorPickler<Source> {
  /** In the order of their keys. */
  readonly written: StorageSpan<Source>[] = []
  readonly #collected: CollectedTensors<Source>

  constructor(collected: CollectedTensors<Source>) {
    this.#collected = collected
  }

  /** Pushes a tensor or storage that was collected; see `WriteObject`. */
  write(writer: PickleWriter, value: object): number | 'unnumbered' | 'unknown' {
    const record = this.#collected.records.get(value)
    if (record === undefined) return 'unknown'
    if (!(record instanceof StorageRecord)) return this.#tensor(writer, record)
    this.#storage(writer, record)
    return 'unnumbered'
  }

  #tensor(writer: PickleWriter, record: AnyTensorRecord<Source>): number {
    const { emit } = writer
    if (record instanceof TensorRecord) return this.#strided(writer, record)
    if (record instanceof QuantizedTensorRecord) return this.#quantized(writer, record)
    if (record instanceof SparseTensorRecord) return this.#sparse(writer, record)
    if (record instanceof NestedTensorRecord) {
      const parts = [record.buffer, record.nestedSizes, record.nestedStrides, record.storageOffsets]
      const pushParts = parts.map((part) => () => writer.value(part))
      return emit.reduce(rebuilders, '_rebuild_nested_tensor', pushParts)
    }
    if (record instanceof ChunkedTensorRecord) throw new Error('a tensor in chunks was refused before')
    return emit.reduce(rebuilders, '_rebuild_meta_tensor_no_storage', [
      () => emit.global('torch', record.dtype),
      () => ints(writer, record.sizes),
      () => ints(writer, record.strides),
      () => emit.bool(record.requiresGrad),
    ])
  }

  #strided(writer: PickleWriter, record: TensorRecord<Source>): number {
    const { emit } = writer
    const { attributes } = record
    if (record.isParameter) {
      const parts = [
        () => emit.reduce(rebuilders, ...this.#plain(writer, record, false)),
        () => emit.bool(record.requiresGrad),
        () => emit.reduce('collections', 'OrderedDict', []),
      ]
      if (attributes === null) return emit.reduce(rebuilders, '_rebuild_parameter', parts)
      return emit.reduce(rebuilders, '_rebuild_parameter_with_state', [...parts, () => writer.dict(attributes)])
    }
    const [rebuild, parts] = this.#plain(writer, record, record.requiresGrad)
    if (attributes === null && record.className === null) return emit.reduce(rebuilders, rebuild, parts)
    return emit.reduce('torch._tensor', '_rebuild_from_type_v2', [
      () => emit.global(rebuilders, rebuild),
      () => emit.global(...writer.nameOf(record.className ?? 'torch.Tensor')),
      () => emit.tuple(parts),
      () => writer.dict(attributes ?? new Map()),
    ])
  }

  /** Rebuild function and arguments of a tensor without attributes. */
  #plain(writer: PickleWriter, record: TensorRecord<Source>, requiresGrad: boolean): [string, (() => void)[]] {
    const { emit } = writer
    const untyped = dtypes[record.dtype].storageClass === null
    const parts = [...this.#view(writer, record), () => emit.bool(requiresGrad), () => hooks(writer)]
    if (untyped) parts.push(() => emit.global('torch', record.dtype))
    if (record.conj || record.neg) {
      const flags = new Map<unknown, unknown>()
      if (record.conj) flags.set('conj', true)
      if (record.neg) flags.set('neg', true)
      parts.push(() => writer.dict(flags))
    }
    return [untyped ? '_rebuild_tensor_v3' : '_rebuild_tensor_v2', parts]
  }

  /** Storage, offset, size and stride: offsets count from where the storage's span begins. */
  #view(writer: PickleWriter, record: TensorRecord<Source>): (() => void)[] {
    const { itemSizeBytes, elementsPerByte } = dtypes[record.dtype]
    const begin = (this.#span(record.storage).beginBytes * elementsPerByte) / itemSizeBytes
    return [
      () => this.#storage(writer, record.storage),
      () => writer.emit.int(Math.max(record.storageOffset - begin, 0)),
      () => ints(writer, record.sizes),
      () => ints(writer, record.strides),
    ]
  }

  #quantized(writer: PickleWriter, { integers, quantizer }: QuantizedTensorRecord<Source>): number {
    const { emit } = writer
    const scheme = () => emit.global(...writer.nameOf(quantizer.scheme))
    const parameters =
      'scales' in quantizer
        ? [
            () => writer.value(quantizer.scales),
            () => writer.value(quantizer.zeroPoints),
            () => emit.int(quantizer.axis),
          ]
        : [() => emit.float(quantizer.scale), () => emit.int(quantizer.zeroPoint)]
    return emit.reduce(rebuilders, '_rebuild_qtensor', [
      ...this.#view(writer, integers),
      () => emit.tuple([scheme, ...parameters]),
      () => emit.bool(integers.requiresGrad),
      () => hooks(writer),
    ])
  }

  #sparse(writer: PickleWriter, record: SparseTensorRecord<Source>): number {
    const { emit } = writer
    const data = [...record.parts.map((part) => () => writer.value(part)), () => writer.value(new Size(record.sizes))]
    const { isCoalesced } = record
    if (isCoalesced !== null) data.push(() => emit.bool(isCoalesced))
    return emit.reduce(rebuilders, '_rebuild_sparse_tensor', [
      () => writer.value(record.layout),
      () => emit.tuple(data),
    ])
  }

  #storage(writer: PickleWriter, storage: StorageRecord<Source>): void {
    const { emit } = writer
    const span = this.#span(storage)
    if (span.key === null) {
      span.key = String(this.written.length)
      this.written.push(span)
    }
    const { key } = span
    emit.tuple([
      () => emit.string('storage'),
      () => emit.global(...storageClass(span.dtype)),
      () => emit.storageKey(key),
      () => emit.string(span.storage.location),
      () => emit.int((span.endBytes - span.beginBytes) / (span.dtype === null ? 1 : dtypes[span.dtype].itemSizeBytes)),
    ])
    emit.op(opcode.BINPERSID)
  }

  #span(storage: StorageRecord<Source>): StorageSpan<Source> {
    const span = this.#collected.spans.get(storage.id)
    if (span === undefined)
      throw new TorchkeepError('ERR_INVALID_ARGUMENT', `storage ${storage.id} changed its identity while it was saved`)
    return span
  }
}

function storageClass(dtype: DTypeName | null): [module: string, name: string] {
  const name = dtype === null ? null : dtypes[dtype].storageClass
  return name === null ? ['torch.storage', 'UntypedStorage'] : ['torch', name]
}

function ints(writer: PickleWriter, values: readonly number[]): void {
  writer.emit.tuple(values.map((value) => () => writer.emit.int(value)))
}

/** The backward hooks, which torch.save leaves out: an empty OrderedDict. */
function hooks(writer: PickleWriter): void {
  writer.emit.reduce('collections', 'OrderedDict', [])
}
