/** Plans a whole torch file (`torch.save`'s zip layout) for a value: what an executor writes, part by part. */
import { createHash } from 'node:crypto'
import { TorchkeepError } from './errors.js'
import { writePickle, type ForeignValues } from './pickle-write.js'
import { collectTensors, type DescribeTensor } from './storage-spans.js'
import type { ByteOrder } from './tensor-record.js'
import { TensorPickler } from './tensor-write.js'
import { ZipPlanner, type PlannedPart } from './zip-write.js'

/** How {@link planTorchFile} plans. */
export interface PlanOptions<Source> {
  /**
   * The folder that all records are in: PyTorch takes the file's base name without its last extension, see {@link topFolderOf}. Publication writes under a
   * temporary name, so the final name must be passed here.
   */
  topFolder: string
  /** Describes live tensors. Descriptions ({@link AnyTensorRecord}, {@link StorageRecord}) in the value are understood without it. */
  describeTensor?: DescribeTensor<Source>
  /** Every record's data starts at a multiple of this many bytes; a power of two from 1 to 32768. 64 unless told, as in PyTorch. */
  alignment?: number
  /**
   * What becomes of values that `torch.load(weights_only=True)` refuses and that another program wrote (numpy values, defaultdicts, objects of other classes): `refuse`, unless told, raises an
   * error; `keep` writes them as they were read.
   */
  foreign?: ForeignValues
}

/** A storage of a planned file. */
export interface PlannedStorage {
  /** Identity of the storage, as described. */
  id: string
  /** Name of its record in the top folder. */
  recordName: string
  /** Where its data starts in the file. */
  offsetBytes: number
  sizeBytes: number
  /** Slot of its CRC-32; null for an empty one. */
  crcSlot: number | null
}

/** A file that is planned but not written. */
export interface TorchFilePlan<Source> {
  sizeBytes: number
  parts: readonly PlannedPart<Source>[]
  storages: readonly PlannedStorage[]
  /** Number of CRC-32 slots that the parts fill and use. */
  crcSlots: number
}

/**
 * Plans the file for a value: any nesting of plain values (see `values.ts`) and tensors. Shared storages are one record, views keep their strides and
 * sharing, and of each storage only the bytes that its tensors touch are written.
 * @throws TorchkeepError ERR_INVALID_ARGUMENT naming the place of what cannot be saved for `torch.load(weights_only=True)`.
 */
export function planTorchFile<Source>(value: unknown, options: PlanOptions<Source>): TorchFilePlan<Source> {
  const { topFolder, alignment = 64 } = options
  checkOptions(topFolder, alignment)
  const collected = collectTensors<Source>(value, options.describeTensor ?? (() => undefined))
  const tensors = new TensorPickler<Source>(collected)
  const pickle = writePickle(value, (writer, object) => tensors.write(writer, object), options.foreign)

  const zip = new ZipPlanner<Source>(topFolder, alignment)
  const text = (content: string) => Buffer.from(content, 'latin1')
  zip.addBytes('data.pkl', pickle)
  zip.addBytes('.format_version', text('1'))
  zip.addBytes('.storage_alignment', text(String(alignment)))
  zip.addBytes('byteorder', text(byteOrderOf(tensors.written)))
  const storages = tensors.written.map((span, index): PlannedStorage => {
    const recordName = `data/${index}`
    const sizeBytes = span.endBytes - span.beginBytes
    const { offset, crcSlot } = zip.addStorage(recordName, span.storage.source, span.beginBytes, sizeBytes)
    return { id: span.storage.id, recordName, offsetBytes: offset, sizeBytes, crcSlot }
  })
  zip.addBytes('version', text('3\n'))
  zip.addBytes('.data/serialization_id', text(serializationId(pickle)))
  zip.finish()
  return { sizeBytes: zip.sizeBytes, parts: zip.parts, storages, crcSlots: zip.crcSlots }
}

/** The one byte order of the storages: that of the file that they come from. */
function byteOrderOf(spans: readonly { storage: { byteOrder: ByteOrder } }[]): ByteOrder {
  const orders = new Set(spans.map(({ storage }) => storage.byteOrder))
  if (orders.size <= 1) return spans[0]?.storage.byteOrder ?? 'little'
  const reason = 'tensors of a big-endian and of a little-endian file cannot be saved in one file'
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', reason)
}

/** The top folder that PyTorch gives a file: the base name without its last extension, `archive` where that is empty or not ASCII. */
export function topFolderOf(path: string): string {
  const base = path.slice(path.lastIndexOf('/') + 1)
  const dot = base.lastIndexOf('.')
  const stem = dot < 0 ? base : base.slice(0, dot)
  return /^[\x20-\x7e]+$/.test(stem) && isFolderName(stem) ? stem : 'archive'
}

function isFolderName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\\\0]/.test(name)
}

function checkOptions(topFolder: string, alignment: number): void {
  if (!isFolderName(topFolder)) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `topFolder: expected the name of one folder, found ${JSON.stringify(topFolder)}`,
    )
  }
  if (!Number.isInteger(Math.log2(alignment)) || alignment < 1 || alignment > 32768) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `alignment: expected a power of two from 1 to 32768, found ${alignment}`,
    )
  }
}

/** 40 digits that PyTorch only logs; ours come from the pickle, so that equal values give equal files. */
export function serializationId(pickle: Uint8Array): string {
  const digest = createHash('sha256').update(pickle).digest('hex')
  return BigInt(`0x${digest}`).toString().padStart(40, '0').slice(-40)
}
