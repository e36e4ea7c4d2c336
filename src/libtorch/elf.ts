/** Reads from a Linux library which others it needs, so that a missing one is named before the loader fails on it. */
import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The dynamic section of a library, as far as loading goes. */
export interface DynamicSection {
  /** Names such as `libcudart.so.13`. */
  needed: string[]
  /** Search folders of the library itself, `$ORIGIN` not yet replaced. */
  searchPath: string[]
}

const typeDynamic = 2
const typeLoad = 1
const tagNeeded = 1n
const tagStringTable = 5n
const tagRpath = 15n
const tagRunpath = 29n

/** Reads a 64-bit little-endian ELF file. Throws an Error for any other file. */
export function readDynamicSection(path: string): DynamicSection {
  const file = openSync(path, 'r')
  try {
    const header = read(file, 0, 64)
    if (header.toString('latin1', 0, 4) !== '\x7fELF' || header[4] !== 2 || header[5] !== 1) {
      throw new Error(`${path} is not a 64-bit little-endian ELF file`)
    }
    const segments = readSegments(file, header)
    const dynamic = segments.find((segment) => segment.type === typeDynamic)
    if (dynamic === undefined) return { needed: [], searchPath: [] }
    const entries = readDynamic(read(file, dynamic.offset, dynamic.sizeBytes))
    const table = entries.find((entry) => entry.tag === tagStringTable)
    if (table === undefined) return { needed: [], searchPath: [] }
    const strings = fileOffset(segments, Number(table.value))
    const text = (tag: bigint) =>
      entries.filter((entry) => entry.tag === tag).map((entry) => readString(file, strings + Number(entry.value)))
    return {
      needed: text(tagNeeded),
      searchPath: [...text(tagRpath), ...text(tagRunpath)].flatMap((paths) => paths.split(':')),
    }
  } finally {
    closeSync(file)
  }
}

/**
 * NVIDIA libraries that `library` needs and that its own search path does not hold. Others (libc, libstdc++) come with the system; the
 * folders in `alsoIn` stand for the loader's.
 */
export function missingNvidiaLibraries(library: string, alsoIn: readonly string[] = []): string[] {
  const { needed, searchPath } = readDynamicSection(library)
  const folders = [
    ...searchPath.map((folder) => folder.replaceAll(/\$ORIGIN|\$\{ORIGIN\}/g, dirname(library))),
    dirname(library),
    ...alsoIn,
  ]
  const held = (name: string) =>
    folders.some((folder) => statSync(join(folder, name), { throwIfNoEntry: false }) !== undefined)
  return needed.filter((name) => /^lib(cu|nv|nccl)/.test(name) && !held(name))
}

interface Segment {
  type: number
  offset: number
  address: number
  sizeBytes: number
}

function readSegments(file: number, header: Buffer): Segment[] {
  const entryBytes = header.readUInt16LE(54)
  const count = header.readUInt16LE(56)
  const table = read(file, Number(header.readBigUInt64LE(32)), entryBytes * count)
  return Array.from({ length: count }, (_, index) => {
    const at = index * entryBytes
    return {
      type: table.readUInt32LE(at),
      offset: Number(table.readBigUInt64LE(at + 8)),
      address: Number(table.readBigUInt64LE(at + 16)),
      sizeBytes: Number(table.readBigUInt64LE(at + 32)),
    }
  })
}

function readDynamic(bytes: Buffer): { tag: bigint; value: bigint }[] {
  const entries = []
  for (let at = 0; at + 16 <= bytes.length; at += 16) {
    const tag = bytes.readBigUInt64LE(at)
    if (tag === 0n) break
    entries.push({ tag, value: bytes.readBigUInt64LE(at + 8) })
  }
  return entries
}

function fileOffset(segments: readonly Segment[], address: number): number {
  const holder = segments.find(
    (segment) =>
      segment.type === typeLoad && address >= segment.address && address < segment.address + segment.sizeBytes,
  )
  if (holder === undefined) throw new Error(`no loaded segment holds address ${address}`)
  return address - holder.address + holder.offset
}

function readString(file: number, position: number): string {
  const bytes = Buffer.alloc(4096)
  const length = readSync(file, bytes, 0, bytes.length, position)
  const end = bytes.indexOf(0)
  if (end < 0 || end >= length) throw new Error('a string of the dynamic section does not end')
  return bytes.toString('utf8', 0, end)
}

function read(file: number, position: number, sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes)
  const length = readSync(file, bytes, 0, sizeBytes, position)
  if (length !== sizeBytes)
    throw new Error(`the file ends at byte ${position + length}, expected ${sizeBytes} bytes at ${position}`)
  return bytes
}
