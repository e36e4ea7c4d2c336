/** Finds what is left of a zip file's central directory, wherever it is and whatever is broken around it. */
import type { ByteSource } from './byte-source.js'
import { parseDirectoryClaim, peek, readLocalClaim, signatures, type DirectoryClaim } from './salvage-headers.js'

/** How much of the file's end is searched for directory entries when the end records do not lead to them: 100,000 records. */
const searchedBytes = 16 << 20
/** A directory larger than this is left aside: 2 million records. */
const maxDirectoryBytes = 256 << 20

/** What a directory says, by where the headers are. A damaged entry may say the place of another one's header. */
export type Directory = ReadonlyMap<number, readonly DirectoryClaim[]>

/** Claims of the last directory in the file; empty where none is left. */
export async function findDirectory(source: ByteSource): Promise<Directory> {
  const place = await placeByEndRecords(source)
  if (place !== null) {
    const claims = claimsIn(Buffer.from(await peek(source, place.offset, place.sizeBytes)))
    if (claims.length > 0) return placed(claims, await shiftOf(source, claims, place.shift))
  }
  const length = Math.min(searchedBytes, source.sizeBytes)
  return placed(claimsIn(Buffer.from(await peek(source, source.sizeBytes - length, length))), 0)
}

/** Every entry in the bytes, sound ones after broken ones too. */
function claimsIn(bytes: Buffer): DirectoryClaim[] {
  const claims: DirectoryClaim[] = []
  const mark = Buffer.from('PK\x01\x02', 'latin1')
  for (let at = bytes.indexOf(mark); at >= 0;) {
    const parsed = parseDirectoryClaim(bytes, at)
    if (parsed !== null) claims.push(parsed.claim)
    at = bytes.indexOf(mark, parsed?.next ?? at + 1)
  }
  return claims
}

/** How many headers are looked at to tell whether an archive was moved. */
const sampledHeaders = 16

/** How far the archive was moved in the file: what the end records imply, if more headers are there than without it. */
async function shiftOf(source: ByteSource, claims: readonly DirectoryClaim[], implied: number): Promise<number> {
  if (implied === 0) return 0
  const headersAt = async (shift: number): Promise<number> => {
    let count = 0
    for (const { headerOffset, fullName } of claims.slice(0, sampledHeaders)) {
      const header = headerOffset + shift < 0 ? null : await readLocalClaim(source, headerOffset + shift, null)
      if (header?.fullName === fullName) count++
    }
    return count
  }
  return (await headersAt(implied)) > (await headersAt(0)) ? implied : 0
}

function placed(claims: readonly DirectoryClaim[], shift: number): Directory {
  const byPlace = new Map<number, DirectoryClaim[]>()
  for (const claim of claims) {
    const headerOffset = claim.headerOffset + shift
    byPlace.set(headerOffset, [...(byPlace.get(headerOffset) ?? []), { ...claim, headerOffset }])
  }
  return byPlace
}

/** Where the end records say that the directory is, with the shift of an archive that has other bytes before it. */
async function placeByEndRecords(
  source: ByteSource,
): Promise<{ offset: number; sizeBytes: number; shift: number } | null> {
  const length = Math.min(source.sizeBytes, 22 + 0xffff)
  const tailOffset = source.sizeBytes - length
  const tail = Buffer.from(await peek(source, tailOffset, length))
  const at = lastSignature(tail, signatures.end, 22)
  if (at < 0) return null
  let [sizeBytes, claimed, endsAt] = [tail.readUInt32LE(at + 12), tail.readUInt32LE(at + 16), tailOffset + at]
  const wide = lastSignature(tail.subarray(0, at), signatures.end64, 56)
  if (wide >= 0) {
    sizeBytes = Number(tail.readBigUInt64LE(wide + 40))
    claimed = Number(tail.readBigUInt64LE(wide + 48))
    endsAt = tailOffset + wide
  }
  const offset = endsAt - sizeBytes
  if (sizeBytes === 0 || sizeBytes > maxDirectoryBytes || offset < 0) return null
  return { offset, sizeBytes, shift: offset - claimed }
}

function lastSignature(bytes: Buffer, signature: number, room: number): number {
  const mark = Buffer.alloc(4)
  mark.writeUInt32LE(signature)
  const at = bytes.lastIndexOf(mark)
  return at >= 0 && at + room <= bytes.length ? at : -1
}
