/** What reading a file gives, whatever its container, and how it is read. */
import type { Finding, FormatFindingId } from './findings.js'
import { readPickle, type ReadPickleOptions } from './pickle.js'
import type { PickleReader } from './pickle-read.js'
import type { FileIdentity, StorageRecord } from './tensor-record.js'
import type { ZipRecord } from './zip-read.js'

/** How `readTorchFile` reads. */
export interface ReadOptions {
  /**
   * Whether a Python float of integral value (`1.0`) becomes a `PyFloat`, so that writing the value again gives floats. False unless told: such a float is then
   * the number 1.
   */
  keepFloats?: boolean
  /** Largest pickle (or header, or JSON text) that is read into memory, in bytes. 256 MiB unless told: that holds about two million tensors. */
  maxPickleBytes?: number
  /**
   * What a call that could run code becomes (nothing is ever called): `refuse` throws ERR_CHECKPOINT_UNSAFE, `describe` makes it an `OpaqueObject` and a finding, for tools that only look.
   * `refuse` unless told. Objects of unknown classes become `OpaqueObject`s either way.
   */
  unsafe?: 'refuse' | 'describe'
  /**
   * How much of the container is checked. `full`, unless told, compares every local header and descriptor of a zip with its directory and opens every file of a sharded or distributed checkpoint.
   * `directory` reads head and tail only and believes the directory: names, shapes and values are there, but nothing says where the bytes of tensors are (`offsetBytes` is NaN), and reading them is refused.
   * Its few reads block the thread, one at a time, which makes lists of many files several times quicker.
   */
  structure?: 'full' | 'directory'
}

/** The formats that PyTorch and its companions write. */
export type Container =
  /** `torch.save` since 1.6. */
  | 'torch_zip'
  /** `torch.save` from 0.1.10 to 1.5: a sequence of pickles. */
  | 'torch_legacy'
  /** `torch.save` before 0.1.10. */
  | 'torch_tar'
  /** `torch.jit.save`, and C++ `torch::save`. */
  | 'torchscript'
  /** C++ `torch::pickle_save`. */
  | 'pickle_save'
  /** `torch.export.save`. */
  | 'pt2'
  | 'safetensors'
  /** `*.safetensors.index.json` (or `*.bin.index.json`) and its shards. */
  | 'sharded'
  /** A folder of `torch.distributed.checkpoint`. */
  | 'distributed'

/** A file (or folder) that was read. Nothing stays open. */
export interface TorchFile {
  readonly path: string
  readonly container: Container
  /** What the file looked like when it was read; bytes are refused once it has changed. Of several files (shards), the one that names the others. */
  readonly identity: FileIdentity
  /** Facts of the container besides the tensors, as plain JSON values: `__metadata__` of safetensors, the graph of a `.pt2`, the code files of a TorchScript archive, the shards. */
  readonly details: Readonly<Record<string, unknown>>
  /** Whether changed bytes would be noticed: everywhere, in some records only, nowhere. */
  readonly protection: 'crc32' | 'partial' | 'none'
  /** What `torch.load` would give, with descriptions in place of tensors; see `values.ts` for the other types. */
  readonly value: unknown
  /** Storages that the value refers to, in the order of first use. */
  readonly storages: readonly StorageRecord[]
  /** Of a zip archive; empty for other containers. */
  readonly records: ReadonlyMap<string, ZipRecord>
  /** Of a zip archive; empty for other containers. */
  readonly topFolder: string
  /** Classes and functions that the pickle mentions, by full name. */
  readonly globals: readonly string[]
  /** What is odd; with `unsafe: 'describe'` also what is unsafe. */
  readonly findings: readonly Finding<FormatFindingId>[]
}

/** {@link ReadOptions} with nothing left open. */
export type ReadSettings = Required<ReadOptions>

/** The defaults of {@link ReadOptions}. */
export function readSettings(options: ReadOptions): ReadSettings {
  return {
    keepFloats: options.keepFloats ?? false,
    maxPickleBytes: options.maxPickleBytes ?? 256 << 20,
    unsafe: options.unsafe ?? 'refuse',
    structure: options.structure ?? 'full',
  }
}

/** Reads the pickles of one file: gathers their globals and findings. */
export class PickleSession {
  readonly globals = new Set<string>()
  readonly findings: Finding<FormatFindingId>[] = []
  readonly #added = new Set<string>()
  readonly #path: string
  readonly #settings: ReadSettings

  constructor(path: string, settings: ReadSettings) {
    this.#path = path
    this.#settings = settings
  }

  /** Takes over what was gathered of a part of the file; what is said of many parts alike is said once. */
  add({ globals, findings }: PickleSession): void {
    for (const name of globals) this.globals.add(name)
    for (const finding of findings) {
      const key = `${finding.id}\n${finding.subject ?? ''}\n${finding.message}`
      if (!this.#added.has(key)) this.findings.push(finding)
      this.#added.add(key)
    }
  }

  /** @param name of the record or part that the pickle is. */
  read(
    bytes: Buffer,
    name: string,
    persistentLoad: ReadPickleOptions['persistentLoad'],
    more: Pick<ReadPickleOptions, 'expected' | 'forTorchLoad'> = {},
  ): unknown {
    const { keepFloats, unsafe } = this.#settings
    const { globals, findings } = this
    const label = `${this.#path}, ${name}`
    return readPickle(bytes, { label, persistentLoad, unsafe, keepFloats, globals, findings, ...more }).value
  }
}

/** For pickles that refer to nothing outside of them. */
export function noPersistentIds(_id: unknown, reader: PickleReader): never {
  return reader.fail('a persistent id where there are none')
}

/** How far the CRC-32s of the records protect the file. */
export function protectionOf(records: Iterable<ZipRecord>): 'crc32' | 'partial' | 'none' {
  let [covered, bare] = [0, 0]
  for (const { crc32, sizeBytes } of records) {
    if (crc32 === null) bare++
    else if (sizeBytes > 0) covered++
  }
  return bare === 0 ? 'crc32' : covered > 0 ? 'partial' : 'none'
}
