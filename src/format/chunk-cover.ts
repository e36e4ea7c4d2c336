/** Whether chunks put together are a tensor: each element in exactly one of them. */
import { elementCount } from './tensor-record.js'

/** A box in a tensor. */
export interface Box {
  readonly offsets: readonly number[]
  readonly sizes: readonly number[]
}

/** Null where the boxes cover a tensor of these sizes without overlap, else what is wrong. */
export function coverFault(sizes: readonly number[], boxes: readonly Box[]): string | null {
  let covered = 0
  const filled: Box[] = []
  for (const box of boxes) {
    const isInside =
      box.offsets.length === sizes.length &&
      box.sizes.length === sizes.length &&
      sizes.every((size, dimension) => (box.offsets[dimension] ?? 0) + (box.sizes[dimension] ?? 0) <= size)
    if (!isInside)
      return `the chunk at [${box.offsets.join(', ')}] of sizes [${box.sizes.join(', ')}] leaves the tensor`
    const count = elementCount(box.sizes)
    if (count > 0) filled.push(box)
    covered += count
  }
  const total = elementCount(sizes)
  if (covered !== total) return `the chunks have ${covered} elements, the tensor ${total}`
  return overlaps(sizes.length, filled) ? 'two chunks overlap' : null
}

/** Goes along the dimension in which most boxes begin at places of their own, so that each meets few others. */
function overlaps(dimensions: number, boxes: readonly Box[]): boolean {
  if (boxes.length < 2) return false
  let [sweep, most] = [0, 0]
  for (let dimension = 0; dimension < dimensions; dimension++) {
    const places = new Set(boxes.map(({ offsets }) => offsets[dimension])).size
    if (places > most) [sweep, most] = [dimension, places]
  }
  const begin = ({ offsets }: Box, dimension: number) => offsets[dimension] ?? 0
  const end = (box: Box, dimension: number) => begin(box, dimension) + (box.sizes[dimension] ?? 0)
  const sorted = [...boxes].sort((left, right) => begin(left, sweep) - begin(right, sweep))
  let open: Box[] = []
  for (const box of sorted) {
    open = open.filter((other) => end(other, sweep) > begin(box, sweep))
    const meets = (other: Box) =>
      other.sizes.every((_, each) => begin(box, each) < end(other, each) && begin(other, each) < end(box, each))
    if (open.some(meets)) return true
    open.push(box)
  }
  return false
}
