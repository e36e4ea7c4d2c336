/** Of the records found in a broken file, those that belong together: several archives may follow one another, and what one of them lost another may have. */
import { crc32 } from 'node:zlib'
import type { ByteSource } from './byte-source.js'
import { formatFinding, type Finding, type FormatFindingId } from './findings.js'
import type { SalvagedRecord } from './salvage-zip.js'

/** The records of one archive. */
export interface ChosenRecords {
  /** By name, in the order of their places. */
  readonly records: ReadonlyMap<string, SalvagedRecord>
  readonly findings: readonly Finding<FormatFindingId>[]
}

/**
 * Chooses the archive of which most bytes are there (of equals the last, as Python reads that one), and takes records that it lost from the others where name, size and CRC-32 leave no doubt.
 * A record whose statements of the CRC-32 differ keeps the one that its bytes have.
 */
export async function chooseRecords(source: ByteSource, found: readonly SalvagedRecord[]): Promise<ChosenRecords> {
  const archives = new Map<number, SalvagedRecord[]>()
  for (const record of found) {
    const records = archives.get(record.archive)
    if (records === undefined) archives.set(record.archive, [record])
    else records.push(record)
  }
  const several = archives.size > 1
  const judged: Judged[][] = []
  for (const records of archives.values()) {
    const group: Judged[] = []
    for (const record of records) group.push(await judge(source, record, several))
    judged.push(group)
  }
  const best = judged.reduce<Judged[]>((chosen, group) => (worth(group) >= worth(chosen) ? group : chosen), [])
  const records = new Map<string, SalvagedRecord>()
  const findings: Finding<FormatFindingId>[] = []
  for (const record of withoutTwins(best.map((judgement) => judgement.record))) {
    if (record.name.includes(twinMark))
      findings.push(
        formatFinding('zip.duplicate_record', record.name, `record ${record.name.split(twinMark)[0]} is there twice`),
      )
    records.set(record.name, record)
  }
  for (const group of judged) if (group !== best) complete(records, best, group)
  if (several) {
    const message = `the file holds ${archives.size} archives one after another; the one with the most bytes was taken`
    findings.push(formatFinding('zip.structure', null, message))
  }
  return { records, findings }
}

/** Stands in the name of a record whose own name another one has, so that nothing finds it by name. */
const twinMark = '\0'

/**
 * Of records with one name, one name is damaged. The record that lies between those of the keys before and after keeps it, the others lose it; where that does not decide, all do: a tensor must not get
 * another one's bytes.
 */
function withoutTwins(records: readonly SalvagedRecord[]): SalvagedRecord[] {
  const ordered = [...records].sort((left, right) => left.headerOffset - right.headerOffset)
  const fit = ({ name }: SalvagedRecord, place: number): number => {
    const [, folder = '', key = ''] = /^(.*?)(\d+)$/.exec(name) ?? []
    const isNamed = (other: SalvagedRecord | undefined, step: number) =>
      other?.name === `${folder}${Number(key) + step}`
    return (isNamed(ordered[place - 1], -1) ? 1 : 0) + (isNamed(ordered[place + 1], 1) ? 1 : 0)
  }
  const places = new Map<string, number[]>()
  for (const [place, { name }] of ordered.entries()) {
    const ofName = places.get(name)
    if (ofName === undefined) places.set(name, [place])
    else ofName.push(place)
  }
  const keepers = new Set<number>()
  for (const ofName of places.values()) {
    const fits = ofName.map((place) => (ofName.length === 1 ? 0 : fit(ordered[place] as SalvagedRecord, place)))
    const most = fits.reduce((best, each) => Math.max(best, each), 0)
    const best = ofName.filter((_place, index) => fits[index] === most)
    if (best.length === 1) keepers.add(best[0] as number)
  }
  return ordered.map((record, place) =>
    keepers.has(place) ? record : { ...record, name: `${record.name}${twinMark}${place}` },
  )
}

interface Judged {
  readonly record: SalvagedRecord
  /** Null where no CRC-32 is stored or nobody looked. */
  readonly matches: boolean | null
}

const worth = (group: readonly Judged[]): number =>
  group.reduce((sum, { record, matches }) => sum + (matches === false ? 0 : record.sizeBytes), 0)

/** Reads a record's bytes only where that decides something. */
async function judge(source: ByteSource, record: SalvagedRecord, several: boolean): Promise<Judged> {
  const { statedCrcs, isCut, method } = record
  if (isCut || method !== 0 || statedCrcs.length === 0 || (statedCrcs.length === 1 && !several))
    return { record, matches: null }
  const crc = await recordCrc(source, record)
  if (!statedCrcs.includes(crc)) return { record, matches: false }
  return { record: { ...record, statedCrcs: [crc] }, matches: true }
}

/** CRC-32 of what is there of a record. */
async function recordCrc(source: ByteSource, record: SalvagedRecord): Promise<number> {
  let crc = 0
  for await (const chunk of source.chunks(record.offsetBytes, record.sizeBytes)) crc = crc32(chunk, crc)
  return crc
}

/** Takes what is sound in another archive and missing, cut or changed in the chosen one. Different checkpoints are not mixed: their pickles must be equal. */
function complete(records: Map<string, SalvagedRecord>, best: readonly Judged[], other: readonly Judged[]): void {
  const pickleCrc = (group: readonly Judged[]) =>
    group.find(({ record, matches }) => record.name === 'data.pkl' && matches === true)?.record.statedCrcs[0]
  const [own, its] = [pickleCrc(best), pickleCrc(other)]
  const ownPickle = best.find(({ record }) => record.name === 'data.pkl')
  const samePickle = own === undefined ? ownPickle?.record.statedCrcs.includes(its ?? -1) !== false : own === its
  if (its === undefined || !samePickle) return
  const sound = new Set(best.filter(({ matches }) => matches === true).map(({ record }) => record.name))
  for (const { record, matches } of other)
    if (matches === true && !sound.has(record.name)) records.set(record.name, record)
}
