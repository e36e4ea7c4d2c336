/** Compares one part of two checkpoints (the model, the optimizer, the scheduler...): plain values at once, tensors later, when all work is known. */
import {
  MetaTensorRecord,
  NestedTensorRecord,
  SparseTensorRecord,
  type AnyTensorRecord,
  type TensorRecord,
} from '../format/tensor-record.js'
import type { Tolerance } from './compare-figures.js'
import { byChange, type ComparedTensor } from './compare-layers.js'
import { sizeBytesOf, type NumberTensor, type TensorComparer, type TensorComparison } from './compare-tensors.js'
import { compareTrees, type TensorPair, type TreeOptions, type ValueDifference } from './compare-values.js'
import { tensorText } from './plain-values.js'
import { sizesOf } from './tensor-roles.js'

/** What differs in one part. */
export interface PartComparison {
  /** Whether the file has such a part. Of a part that only one has nothing is compared. */
  inA: boolean
  inB: boolean
  /** Plain values that differ, at most 1,000. */
  values: ValueDifference[]
  numValueDifferences: number
  /** Names of tensors that the other side does not have. */
  tensorsOnlyInA: string[]
  tensorsOnlyInB: string[]
  /** Tensors that both have. */
  numTensors: number
  /** Those of which every bit is equal. */
  numIdenticalTensors: number
  /** The others, most changed first. */
  tensors: TensorComparison[]
}

/** A part whose plain values are compared and whose tensors are not. */
export interface BegunPart {
  part: PartComparison
  pairs: readonly TensorPair[]
}

/** Compares the plain values of a part. Several trees may make one part, each under a path of its own. */
export function beginPart(
  trees: readonly (readonly [a: unknown, b: unknown, root?: string])[],
  options: TreeOptions,
): BegunPart {
  const [inA, inB] = [trees.some(([a]) => a !== undefined), trees.some(([, b]) => b !== undefined)]
  const compared = inA && inB ? trees.map(([a, b, root]) => compareTrees(a, b, options, root)) : []
  const pairs = compared.flatMap((tree) => tree.pairs)
  return {
    part: {
      inA,
      inB,
      values: compared.flatMap((tree) => tree.differences),
      numValueDifferences: compared.reduce((sum, tree) => sum + tree.numDifferences, 0),
      tensorsOnlyInA: compared.flatMap((tree) => tree.tensorsOnlyInA),
      tensorsOnlyInB: compared.flatMap((tree) => tree.tensorsOnlyInB),
      numTensors: pairs.length,
      numIdenticalTensors: 0,
      tensors: [],
    },
    pairs,
  }
}

/** Compares the tensors of a part, completing it. `known` holds what was compared before: names that share a tensor are compared once. */
export async function compareTensorsOf(
  { part, pairs }: BegunPart,
  comparer: TensorComparer,
  known: Map<string, ComparedTensor[]>,
  begin: (name: string, bytes: number) => void,
): Promise<ComparedTensor[]> {
  const all: ComparedTensor[] = []
  for (const pair of pairs) {
    begin(pair.name, sizeBytesOfPairs([pair]))
    const key = keyOf(pair)
    const before = key === null ? undefined : known.get(key)
    const compared = before === undefined ? await comparePair(pair, comparer) : renamed(before, pair.name)
    if (key !== null) known.set(key, compared)
    if (compared.every(({ comparison }) => comparison === null)) part.numIdenticalTensors++
    for (const { comparison } of compared) if (comparison !== null) part.tensors.push(comparison)
    all.push(...compared)
  }
  part.tensors.sort((left, right) => byChange(left.figures, right.figures) || (left.name < right.name ? -1 : 1))
  return all
}

/** A text that is equal for pairs of the same two views; null for tensors of several parts, which hardly ever share them. */
function keyOf({ a, b }: TensorPair): string | null {
  if (a.kind !== 'strided' || b.kind !== 'strided') return null
  const view = ({ storage, storageOffset, dtype, sizes, strides, conj, neg }: TensorRecord): string =>
    `${storage.id} ${dtype} ${storageOffset} [${sizes.join()}] [${strides.join()}] ${conj} ${neg}`
  return `${view(a)} | ${view(b)}`
}

