/** Tells by its first bytes what a file is: which container to read, or which other format to name in the refusal. */
import type { ByteSource } from './byte-source.js'
import { fault } from './fault.js'
import type { FormatFindingId } from './findings.js'

/** What the first bytes of a file that is read can be. */
export type FileFormat = 'zip' | 'legacy' | 'tar' | 'safetensors' | 'json'

/** The pickle of `torch.serialization.MAGIC_NUMBER`, by what it starts with in latin-1: protocols 2 and 3, 4 and 5 (in a FRAME of 13 bytes), 0 and 1. */
const legacyMagics: readonly RegExp[] = [
  /^\x80[\x02\x03]\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\./,
  /^\x80[\x04\x05]\x95\x0d\0{7}\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\./,
  /^L119547037146038801333356L?\n\./,
]

/** A safetensors header may have this many bytes. */
export const maxSafetensorsHeaderBytes = 100_000_000

/** How much of the head is looked at, and kept in memory for the reader: of small checkpoints that is the whole pickle. */
const headBytes = 16 << 10

/**
 * The format of a file that is read.
 * @throws TorchkeepError ERR_CHECKPOINT_UNSUPPORTED for formats that are known but not read, ERR_CHECKPOINT_CORRUPT for anything else; both name what the file is.
 */
export async function recognize(source: ByteSource): Promise<FileFormat> {
  if (source.sizeBytes === 0) fault(source.path, { finding: 'file.empty' }, 'the file is empty')
  const head = await source.read(0, Math.min(512, source.sizeBytes), Math.min(headBytes, source.sizeBytes))
  const format = readable(head)
  if (format !== undefined) return format
  const foreign = foreignFormat(head)
  const finding: FormatFindingId = 'file.unrecognized'
  if (foreign !== undefined) {
    const { name, suggestions } = foreign
    const found = { finding, code: 'ERR_CHECKPOINT_UNSUPPORTED', suggestions: suggestions ?? [] } as const
    fault(source.path, found, `this is ${name}, no checkpoint of PyTorch`)
  }
  const start = head.subarray(0, 8).toString('hex')
  return fault(source.path, { finding }, `this is no file of PyTorch: it starts with the bytes ${start}`)
}

function readable(head: Buffer): FileFormat | undefined {
  if (startsWith(head, 'PK\x03\x04')) return 'zip'
  const start = head.toString('latin1', 0, 32)
  if (legacyMagics.some((magic) => magic.test(start))) return 'legacy'
  if (head.toString('latin1', 257, 262) === 'ustar' || isOldTar(head)) return 'tar'
  if (isSafetensors(head)) return 'safetensors'
  return /^\s*\{/.test(head.toString('latin1', 0, 64)) ? 'json' : undefined
}

/** A length and a JSON object. Readers accept white space before it. */
function isSafetensors(head: Buffer): boolean {
  if (head.length < 9 || !/^\s*\{/.test(head.toString('latin1', 8, 72))) return false
  // A longer header is still named as what it is: text files have no zeros in their fourth to eighth byte.
  return head.readBigUInt64LE(0) <= BigInt(maxSafetensorsHeaderBytes) || head.readUInt32LE(4) < 256
}

/** Tar files from before `ustar`: a name, octal numbers, and their checksum. */
function isOldTar(head: Buffer): boolean {
  if (head.length < 512 || head[0] === 0) return false
  const checksum = /^[ 0]*([0-7]+)[ \0]*$/.exec(head.toString('latin1', 148, 156))?.[1]
  return checksum !== undefined && parseInt(checksum, 8) === tarChecksum(head)
}

/** Sum of a tar header's bytes with its checksum field as blanks. */
export function tarChecksum(header: Buffer): number {
  let sum = 0
  for (let at = 0; at < 512; at++) sum += at >= 148 && at < 156 ? 0x20 : (header[at] as number)
  return sum
}

const startsWith = (head: Buffer, start: string) => head.toString('latin1', 0, start.length) === start

/** First bytes (latin-1) of formats that are taken for checkpoints. */
const signatures: readonly (readonly [start: string, name: string])[] = [
  ['\x1f\x8b', 'a gzip-compressed file'],
  ['BZh', 'a bzip2-compressed file'],
  ['\xfd7zXZ\0', 'an xz-compressed file'],
  ['\x28\xb5\x2f\xfd', 'a zstd-compressed file'],
  ['7z\xbc\xaf\x27\x1c', 'a 7-zip archive'],
  ['Rar!\x1a', 'a RAR archive'],
  ['PK\x05\x06', 'an empty zip archive'],
  ['\x89HDF\r\n\x1a\n', 'an HDF5 file (as Keras writes)'],
  ['\x93NUMPY', 'a numpy array (.npy)'],
  ['GGUF', 'a GGUF file (as llama.cpp reads)'],
  ['\x7fELF', 'a program (ELF)'],
  ['%PDF-', 'a PDF document'],
]

function foreignFormat(head: Buffer): { name: string; suggestions?: string[] } | undefined {
  const known = signatures.find(([start]) => startsWith(head, start))
  if (known !== undefined) return { name: known[1] }
  const text = head.toString('latin1')
  if (text.startsWith('version https://git-lfs.github.com/spec/')) {
    const suggestions = ['fetch the real file with: git lfs pull']
    return { name: 'a pointer of Git LFS in place of the file', suggestions }
  }
  const start = text.trimStart().slice(0, 14).toLowerCase()
  if (start.startsWith('<!doctype html') || start.startsWith('<html'))
    return {
      name: 'an HTML page',
      suggestions: ['a download probably failed: look at the page, then fetch the file again'],
    }
  if (start.startsWith('<?xml'))
    return { name: 'an XML text', suggestions: ['a download probably failed: look at the text'] }
  if (head[0] === 0x80 && (head[1] as number) <= 5) return { name: 'a bare pickle, as pickle.dump writes' }
  return undefined
}

/** Refuses zip archives that are known to be something else. */
export function refuseForeignZip(path: string, names: readonly string[]): void {
  const foreign = (what: string) => {
    const found = names.slice(0, 5).join(', ')
    fault(
      path,
      { finding: 'file.unrecognized', code: 'ERR_CHECKPOINT_UNSUPPORTED' },
      `this is ${what} (found ${found})`,
    )
  }
  if (names.length > 0 && names.every((name) => name.endsWith('.npy')))
    foreign('a zip archive of numpy arrays (.npz), no checkpoint of PyTorch')
  if (names.includes('serialized_exported_program.json'))
    foreign('an archive of torch.export from before PyTorch 2.8, which is not read')
  if (names.includes('config.json') && names.includes('model.weights.h5')) foreign('a model of Keras (.keras)')
}
