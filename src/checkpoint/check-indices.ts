/** Tensors whose values say where other values belong: `torch.load` builds sparse and nested tensors without looking at them, and operators then read outside their memory. */
import { allElements, readElements } from '../format/elements.js'
import type { Finding } from '../format/findings.js'
import type { TorchFile } from '../format/read.js'
import { elementCount, NestedTensorRecord, SparseTensorRecord, type TensorRecord } from '../format/tensor-record.js'
import { listTensors } from '../format/walk.js'
import { finding, type FindingId } from './findings.js'

/** Findings about the indices of sparse tensors and the parts of nested ones. */
export async function checkIndices(file: TorchFile): Promise<Finding<FindingId>[]> {
  const found: Finding<FindingId>[] = []
  for (const { path, record } of listTensors(file.value)) {
    const name = path.join('.')
    const problem =
      record instanceof SparseTensorRecord
        ? await checkSparse(file, record)
        : record instanceof NestedTensorRecord
          ? await checkNested(file, record)
          : undefined
    if (problem !== undefined) found.push(finding('tensor.sparse_indices', name, `${name}: ${problem}`))
  }
  return found
}

/** What is wrong with the first wrong value; undefined where all are right. */
async function firstWrong(
  file: TorchFile,
  tensor: TensorRecord,
  judge: (value: number, place: number, before: number) => string | undefined,
): Promise<string | undefined> {
  let place = 0
  let before = 0
  for await (const values of readElements(file, tensor, { checkCrc: false })) {
    for (const value of values) {
      const problem = judge(value, place++, before)
      if (problem !== undefined) return problem
      before = value
    }
  }
  return undefined
}

async function checkSparse(file: TorchFile, { layout, parts, sizes }: SparseTensorRecord): Promise<string | undefined> {
  const [first, second, third] = parts
  if (first === undefined || second === undefined) return undefined
  const inside = (what: string, limit: number) => (value: number) =>
    value >= 0 && value < limit ? undefined : `${what} ${value} lies outside 0 to ${limit - 1}`
  if (layout.name === 'sparse_coo') {
    const entries = first.sizes[1] ?? 0
    return firstWrong(file, first, (value, place) => {
      const dimension = Math.floor(place / Math.max(entries, 1))
      return inside(`the index of dimension ${dimension},`, sizes[dimension] ?? 0)(value)
    })
  }
  const rows = first.sizes.at(-1) ?? 0
  const entries = second.sizes.at(-1) ?? 0
  const compressed = await firstWrong(file, first, (value, place, before) => {
    const row = place % rows
    const right = row === 0 ? value === 0 : value >= before && value <= entries && (row < rows - 1 || value === entries)
    return right ? undefined : `the compressed index ${value} at ${row} does not rise from 0 to ${entries}`
  })
  return compressed ?? firstWrong(file, second, inside('the plain index', plainLimit(layout.name, sizes, first, third)))
}

/** Columns of a row-compressed layout, rows of a column-compressed one; of blocks where values come in blocks. */
function plainLimit(
  layout: string,
  sizes: readonly number[],
  compressed: TensorRecord,
  values: TensorRecord | undefined,
): number {
  const batch = compressed.sizes.length - 1
  const dimension = layout === 'sparse_csr' || layout === 'sparse_bsr' ? 1 : 0
  const blocked = layout === 'sparse_bsr' || layout === 'sparse_bsc'
  const block = blocked ? (values?.sizes[batch + 1 + dimension] ?? 1) : 1
  return Math.floor((sizes[batch + dimension] ?? 0) / Math.max(block, 1))
}

async function checkNested(file: TorchFile, record: NestedTensorRecord): Promise<string | undefined> {
  const [sizes, strides, offsets] = await Promise.all(
    [record.nestedSizes, record.nestedStrides, record.storageOffsets].map((tensor) =>
      allElements(file, tensor, { checkCrc: false }),
    ),
  )
  const available = elementCount(record.buffer.sizes)
  const rank = record.nestedSizes.sizes[1] ?? 0
  for (const [part, offset] of (offsets ?? []).entries()) {
    const dimensions = (sizes ?? []).slice(part * rank, (part + 1) * rank)
    if (dimensions.includes(0)) continue
    const steps = (strides ?? []).slice(part * rank, (part + 1) * rank)
    const last = dimensions.reduce((sum, size, axis) => sum + (size - 1) * (steps[axis] ?? 0), offset)
    if ([offset, ...dimensions, ...steps].some((value) => value < 0) || last >= available) {
      return `part ${part} of sizes [${dimensions.join(', ')}] reaches element ${last} of a buffer of ${available}`
    }
  }
  return undefined
}
