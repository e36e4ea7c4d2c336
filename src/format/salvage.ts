/** Reads what is left of a broken file: the value as far as the pickle tells it, and for each storage how many of its bytes are there. Constant memory, whatever the size of the file. */
import { ByteSource } from './byte-source.js'
import { TorchkeepError } from './errors.js'
import { formatFinding, type Finding, type FormatFindingId } from './findings.js'
import { readLegacy } from './legacy.js'
import { readTorchFile } from './read.js'
import { salvageSafetensors } from './salvage-safetensors.js'
import { salvageTorchZip } from './salvage-torch-zip.js'
import { readSettings, type TorchFile } from './torch-file.js'
import type { StorageRecord } from './tensor-record.js'

/** What told names, shapes and dtypes of the tensors. */
export type PickleState =
  /** The pickle (or header) is as it was written. */
  | 'whole'
  /** One byte of it had changed; its CRC-32 says which one and what it was. */
  | 'corrected'
  /** Bytes of it have changed, nobody knows which, yet it can be read: what it says may be wrong. */
  | 'changed'
  /** It breaks off: what was complete before is there. */
  | 'partial'
  /** There is none, or nothing of it can be read. */
  | 'unreadable'

/** What was found in a file, broken or not. */
export interface Salvage {
  /**
   * The file as far as it could be read. Its storages have the sizes that the pickle says, whether or not all bytes are there. Its value is undefined where the pickle is unreadable.
   */
  readonly file: TorchFile
  /** Whether the file is as it should be, as far as its structure goes: then only its bytes may be damaged. */
  readonly isSound: boolean
  readonly pickle: PickleState
  /** What was corrected in the pickle, or is wrong with it; null where nothing is to be said. */
  readonly pickleNote: string | null
  /** Storages whose bytes are not all there, by id: how many are, from the first on. */
  readonly incomplete: ReadonlyMap<string, number>
  /** Bytes of data that no tensor lies in: storages without a pickle that tells what they are, as large as what is there. Those that are cut are among the incomplete ones. */
  readonly unclaimed: readonly StorageRecord[]
  /** What is broken. */
  readonly damages: readonly Finding<FormatFindingId>[]
}

/** How {@link salvageFile} reads. */
export interface SalvageOptions {
  /** Largest pickle that is read into memory, in bytes. 256 MiB unless told. */
  maxPickleBytes?: number
}

/**
 * Reads a file that may be broken. What could run code is described, never run.
 * @throws TorchkeepError ERR_CHECKPOINT_MISSING, ERR_CHECKPOINT_UNREADABLE for reasons outside the file. Whatever is wrong with the file itself is in the result.
 */
export async function salvageFile(path: string, options: SalvageOptions = {}): Promise<Salvage> {
  const maxPickleBytes = options.maxPickleBytes ?? 256 << 20
  try {
    const file = await readTorchFile(path, { unsafe: 'describe', keepFloats: true, maxPickleBytes })
    return { file, isSound: true, pickle: 'whole', pickleNote: null, incomplete: new Map(), unclaimed: [], damages: [] }
  } catch (error) {
    if (!(error instanceof TorchkeepError)) throw error
    if (error.code === 'ERR_CHECKPOINT_MISSING' || error.code === 'ERR_CHECKPOINT_UNREADABLE') throw error
    return ByteSource.with(path, async (source) => {
      const other = (await salvageSafetensors(source, error)) ?? (await salvageLegacy(source, error, maxPickleBytes))
      return other ?? (await salvageTorchZip(source, error, maxPickleBytes))
    })
  }
}

/** A stream of pickles whose storages were cut: the pickles come first. Null for other files, and where a pickle is broken. */
async function salvageLegacy(
  source: ByteSource,
  failure: TorchkeepError,
  maxPickleBytes: number,
): Promise<Salvage | null> {
  if (source.sizeBytes < 2 || (await source.read(0, 1))[0] !== 0x80) return null
  const incomplete = new Map<string, number>()
  const damages = [formatFinding(failure.finding ?? 'legacy.structure', failure.subject, failure.message)]
  const settings = readSettings({ unsafe: 'describe', keepFloats: true, maxPickleBytes })
  try {
    const file = await readLegacy(source, settings, { incomplete, findings: damages })
    return { file, isSound: false, pickle: 'whole', pickleNote: null, incomplete, unclaimed: [], damages }
  } catch (error) {
    if (error instanceof TorchkeepError) return null
    throw error
  }
}
