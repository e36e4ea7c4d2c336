/** Finds what is left of a zip file's central directory, wherever it is and whatever is broken around it. */
import type { ByteSource } from './byte-source.js'
import { parseDirectoryClaim, peek, signatures, type DirectoryClaim } from './salvage-headers.js'

/** How much of the file's end is searched for directory entries when the end records do not lead to them: 100,000 records. */
const searchedBytes = 16 << 20
/** A directory larger than this is left aside: 2 million records. */
const maxDirectoryBytes = 256 << 20

/** Claims of the last directory in the file by where their headers are; empty where none is left. */
export async function findDirectory(source: ByteSource): Promise<ReadonlyMap<number, DirectoryClaim>> {
  const place = await placeByEndRecords(source)
  if (place !== null) {
    const bytes = Buffer.from(await peek(source, place.offset, place.sizeBytes))
    const claims = claimsIn(bytes, place.shift)
    if (claims.size > 0) return claims
  }
  const length = Math.min(searchedBytes, source.sizeBytes)
  const tail = Buffer.from(await peek(source, source.sizeBytes - length, length))
  return claimsIn(tail, 0)
}

/** Every entry in the bytes, sound ones after broken ones too. `shift` is how far the whole archive was moved in the file. */
function claimsIn(bytes: Buffer, shift: number): Map<number, DirectoryClaim> {
  const claims = new Map<number, DirectoryClaim>()
  const mark = Buffer.from('PK\x01\x02', 'latin1')
  for (let at = bytes.indexOf(mark); at >= 0;) {
    const parsed = parseDirectoryClaim(bytes, at)
    if (parsed === null) {
      at = bytes.indexOf(mark, at + 1)
      continue
    }
    const headerOffset = parsed.claim.headerOffset + shift
    claims.set(headerOffset, { ...parsed.claim, headerOffset })
    at = bytes.indexOf(mark, parsed.next)
  }
  return claims
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