/** Whether anything in the part differs, by the tolerance where there is one. */
export function differs(part: PartComparison, tolerance: Tolerance | null): boolean {
  if (part.numValueDifferences + part.tensorsOnlyInA.length + part.tensorsOnlyInB.length > 0) return true
  return part.tensors.some(
    ({ figures }) => tolerance === null || figures === null || figures.outside === null || figures.outside > 0,
  )
}

/** Bytes that comparing the tensors of a part reads of a's file. */
export function sizeBytesOfPairs(pairs: readonly TensorPair[]): number {
  return pairs.reduce(
    (sum, { a, b }) => sum + (components(a, b) ?? []).reduce((all, each) => all + sizeBytesOf(each.a), 0),
    0,
  )
}

/** The tensors that one pair consists of. */
interface Component {
  /** Added to the name; empty for the tensor itself. */
  suffix: string
  a: NumberTensor
  b: NumberTensor
}

const sparseParts: Readonly<Record<string, readonly string[]>> = {
  sparse_coo: ['indices', 'values'],
  sparse_csr: ['crow_indices', 'col_indices', 'values'],
  sparse_bsr: ['crow_indices', 'col_indices', 'values'],
  sparse_csc: ['ccol_indices', 'row_indices', 'values'],
  sparse_bsc: ['ccol_indices', 'row_indices', 'values'],
}

/** Sparse and nested tensors by their parts; null where the two have different layouts. */
function components(a: AnyTensorRecord, b: AnyTensorRecord): Component[] | null {
  if (a instanceof SparseTensorRecord || b instanceof SparseTensorRecord) {
    if (!(a instanceof SparseTensorRecord) || !(b instanceof SparseTensorRecord)) return null
    if (a.layout.name !== b.layout.name) return null
    return named(sparseParts[a.layout.name] ?? [], a.parts, b.parts)
  }
  if (a instanceof NestedTensorRecord || b instanceof NestedTensorRecord) {
    if (!(a instanceof NestedTensorRecord) || !(b instanceof NestedTensorRecord)) return null
    const parts = (nested: NestedTensorRecord) =>
      [nested.buffer, nested.nestedSizes, nested.nestedStrides, nested.storageOffsets] as const
    return named(['values', 'sizes', 'strides', 'offsets'], parts(a), parts(b))
  }
  return [{ suffix: '', a, b }]
}

function named(names: readonly string[], a: readonly NumberTensor[], b: readonly NumberTensor[]): Component[] {
  return a.flatMap((part, index) => {
    const other = b[index]
    return other === undefined ? [] : [{ suffix: ` (${names[index] ?? index})`, a: part, b: other }]
  })
}

async function comparePair({ name, a, b }: TensorPair, comparer: TensorComparer): Promise<ComparedTensor[]> {
  const parts = components(a, b)
  if (parts === null) return [unlike(name, a, b, 'layout')]
  if (sizesOf(a).join() !== sizesOf(b).join() && a.kind === 'sparse') return [unlike(name, a, b, 'shape')]
  const compared: ComparedTensor[] = []
  for (const part of parts) {
    const found = await comparer.compare(`${name}${part.suffix}`, part.a, part.b)
    const { comparison = null, sums = null } = found ?? {}
    compared.push({ name: `${name}${part.suffix}`, a: part.a, comparison, sums })
  }
  return compared
}

/** Two tensors whose values cannot be compared place by place. */
function unlike(name: string, a: AnyTensorRecord, b: AnyTensorRecord, difference: 'layout' | 'shape'): ComparedTensor {
  const sizes = sizesOf(a)
  const comparison: TensorComparison = {
    name,
    difference,
    dtypeA: tensorText(a),
    dtypeB: tensorText(b),
    shapeA: [...sizes],
    shapeB: [...sizesOf(b)],
    numElements: sizes.reduce((product, size) => product * size, 1),
    figures: null,
  }
  return { name, a: new MetaTensorRecord('uint8', [], [], false), comparison, sums: null }
}

function renamed(compared: readonly ComparedTensor[], name: string): ComparedTensor[] {
  return compared.map((each) => {
    const own = `${name}${/ \([\w ]+\)$/.exec(each.name)?.[0] ?? ''}`
    return { ...each, name: own, comparison: each.comparison && { ...each.comparison, name: own } }
  })
}
