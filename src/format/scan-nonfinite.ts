/** Finds NaN and infinite values of described tensors in bytes that pass by, such as those of `scanStorages`. Only elements that a tensor covers count: a NaN between the elements of a view is none of its. */
import { swapBytes } from './byte-order.js'
import { dtypes } from './dtypes.js'
import { floatFormats, type FloatFormat } from './float-formats.js'
import { StridedView } from './strided-view.js'
import type { StorageRecord, TensorRecord } from './tensor-record.js'

/** What of a tensor is not finite. */
export interface NonFinite {
  /** Elements of the storage; those that an expanded dimension repeats count once, and so does a complex element. */
  nan: number
  infinite: number
  /** Index of the first such element, in the order of the storage; null where `atLeast` and none was found yet. */
  first: readonly number[] | null
  /** Whether the counts are lower bounds: the tensor's strides (windows that overlap, in great numbers) make an exact count too slow. */
  atLeast: boolean
}

/** Words tested at once. Small enough that the exact look at a block with a hit costs little. */
const blockWords = 1024

/** Work for looks at single elements of views with gaps, of all tensors together, before counts are given as lower bounds: about a second. */
const maxWork = 1 << 24

interface View {
  readonly place: StridedView
  readonly result: { -readonly [K in keyof NonFinite]: NonFinite[K] }
}

/** The views of one storage that have the same element format. */
interface ViewGroup {
  readonly format: FloatFormat
  /** Numbers of one element: 2 for complex ones. */
  readonly numbers: 1 | 2
  readonly views: View[]
  /** Byte ranges that the views cover, merged and in order. */
  ranges: [begin: number, end: number][]
}

/** Finds non-finite values of a set of tensors. */
export class NonFiniteScan {
  readonly #groups = new Map<string, ViewGroup[]>()
  readonly #views = new Map<TensorRecord, View>()
  readonly #hits = new Hits()
  #work = 0

