/**
 * Finds the records of a broken zip archive of torch's kind: from the front, header by header, with the central directory as a second witness where it is left. Memory stays
 * constant whatever the size of the file; bytes of records are only read where nothing tells their size.
 */
import type { ByteSource } from './byte-source.js'
import type { Directory } from './salvage-directory.js'
import {
  descriptorAt,
  headerBytes,
  isPlausibleName,
  isSmallRecord,
  matchDescriptor,
  nameIn,
  parseDirectoryClaim,
  peek,
  readLocalClaim,
  signatureAt,
  signatures,
  type DirectoryClaim,
  type LocalClaim,
} from './salvage-headers.js'

/** One record as found. */
export interface SalvagedRecord {
  /** Name without the top folder, such as `data/0`. */
  readonly name: string
  readonly topFolder: string
  readonly headerOffset: number
  /** Where its data begins in the file. */
  readonly offsetBytes: number
  /** Bytes of its data that are there. */
  readonly sizeBytes: number
  /** Whether the file ends, or something else begins, before its data does. */
  readonly isCut: boolean
  /** Different CRC-32s that the file states for it: none where its writer computed none, two where a statement is damaged. */
  readonly statedCrcs: readonly number[]
  /** Compression method of zip. */
  readonly method: number
  /** Which archive of the file it belongs to: several copies may follow one another. */
  readonly archive: number
}

/** A stretch of the file that belongs to no record. */
export interface Gap {
  readonly offsetBytes: number
  readonly sizeBytes: number
}

/** What the walk needs to know beforehand. */
export interface WalkOptions {
  /** What is left of the central directory, by header offset. */
  directory: Directory
  /** Size of a record by its name, where something else (the pickle) tells. Asked when the walk comes to the record. */
  sizeOf: (name: string) => number | undefined
  /** Gathers what belongs to no record. */
  gaps: Gap[]
}

const deflate = 8
/** Header, name, alignment field and padding: a file with more records for its size holds something else, and is given up. */
const leastRecordBytes = 64
/** Beyond this many the file is given up too: what describes them takes a kilobyte each. */
const mostRecords = 500_000
/** Most records end soon, so that the first look for the end is short. */
const firstScanBytes = 1 << 10
const scanBytes = 1 << 20

/** Yields the records in the order of their places. The caller may read a record before it asks for the next one. */
export async function* walkRecords(source: ByteSource, options: WalkOptions): AsyncGenerator<SalvagedRecord> {
  const walk = new Walk(source, options)
  for (let record = await walk.next(); record !== null; record = await walk.next()) yield record
}

class Walk {
  #position = 0
  #topFolder: string | null = null
  #archive = 0
  #inArchive = false
  #count = 0
  #buffer = Buffer.alloc(0)
  readonly #source: ByteSource
  readonly #options: WalkOptions
  /** Header offsets of the directory, ascending. */
  readonly #known: readonly number[]
  /** How often the directory has each name; counted where names are in doubt. */
  #timesListed: ReadonlyMap<string, number> | null = null

  constructor(source: ByteSource, options: WalkOptions) {
    this.#source = source
    this.#options = options
    this.#known = [...options.directory.keys()].sort((left, right) => left - right)
  }

