/** Reads the `data.pkl` of a broken archive: corrected where its CRC-32 tells how, else as far as it goes. */
import { crc32 } from 'node:zlib'
import type { ByteSource } from './byte-source.js'
import { correctByte } from './crc-correct.js'
import { TorchkeepError } from './errors.js'
import { formatFinding, type Finding, type FormatFindingId } from './findings.js'
import { readPickle } from './pickle.js'
import type { PickleState } from './salvage.js'
import { completedValue } from './salvage-pickle.js'
import type { SalvagedRecord } from './salvage-zip.js'
import { storageId, StorageTable } from './storage-table.js'
import { StorageRecord } from './tensor-record.js'

/** The bytes of a pickle and what they are worth. */
export interface PickleBytes {
  readonly bytes: Buffer
  readonly state: Exclude<PickleState, 'partial' | 'unreadable'>
  /** What was corrected or is wrong; null where nothing is. */
  readonly note: string | null
}

/** Reads the record. Where its CRC-32 does not match and one changed byte explains that, the byte is put right, if the pickle can then be read to its end. */
export async function readPickleRecord(source: ByteSource, record: SalvagedRecord): Promise<PickleBytes> {
  const bytes = Buffer.from(await source.read(record.offsetBytes, record.sizeBytes))
  const { statedCrcs, isCut, name } = record
  if (isCut || statedCrcs.length === 0 || statedCrcs.includes(crc32(bytes)))
    return { bytes, state: 'whole', note: null }
  for (const stated of statedCrcs) {
    const correction = correctByte(bytes, stated)
    if (correction === null) continue
    const { position, found, expected } = correction
    const corrected = Buffer.from(bytes)
    corrected[position] = expected
    if (!isReadable(source.path, corrected)) continue
    const note = `record ${name}: byte ${position} was ${hex(found)}, its CRC-32 says ${hex(expected)}`
    return { bytes: corrected, state: 'corrected', note }
  }
  return { bytes, state: 'changed', note: `record ${name}: its bytes were changed, what it says may be wrong` }
}

const hex = (byte: number): string => `0x${byte.toString(16).padStart(2, '0')}`

/** A table of storages whose bytes do not matter. */
function placeholders(): StorageTable {
  return new StorageTable(({ key, dtype, sizeBytes, location }) => {
    const source = { path: '', offsetBytes: 0, sizeBytes }
    return new StorageRecord({ id: key, recordName: key, dtype, sizeBytes, location, source })
  })
}

function isReadable(path: string, bytes: Buffer): boolean {
  return parse(path, bytes, { table: placeholders(), findings: [], globals: new Set() }).failure === null
}

/** Sizes in bytes of the storages that a pickle names, by key, as far as it can be read. */
export function claimedSizes(path: string, bytes: Buffer): Map<string, number> {
  const table = placeholders()
  parse(path, bytes, { table, findings: [], globals: new Set() })
  return new Map(table.inOrder.map(({ id, sizeBytes }) => [id, sizeBytes]))
}

interface ParseTarget {
  table: StorageTable
  findings: Finding<FormatFindingId>[]
  globals: Set<string>
}

function parse(
  path: string,
  bytes: Buffer,
  { table, findings, globals }: ParseTarget,
): { value: unknown; failure: TorchkeepError | null } {
  let failure: TorchkeepError | null = null
  try {
    const { value } = readPickle(bytes, {
      label: `${path}, record data.pkl`,
      unsafe: 'describe',
      keepFloats: true,
      persistentLoad: (id, reader) => table.get(storageId(id, 5, reader), reader),
      globals,
      findings,
      salvage: (frames, error) => {
        failure = error
        return completedValue(frames)
      },
    })
    return { value, failure }
  } catch (error) {
    if (!(error instanceof TorchkeepError)) throw error
    return { value: undefined, failure: error }
  }
}

/** What a pickle gives, as far as it goes. */
export function parsePickle(
  { bytes, state, note }: PickleBytes,
  { path, ...target }: ParseTarget & { path: string },
): { value: unknown; state: PickleState; note: string | null; damages: Finding<FormatFindingId>[] } {
  const { value, failure } = parse(path, bytes, target)
  const damages: Finding<FormatFindingId>[] = []
  if (note !== null) damages.push(formatFinding('record.crc', 'data.pkl', note))
  if (failure !== null) damages.push(formatFinding(failure.finding ?? 'pickle.malformed', 'data.pkl', failure.message))
  return { value, state: failure === null ? state : value === undefined ? 'unreadable' : 'partial', note, damages }
}
