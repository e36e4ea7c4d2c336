/** Decides what becomes of the values of tensors: what is not there is lost, what is damaged or not finite is kept, dropped or replaced, as the caller wants. */
import { crc32 } from 'node:zlib'
import { swapUnitBytes } from '../format/byte-order.js'
import { ByteSource } from '../format/byte-source.js'
import { isComplex } from '../format/element-values.js'
import { readElements } from '../format/elements.js'
import type { TorchFile } from '../format/read.js'
import type { Salvage } from '../format/salvage.js'
import {
  coveredBytes,
  elementCount,
  StorageRecord,
  TensorRecord,
  type AnyTensorRecord,
  type ByteOrigin,
} from '../format/tensor-record.js'
import { strided } from '../format/walk.js'
import { namedTensors } from './recovery-donor.js'
import { copyPatch, encodeNumber, finitePatch, patchesInOrder, zeroPatch, type Patch } from './recovery-patches.js'
import type { RecoveryActs } from './recovery-record.js'
import { isThere, swapUnits, type BytesVerdict, type NonFiniteTensor } from './recovery-scan.js'
import { dtypeOf, sizesOf } from './tensor-roles.js'

/** What takes the place of values that are not finite. */
export type NonFinitePolicy = 'zero' | 'mean' | 'donor'
/** What becomes of tensors whose CRC-32 does not match. */
export type DamagedPolicy = 'keep' | 'drop' | 'zero' | 'donor'

/** What {@link ValuePlan} works with. */
export interface ValueOptions {
  salvage: Salvage
  verdict: BytesVerdict
  donor: TorchFile | null
  nonfinite: NonFinitePolicy
  damaged: DamagedPolicy
  acts: RecoveryActs
  /** Texts of the older system: what was mended, and what remains to be known. */
  issuesFixed: string[]
  remainingIssues: string[]
}

/** The fate of every tensor and storage. */
export class ValuePlan {
  readonly #options: ValueOptions
  readonly #patches = new Map<string, Patch[]>()
  readonly #dropped = new Set<string>()
  readonly #storages = new Map<string, StorageRecord<ByteOrigin>>()
  readonly #swaps: ReadonlyMap<string, number>
  readonly #donors: ReadonlyMap<string, AnyTensorRecord>
  readonly #names: ReadonlyMap<string, AnyTensorRecord>
  /** Damaged storages whose values were replaced: what was found in them is no longer there. */
  readonly #replaced = new Set<string>()

  constructor(options: ValueOptions) {
    this.#options = options
    this.#donors = options.donor === null ? new Map() : namedTensors(options.donor)
    this.#names = namedTensors(options.salvage.file)
    this.#swaps = swapUnits([...this.#names.values()].flatMap((record) => strided(record).map(rooted)))
  }