  async next(): Promise<SalvagedRecord | null> {
    const { sizeBytes } = this.#source
    const most = Math.min(sizeBytes / leastRecordBytes, mostRecords)
    while (this.#position < sizeBytes && this.#count <= most) {
      const claims = this.#options.directory.get(this.#position) ?? []
      const topFolder = this.#topFolder ?? topOf(claims[0]?.fullName)
      const header = await readLocalClaim(this.#source, this.#position, { topFolder })
      const claim = claims.find(({ fullName }) => fullName === header?.fullName) ?? claims[0]
      if (header !== null || claim !== undefined) {
        const record = await this.#record(header, claim)
        if (record !== null) {
          this.#count++
          return record
        }
      }
      if (!(await this.#passStructure())) await this.#passGap()
    }
    return null
  }

  /** The record whose header is at the position; moves behind it. */
  async #record(header: LocalClaim | null, claim: DirectoryClaim | undefined): Promise<SalvagedRecord | null> {
    const fullName = this.#fullName(header, claim)
    if (fullName === undefined) return null
    const headerOffset = this.#position
    const [topFolder, name] = splitName(fullName)
    const extent = await this.#extent(header, claim, name, this.#topFolder ?? topFolder)
    if (extent === null) return null
    if (isPlausibleName(fullName)) this.#topFolder ??= topFolder
    this.#inArchive = true
    this.#position = Math.max(extent.next, headerOffset + 1)
    const crcs = [extent.crc32, claim?.crc32 ?? 0, header?.isSound === true ? header.crc32 : 0]
    const methods = [claim, header].flatMap((witness) =>
      witness === null || witness === undefined ? [] : [witness.method],
    )
    return {
      name,
      topFolder,
      headerOffset,
      offsetBytes: extent.offsetBytes,
      sizeBytes: extent.sizeBytes,
      isCut: extent.isCut,
      statedCrcs: [...new Set(crcs)].filter((crc) => crc !== 0),
      // PyTorch stores, and deflates the code of TorchScript: where the witnesses disagree, nothing is deflated.
      method: methods.every((method) => method === deflate) ? deflate : 0,
      archive: this.#archive,
    }
  }

  /** Of two names that differ one is damaged: the one that another record has, or that nobody knows. */
  #fullName(header: LocalClaim | null, claim: DirectoryClaim | undefined): string | undefined {
    if (claim === undefined || header === null || claim.fullName === header.fullName)
      return claim?.fullName ?? header?.fullName
    this.#timesListed ??= countNames(this.#options.directory)
    if ((this.#timesListed.get(claim.fullName) ?? 0) > 1) return header.fullName
    if (this.#timesListed.has(header.fullName)) return claim.fullName
    const isKnown = (fullName: string) => {
      const [, name] = splitName(fullName)
      return isSmallRecord(name) || this.#options.sizeOf(name) !== undefined
    }
    return isKnown(header.fullName) && !isKnown(claim.fullName) ? header.fullName : claim.fullName
  }

  /** Where a record's data begins and ends, by as many witnesses as there are: best of all a descriptor that agrees. */
  async #extent(
    header: LocalClaim | null,
    claim: DirectoryClaim | undefined,
    name: string,
    topFolder: string,
  ): Promise<Extent | null> {
    const stored = header?.storedBytes === 0 ? undefined : header?.storedBytes
    const sizes = unique([claim?.storedBytes, stored, this.#options.sizeOf(name)])
    const byHeader = header?.dataOffsets ?? []
    const begins = unique([...byHeader, ...this.#beginsByDirectory(claim)])
    const limit = firstAfter(this.#known, this.#position) ?? Infinity
    const isBeyond = ({ begin, size }: { begin: number; size: number }): number => (begin + size > limit ? 1 : 0)
    const pairs = begins
      .flatMap((begin) => sizes.map((size) => ({ begin, size })))
      .sort((left, right) => isBeyond(left) - isBeyond(right))
    for (const { begin, size } of pairs) {
      const descriptor =
        begin + size > this.#source.sizeBytes ? null : await descriptorAt(this.#source, begin + size, size)
      if (descriptor !== null)
        return {
          offsetBytes: begin,
          sizeBytes: size,
          isCut: false,
          crc32: descriptor.crc32,
          next: begin + size + descriptor.length,
        }
    }
    for (const { begin, size } of pairs) {
      if (header !== null && !byHeader.includes(begin)) continue
      const end = await this.#boundary(begin + size, size)
      if (end !== null) return { offsetBytes: begin, sizeBytes: size, isCut: false, ...end }
    }
    const [begin] = begins
    if (begin === undefined || begin > this.#source.sizeBytes) return null
    return this.#scannedExtent(begin, topFolder, sizes)
  }

  /** An extent that nothing but the bytes themselves can tell. */
  async #scannedExtent(begin: number, topFolder: string, sizes: readonly number[]): Promise<Extent> {
    const [size] = sizes
    const found = await this.#scanForEnd(begin, topFolder, sizes)
    if (found !== null && (found.isSure || size === undefined)) return { offsetBytes: begin, ...found }
    const limit = found === null ? this.#source.sizeBytes : begin + found.sizeBytes
    const there = Math.min(size ?? Infinity, limit - begin)
    const isCut = size === undefined || there < size
    return { offsetBytes: begin, sizeBytes: there, isCut, crc32: 0, next: found?.next ?? begin + there }
  }

  /** Where the directory puts the data: right before the descriptor that is right before the next header. */
  #beginsByDirectory(claim: DirectoryClaim | undefined): number[] {
    if (claim === undefined) return []
    const next = firstAfter(this.#known, claim.headerOffset)
    const aligned = Math.ceil((claim.headerOffset + 34 + Buffer.byteLength(claim.fullName)) / 64) * 64
    if (next === undefined) return [aligned]
    const length =
      claim.storedBytes === 0 ? 0 : claim.storedBytes >= 0xffffffff || claim.headerOffset >= 0xffffffff ? 24 : 16
    return [next - length - claim.storedBytes, aligned].filter((begin) => begin > claim.headerOffset)
  }

  /** Whether a record may end at `end`, although no descriptor agrees: another header or the directory follows. Null where nothing speaks for it. */
  async #boundary(end: number, sizeBytes: number): Promise<{ crc32: number; next: number } | null> {
    for (const length of sizeBytes === 0 ? [0] : [0, 16, 24]) {
      const signature = await signatureAt(this.#source, end + length)
      const isNext = signature === signatures.local || signature === signatures.central
      if (!isNext && !this.#options.directory.has(end + length)) continue
      const descriptor = await peek(this.#source, end, 8)
      const crc32 = length === 0 || descriptor.length < 8 ? 0 : descriptor.readUInt32LE(4)
      return { crc32, next: end + length }
    }
    return null
  }

  /**
   * Reads on from where a record's data begins until its end shows: a descriptor whose size agrees (sure), or else the next header of the same archive.
   * Headers of other archives are passed over: a record may itself hold an archive.
   */
  async #scanForEnd(begin: number, topFolder: string, expected: readonly number[]) {
    const found = await this.#scan(begin, (signature, window, at, offset) => {
      const size = offset - begin
      if (signature === signatures.descriptor) {
        const match = matchDescriptor(window.subarray(at, at + 24), size)
        return match === null ? undefined : { ...match, offset }
      }
      const kind = kinds.get(signature)
      const isHeader = kind !== undefined && nameIn(window, at, kind)?.startsWith(`${topFolder}/`) === true
      return isHeader || this.#options.directory.has(offset) ? { offset } : undefined
    })
    if (found === undefined) return null
    const { offset } = found
    if ('crc32' in found)
      return { sizeBytes: offset - begin, isCut: false, isSure: true, crc32: found.crc32, next: offset + found.length }
    const length = await this.#brokenDescriptorBefore(offset, begin, expected)
    return { sizeBytes: Math.max(offset - begin - length, 0), isCut: false, isSure: false, crc32: 0, next: offset }
  }

  /** Length of the descriptor that must be before the header at `offset`: nothing agrees with it any more. */
  async #brokenDescriptorBefore(offset: number, begin: number, expected: readonly number[]): Promise<number> {
    for (const length of [16, 24]) if (expected.includes(offset - length - begin)) return length
    for (const length of [16, 24]) {
      if (offset - length < begin) continue
      const bytes = await peek(this.#source, offset - length, length)
      const sizes =
        length === 16
          ? [bytes.readUInt32LE(8), bytes.readUInt32LE(12)]
          : [bytes.readBigUInt64LE(8), bytes.readBigUInt64LE(16)].map(Number)
      if (bytes.readUInt32LE(0) === signatures.descriptor || sizes.includes(offset - length - begin)) return length
    }
    return offset - begin >= 16 ? 16 : 0
  }

  /** Moves behind a directory or end record at the position; false where there is none. An archive ends with them. */
  async #passStructure(): Promise<boolean> {
    const bytes = await peek(this.#source, this.#position, 3 * headerBytes)
    const signature = bytes.length < 4 ? -1 : bytes.readUInt32LE(0)
    const length =
      signature === signatures.central
        ? (parseDirectoryClaim(bytes, 0)?.next ?? 0)
        : signature === signatures.end64
          ? 56
          : signature === signatures.locator64
            ? 20
            : signature === signatures.end
              ? 22 + (bytes.length >= 22 ? bytes.readUInt16LE(20) : 0)
              : 0
    if (length === 0) return false
    this.#position += length
    if (signature === signatures.end && this.#inArchive) {
      this.#archive++
      this.#inArchive = false
      this.#topFolder = null
    }
    return true
  }

  /** Moves to the next thing that looks like a part of an archive. */
  async #passGap(): Promise<void> {
    const from = this.#position
    const known = firstAfter(this.#known, from)
    this.#position = known ?? this.#source.sizeBytes
    const part = await this.#scan(from + 1, (signature, window, at, offset) => {
      if (offset >= this.#position) return offset
      const kind = kinds.get(signature)
      const isPart = kind === undefined ? endSignatures.has(signature) : nameIn(window, at, kind) !== null
      return isPart ? offset : undefined
    })
    this.#position = Math.min(this.#position, part ?? this.#position)
    if (this.#position > from) this.#options.gaps.push({ offsetBytes: from, sizeBytes: this.#position - from })
  }

  /**
   * Calls `visit` for every place from `from` on with a signature of zip, with the bytes from there on as far as a header reaches, until it returns something; returns that.
   */
  async #scan<Found>(
    from: number,
    visit: (signature: number, window: Buffer, at: number, offset: number) => Found | undefined,
  ): Promise<Found | undefined> {
    const { sizeBytes } = this.#source
    let step = firstScanBytes
    for (let start = from; start < sizeBytes; start += step, step = Math.min(4 * step, scanBytes)) {
      const window = await this.#window(start, Math.min(step + headerBytes, sizeBytes - start))
      const until = Math.min(step, window.length)
      for (
        let at = nextMark(window, 0);
        at >= 0 && at < until && at + 4 <= window.length;
        at = nextMark(window, at + 1)
      ) {
        const signature = window.readUInt32LE(at)
        const found = known.has(signature) ? visit(signature, window, at, start + at) : undefined
        if (found !== undefined) return found
      }
    }
    return undefined
  }

  /** Bytes of the file; small windows come out of what the source has at hand. */
  async #window(start: number, length: number): Promise<Buffer> {
    if (length <= firstScanBytes + headerBytes) return this.#source.read(start, length)
    if (this.#buffer.length < length) this.#buffer = Buffer.alloc(length)
    const window = this.#buffer.subarray(0, length)
    await this.#source.readInto(window, start)
    return window
  }
}

/** The first of ascending numbers that is greater than `limit`. */
function firstAfter(ascending: readonly number[], limit: number): number | undefined {
  let [low, high] = [0, ascending.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((ascending[middle] as number) > limit) high = middle
    else low = middle + 1
  }
  return ascending[low]
}

function countNames(directory: WalkOptions['directory']): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const claims of directory.values())
    for (const { fullName } of claims) counts.set(fullName, (counts.get(fullName) ?? 0) + 1)
  return counts
}

const nextMark = (bytes: Buffer, from: number): number => bytes.indexOf('PK', from, 'latin1')

interface Extent {
  offsetBytes: number
  sizeBytes: number
  isCut: boolean
  crc32: number
  next: number
}

const known: ReadonlySet<number> = new Set(Object.values(signatures))
const kinds: ReadonlyMap<number, 'local' | 'central'> = new Map([
  [signatures.local, 'local'],
  [signatures.central, 'central'],
] as const)
const endSignatures: ReadonlySet<number> = new Set([signatures.end64, signatures.end])

function splitName(fullName: string): [topFolder: string, name: string] {
  const slash = fullName.indexOf('/')
  return slash < 0 ? ['', fullName] : [fullName.slice(0, slash), fullName.slice(slash + 1)]
}

const topOf = (fullName: string | undefined): string | null => fullName?.slice(0, fullName.indexOf('/')) ?? null
const unique = (values: readonly (number | undefined)[]): number[] =>
  [...new Set(values)].filter((value) => value !== undefined)