  /** Tensors of dtypes that know no NaN are accepted and never found. */
  constructor(tensors: Iterable<TensorRecord>) {
    const known = new Map<string, View>()
    for (const tensor of tensors) {
      const format = floatFormats[tensor.dtype]
      if (format === undefined || this.#views.has(tensor)) continue
      const { storage, dtype, sizes, strides, storageOffset } = tensor
      const key = `${storage.id} ${dtype} ${storageOffset} ${sizes.join()} ${strides.join()}`
      const view = known.get(key) ?? this.#addView(tensor, format)
      known.set(key, view)
      this.#views.set(tensor, view)
    }
    for (const groups of this.#groups.values()) for (const group of groups) group.ranges = mergedRanges(group)
  }

  #addView(tensor: TensorRecord, format: FloatFormat): View {
    const numbers = dtypes[tensor.dtype].itemSizeBytes === format.sizeBytes ? 1 : 2
    const groups = this.#groups.get(tensor.storage.id) ?? []
    this.#groups.set(tensor.storage.id, groups)
    let group = groups.find((candidate) => candidate.format === format && candidate.numbers === numbers)
    if (group === undefined) groups.push((group = { format, numbers, views: [], ranges: [] }))
    const result = { nan: 0, infinite: 0, first: null, atLeast: false }
    const view: View = { place: new StridedView(tensor), result }
    group.views.push(view)
    return view
  }

  /** Looks at a piece of a storage, in the byte order that it has in the file; pieces come in order. `chunk` and `offsetBytes` are multiples of 16 but for the storage's end, as `scanStorages` gives them. */
  see(storage: StorageRecord, chunk: Uint8Array, offsetBytes: number): void {
    for (const group of this.#groups.get(storage.id) ?? []) {
      const { sizeBytes } = group.format
      const numbers = storage.byteOrder === 'big' ? swapBytes(new Uint8Array(chunk), sizeBytes) : chunk
      this.#hits.clear()
      for (const [begin, end] of group.ranges) {
        const from = Math.max(begin - offsetBytes, 0)
        const to = Math.min(end - offsetBytes, chunk.length)
        if (from < to) findHits(numbers, from, to, group, this.#hits)
      }
      if (this.#hits.count === 0) continue
      const firstElement = offsetBytes / (group.format.sizeBytes * group.numbers)
      for (const view of group.views) this.#count(view, firstElement)
    }
  }

  /** What was found of a tensor; undefined where all its values are finite. */
  of(tensor: TensorRecord): NonFinite | undefined {
    const result = this.#views.get(tensor)?.result
    return result === undefined || (result.first === null && !result.atLeast) ? undefined : { ...result }
  }

  #count({ place, result }: View, firstElement: number): void {
    const hits = this.#hits
    const from = hits.indexFrom(place.begin - firstElement)
    const to = hits.indexFrom(place.end - firstElement)
    if (from === to) return
    if (place.dense) {
      const nan = hits.nanAt(to) - hits.nanAt(from)
      result.nan += nan
      result.infinite += to - from - nan
      result.first ??= place.indexOf(hits.elementAt(from) + firstElement) ?? null
      return
    }
    for (let hit = from; hit < to; hit++) {
      result.atLeast ||= this.#work > maxWork
      if (result.atLeast) return
      const before = place.work
      const index = place.indexOf(hits.elementAt(hit) + firstElement)
      this.#work += place.work - before
      if (index === undefined) continue
      if (hits.nanAt(hit + 1) > hits.nanAt(hit)) result.nan++
      else result.infinite++
      result.first ??= index
    }
  }
}

/** Elements that are not finite, in order: their places in the piece, and how many NaN stand before each. */
class Hits {
  #elements = new Int32Array(64)
  #nanBefore = new Int32Array(65)
  count = 0

  clear(): void {
    this.count = 0
  }

  add(element: number, isNan: boolean): void {
    if (this.count === this.#elements.length) {
      const [elements, nanBefore] = [this.#elements, this.#nanBefore]
      this.#elements = new Int32Array(2 * elements.length)
      this.#elements.set(elements)
      this.#nanBefore = new Int32Array(2 * elements.length + 1)
      this.#nanBefore.set(nanBefore)
    }
    this.#elements[this.count] = element
    this.#nanBefore[this.count + 1] = this.nanAt(this.count) + (isNan ? 1 : 0)
    this.count++
  }

  elementAt(hit: number): number {
    return this.#elements[hit] ?? 0
  }

  /** How many of the hits before this one are NaN. */
  nanAt(hit: number): number {
    return this.#nanBefore[hit] ?? 0
  }

  /** Index of the first hit at or after an element. */
  indexFrom(element: number): number {
    let [low, high] = [0, this.count]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.elementAt(middle) < element) low = middle + 1
      else high = middle
    }
    return low
  }
}

function findHits(chunk: Uint8Array, from: number, to: number, { format, numbers }: ViewGroup, hits: Hits): void {
  const wholeWords = (chunk.length >> 3) << 1
  const words = new Int32Array(chunk.buffer, chunk.byteOffset, wholeWords)
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length)
  const elementBytes = format.sizeBytes * numbers
  for (let begin = from; begin < to;) {
    const wordBegin = (begin >> 3) << 1
    const wordEnd = Math.min(wordBegin + blockWords, wholeWords)
    const end = wordEnd <= wordBegin ? to : Math.min(wordEnd << 2, to)
    if (wordEnd > wordBegin && format.allFinite(words, wordBegin, wordEnd)) {
      begin = wordEnd << 2
      continue
    }
    for (let offset = begin; offset < end; offset += elementBytes) {
      let kind = format.classify(view, offset)
      if (numbers === 2 && kind !== 'nan') {
        const imaginary = format.classify(view, offset + format.sizeBytes)
        if (imaginary !== 'finite') kind = imaginary
      }
      if (kind !== 'finite') hits.add(offset / elementBytes, kind === 'nan')
    }
    begin = Math.max(end, begin + elementBytes)
  }
}

function mergedRanges({ views, format, numbers }: ViewGroup): [number, number][] {
  const unit = format.sizeBytes * numbers
  const ranges: [number, number][] = []
  const places = views.map(({ place }) => place).sort((left, right) => left.begin - right.begin)
  for (const { begin, end } of places) {
    if (begin === end) continue
    const last = ranges.at(-1)
    if (last !== undefined && begin * unit <= last[1]) last[1] = Math.max(last[1], end * unit)
    else ranges.push([begin * unit, end * unit])
  }
  return ranges
}