  /** Decides all. */
  async decide(): Promise<void> {
    const { changed } = this.#options.verdict
    for (const [name, record] of this.#names)
      if (strided(record).some(({ storage }) => changed.has(storage.id))) await this.#judgeDamaged(name, record)
    for (const found of this.#options.verdict.nonFinite) await this.#judgeNonFinite(found)
  }

  /** Why a tensor cannot be kept; null where it can. */
  reasonLost(record: AnyTensorRecord): string | null {
    const facts = `${dtypeOf(record)} [${sizesOf(record).join(', ')}]`
    if (record.kind === 'chunked') return `${facts}: a tensor in chunks of several files`
    const parts = strided(record)
    if (parts.some((part) => !isThere(part, this.#options.salvage.incomplete)))
      return `${facts}: its bytes are not in the file`
    return parts.some(({ storage }) => this.#dropped.has(storage.id))
      ? `${facts}: its bytes were changed; dropped as wanted`
      : null
  }

  /** A storage as it is written: its bytes from the damaged file, changed on the way where need be. */
  storage(storage: StorageRecord): StorageRecord<ByteOrigin> {
    const known = this.#storages.get(storage.id)
    if (known !== undefined) return known
    const patches = this.#patches.get(storage.id) ?? []
    const sizeBytes = this.#options.salvage.incomplete.get(storage.id) ?? storage.sizeBytes
    const range = { ...storage.source, sizeBytes, crc32: null }
    const patch = patchesInOrder(patches, this.#swaps.get(storage.id) ?? 1)
    const source = patches.length === 0 ? range : { ...range, patch }
    const made = new StorageRecord<ByteOrigin>({ ...storage, source, crc32: null, viewOf: null })
    this.#storages.set(storage.id, made)
    return made
  }

  /** A tensor as it is written. */
  tensor(tensor: TensorRecord): TensorRecord<ByteOrigin> {
    const own = rooted(tensor)
    return new TensorRecord<ByteOrigin>({ ...own, storage: this.storage(own.storage) })
  }

  async #judgeDamaged(name: string, record: AnyTensorRecord): Promise<void> {
    const { damaged, acts, remainingIssues } = this.#options
    const parts = strided(record).map(rooted)
    const facts = `${name}: its CRC-32 does not match`
    if (damaged === 'drop') for (const { storage } of parts) this.#dropped.add(storage.id)
    if (damaged === 'drop') return
    if (damaged === 'zero') {
      for (const part of parts) this.#replace(part, zeroPatch(...coveredBytes(part)))
      acts.repaired.push(`${facts}; replaced with zeros`)
      return
    }
    const given = damaged === 'donor' ? await this.#donorParts(name, parts) : null
    if (given === null) {
      acts.damaged.push(
        `${facts}; kept as it is${damaged === 'donor' ? ', as the donor has no sound tensor of this name, dtype and layout' : ''}`,
      )
      remainingIssues.push(`${facts}; its values may be wrong`)
      return
    }
    for (const [index, part] of parts.entries()) {
      const donor = given[index] as TensorRecord
      const [begin, end] = coveredBytes(donor)
      const range = {
        ...donor.storage.source,
        offsetBytes: donor.storage.source.offsetBytes + begin,
        sizeBytes: end - begin,
      }
      const unitBytes = donor.storage.byteOrder === 'big' ? swapUnitBytes(donor.dtype) : 1
      this.#replace(part, copyPatch(coveredBytes(part)[0], range, unitBytes))
    }
    acts.repaired.push(`${facts}; replaced with the donor's`)
  }

  #replace({ storage }: TensorRecord, patch: Patch): void {
    this.#patches.set(storage.id, [...(this.#patches.get(storage.id) ?? []), patch])
    this.#replaced.add(storage.id)
  }

  /** The donor's tensors in the place of ours: same name, dtype, sizes, strides and pending conjugation or negation, and their CRC-32 holds. */
  async #donorParts(name: string, parts: readonly TensorRecord[]): Promise<TensorRecord[] | null> {
    const donor = this.#donors.get(name)
    const theirs = donor === undefined ? [] : strided(donor).map(rooted)
    if (theirs.length !== parts.length) return null
    for (const [index, part] of parts.entries()) {
      const their = theirs[index] as TensorRecord
      const isSame =
        their.dtype === part.dtype &&
        their.sizes.join() === part.sizes.join() &&
        their.strides.join() === part.strides.join() &&
        isReadAlike(their, part)
      if (!isSame || !(await hasItsCrc(their.storage))) return null
    }
    return theirs
  }

  async #judgeNonFinite({ tensor, part, counts }: NonFiniteTensor): Promise<void> {
    const { acts, issuesFixed, remainingIssues } = this.#options
    const [name] = tensor.names
    const own = rooted(part)
    if (this.#dropped.has(own.storage.id) || this.#replaced.has(own.storage.id)) return
    const infinite = tensor.role !== 'buffer'
    if (!infinite && counts.nan === 0 && !counts.atLeast) return
    const { replacement, words } = await this.#replacement(name, part, infinite)
    this.#patches.set(own.storage.id, [...(this.#patches.get(own.storage.id) ?? []), finitePatch(own, replacement)])
    const count = [
      ...(counts.nan > 0 ? [`${counts.nan} NaN`] : []),
      ...(infinite && counts.infinite > 0 ? [`${counts.infinite} infinite`] : []),
    ]
    const limit = counts.atLeast ? 'at least ' : ''
    acts.repaired.push(
      `${name}: ${limit}${count.join(' and ') || 'one'} of ${elementCount(tensor.sizes)} values replaced with ${words}`,
    )
    for (const [word, number] of [
      ['NaN', counts.nan],
      ['infinite', infinite ? counts.infinite : 0],
    ] as const) {
      if (number === 0) continue
      issuesFixed.push(`Fixed ${word} values in ${name}`)
      remainingIssues.push(`Parameter ${name} had ${word} values replaced with ${words}`)
    }
  }

  async #replacement(name: string, part: TensorRecord, infinite: boolean) {
    const { nonfinite } = this.#options
    const count = isComplex(part.dtype) ? 2 : 1
    const zero = encodeNumber(part.dtype, 0)
    const zeros = Array.from({ length: count }, () => zero.bytes)
    const zeroWords = zero.value === 0 ? 'zeros' : `${zero.value}, the smallest number of ${part.dtype}`
    if (nonfinite === 'mean') {
      const means = await this.#means(part, count)
      if (means === null)
        return { replacement: { infinite, numbers: zeros, donor: null }, words: `${zeroWords} (no value is finite)` }
      const numbers = means.map((mean) => encodeNumber(part.dtype, mean))
      const words = `the mean ${numbers.map(({ value }) => value).join(' and ')}`
      return { replacement: { infinite, numbers: numbers.map(({ bytes }) => bytes), donor: null }, words }
    }
    if (nonfinite === 'donor') {
      const donor = await this.#donorLike(name, part)
      const words =
        donor === null
          ? `${zeroWords} (the donor has no sound tensor of this name, dtype and shape)`
          : "the donor's values"
      return { replacement: { infinite, numbers: zeros, donor }, words }
    }
    return { replacement: { infinite, numbers: zeros, donor: null }, words: zeroWords }
  }

  async #donorLike(name: string, part: TensorRecord): Promise<TensorRecord | null> {
    const record = this.#donors.get(this.#donors.has(name) ? name : placeOf(name))
    const found = record instanceof TensorRecord ? rooted(record) : undefined
    const isSame = found?.dtype === part.dtype && found.sizes.join() === part.sizes.join()
    const fits = found !== undefined && isSame && isReadAlike(found, part)
    return fits && (await hasItsCrc(found.storage)) ? found : null
  }

  /** Means of the finite numbers of a tensor as they are stored, before it is conjugated or negated; null where none is finite. */
  async #means(tensor: TensorRecord, count: number): Promise<number[] | null> {
    const part = new TensorRecord({ ...tensor, conj: false, neg: false })
    const sums = new Float64Array(count)
    const counts = new Float64Array(count)
    for await (const values of readElements(this.#options.salvage.file, part, { checkCrc: false })) {
      for (const [index, value] of values.entries()) {
        if (!Number.isFinite(value)) continue
        sums[index % count] = (sums[index % count] as number) + value
        counts[index % count] = (counts[index % count] as number) + 1
      }
    }
    return counts.includes(0) ? null : Array.from(sums, (sum, index) => sum / (counts[index] as number))
  }
}

/** Whether equal bytes of the two are equal values. */
const isReadAlike = (a: TensorRecord, b: TensorRecord): boolean => a.conj === b.conj && a.neg === b.neg

/** Where a checked tensor stands in the current form: parameters are named by the state dict alone, moments as `state[0].exp_avg`. */
function placeOf(name: string): string {
  const moment = /^state\[(.*?)\]\.(.*)$/.exec(name)
  return moment === null ? `model_state_dict.${name}` : `optimizer_state_dict.state.${moment[1]}.${moment[2]}`
}

/** A tensor over a part of a storage, as a tensor over the whole of it: so tensors that share it go on sharing it. */
function rooted(tensor: TensorRecord): TensorRecord {
  const view = tensor.storage.viewOf
  if (view === null) return tensor
  const elementBytes = coveredBytes({ dtype: tensor.dtype, sizes: [1], strides: [1], storageOffset: 0 })[1]
  if (view.offsetBytes % elementBytes !== 0) return tensor
  const storageOffset = tensor.storageOffset + view.offsetBytes / elementBytes
  return rooted(new TensorRecord({ ...tensor, storage: view.storage, storageOffset }))
}

async function hasItsCrc({ source, crc32: stated }: StorageRecord): Promise<boolean> {
  if (stated === null) return true
  return ByteSource.with(source.path, async (file) => {
    let crc = 0
    for await (const chunk of file.chunks(source.offsetBytes, source.sizeBytes)) crc = crc32(chunk, crc)
    return crc === stated
  })
}
