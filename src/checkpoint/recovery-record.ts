/** What a recovery did: gathered while it works, written into the new file as `metadata.recovery`, read from there ever after. */
import { readFileSync } from 'node:fs'
import { OrderedDict } from '../format/values.js'

/** The acts of a recovery, one sentence each that begins with the name of what it is about. */
export interface RecoveryActs {
  /** Kept although its bytes are known to be changed. */
  readonly damaged: string[]
  /** No longer there. */
  readonly lost: string[]
  /** Changed, and how. */
  readonly repaired: string[]
  /** Added, and from where. */
  readonly filled: string[]
  /** What nobody can tell. */
  readonly unknown: string[]
}

/** `metadata.recovery` of a file. */
export interface RecoveryRecord extends Readonly<RecoveryActs> {
  /** Name of the damaged file. */
  readonly source: string
  /** SHA-256 of the damaged file, in hex. */
  readonly sourceSha256: string
  /** ISO 8601, UTC. */
  readonly date: string
  readonly torchkeepVersion: string
}

const acts = ['damaged', 'lost', 'repaired', 'filled', 'unknown'] as const

/** Acts with nothing done yet. */
export const noActs = (): RecoveryActs => ({ damaged: [], lost: [], repaired: [], filled: [], unknown: [] })

/** Whether nothing was done to what the file holds. */
export const isNothing = ({ damaged, lost, repaired, filled }: RecoveryActs): boolean =>
  [damaged, lost, repaired, filled].every(({ length }) => length === 0)

export const { version: torchkeepVersion } = JSON.parse(
  readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'),
) as { version: string }

/** Where the record stands in an OrderedDict of bare tensors, which has no `metadata`: among its Python attributes, as PyTorch's own `_metadata`. */
const attribute = '_torchkeep_recovery'

/** Puts the record where readers look for it. A bare state dict stays one. */
export function attachRecord(value: Map<unknown, unknown>, record: RecoveryRecord, isBareStateDict: boolean): void {
  const encoded = new Map<string, unknown>([
    ['source', record.source],
    ['source_sha256', record.sourceSha256],
    ['date', record.date],
    ['torchkeep_version', record.torchkeepVersion],
    ...acts.map((act): [string, unknown] => [act, [...record[act]]]),
  ])
  if (isBareStateDict && value instanceof OrderedDict) {
    value.attributes = new Map([...(value.attributes ?? []), [attribute, encoded]])
    return
  }
  const before = value.get('metadata')
  value.set('metadata', new Map([...(before instanceof Map ? before : []), ['recovery', encoded]]))
}

/** `metadata.recovery` of a value as it was read or normalized; null where the file was not recovered. */
export function recoveryDictOf(value: unknown): ReadonlyMap<unknown, unknown> | null {
  if (!(value instanceof Map)) return null
  const metadata: unknown = value.get('metadata')
  const found: unknown[] = [metadata instanceof Map ? metadata.get('recovery') : undefined]
  for (const dict of [value, value.get('model_state_dict')] as unknown[])
    if (dict instanceof OrderedDict) found.push(dict.attributes?.get(attribute))
  return found.find((item): item is ReadonlyMap<unknown, unknown> => item instanceof Map) ?? null
}

/** What a recovery wrote about itself into a file; null where the file was not recovered. Texts that are missing are empty. */
export function recoveryRecordOf(value: unknown): RecoveryRecord | null {
  const dict = recoveryDictOf(value)
  if (dict === null) return null
  const text = (key: string): string => (typeof dict.get(key) === 'string' ? (dict.get(key) as string) : '')
  const texts = (key: string): string[] => {
    const items: unknown = dict.get(key)
    return Array.isArray(items) ? items.filter((item) => typeof item === 'string') : []
  }
  return {
    source: text('source'),
    sourceSha256: text('source_sha256'),
    date: text('date'),
    torchkeepVersion: text('torchkeep_version'),
    damaged: texts('damaged'),
    lost: texts('lost'),
    repaired: texts('repaired'),
    filled: texts('filled'),
    unknown: texts('unknown'),
  }
}
