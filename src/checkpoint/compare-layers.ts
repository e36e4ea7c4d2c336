/** Which layers of a model changed most. */
import { isDTypeName } from '../format/dtypes.js'
import { FigureSums, type TensorFigures, type Tolerance } from './compare-figures.js'
import { sizeBytesOf, type NumberTensor, type TensorComparer, type TensorComparison } from './compare-tensors.js'

/** One tensor of the model that both have. */
export interface ComparedTensor {
  name: string
  a: NumberTensor
  /** Null where all bits are equal. */
  comparison: TensorComparison | null
  sums: FigureSums | null
}

/** A layer that changed: the tensors of one module, such as `features.0` for `features.0.weight` and `features.0.bias`. */
export interface LayerComparison {
  /** The tensors' name without its last part; empty for tensors at the top. */
  name: string
  tensors: number
  differing: number
  /** Tensors whose values cannot be compared (other shapes): the figures leave them out. */
  incomparable: number
  /** Over the layer's floating and complex tensors of equal shapes, equal ones included, as if they were one vector; integers (counters) are left out. Null where there are none. */
  figures: TensorFigures | null
}

/** The layers in which a tensor differs, most changed first. */
export async function changedLayers(
  tensors: readonly ComparedTensor[],
  comparer: TensorComparer,
  tolerance: Tolerance | null,
): Promise<LayerComparison[]> {
  const layers = new Map<string, ComparedTensor[]>()
  for (const tensor of tensors) {
    const name = layerOf(tensor.name)
    const members = layers.get(name)
    if (members === undefined) layers.set(name, [tensor])
    else members.push(tensor)
  }
  const changed: LayerComparison[] = []
  for (const [name, members] of layers) {
    const differing = members.filter(({ comparison }) => comparison !== null)
    if (differing.length === 0) continue
    const sums = new FigureSums(tolerance)
    let counted = 0
    for (const { a, comparison, sums: own } of members) {
      if (!isReal(a) || (comparison !== null && own === null)) continue
      sums.addSums(own ?? (await comparer.norms(a)))
      counted++
    }
    const figures = counted === 0 ? null : sums.figures()
    const incomparable = differing.filter(({ sums: own }) => own === null).length
    changed.push({ name, tensors: members.length, differing: differing.length, incomparable, figures })
  }
  return changed.sort(
    (left, right) =>
      right.incomparable - left.incomparable ||
      byChange(left.figures, right.figures) ||
      (left.name < right.name ? -1 : 1),
  )
}

function layerOf(name: string): string {
  const bare = name.replace(/ \([\w ]+\)$/, '')
  return bare.includes('.') ? bare.slice(0, bare.lastIndexOf('.')) : ''
}

/** Counters would drown the weights: a step count that doubles is a relative change of 1. */
function isReal(tensor: NumberTensor): boolean {
  if (tensor.kind === 'quantized') return true
  return isDTypeName(tensor.dtype) && /^(float|bfloat|complex)/.test(tensor.dtype) && sizeBytesOf(tensor) > 0
}

/** Most changed first: what cannot be compared, then places that are finite on one side only, then by relative norm, then by the largest difference. */
export function byChange(left: TensorFigures | null, right: TensorFigures | null): number {
  const rank = (figures: TensorFigures | null): readonly number[] => {
    if (figures === null) return [Infinity, 0, 0]
    const { nanOnlyInA, nanOnlyInB, infinityMismatches, relativeNorm, maxAbs } = figures
    return [nanOnlyInA + nanOnlyInB + infinityMismatches, orMost(relativeNorm), orMost(maxAbs)]
  }
  const [one, other] = [rank(left), rank(right)]
  for (const [index, value] of one.entries()) {
    const against = other[index] ?? 0
    if (value !== against) return value > against ? -1 : 1
  }
  return 0
}

/** An overflown norm (NaN) counts as the largest. */
const orMost = (value: number | null): number => (value === null || Number.isNaN(value) ? Infinity : value)
