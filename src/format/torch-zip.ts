/** Reads what `torch.save` writes since PyTorch 1.6, and C++'s `torch::pickle_save`: a zip archive with a pickle and a record for each storage. */
import { resolve } from 'node:path'
import type { ByteSource } from './byte-source.js'
import { fault, quoted, unsupported } from './fault.js'
import type { ByteOrder } from './tensor-record.js'
import { storageId, warnUnused, zipStorages } from './storage-table.js'
import { PickleSession, protectionOf, type ReadSettings, type TorchFile } from './torch-file.js'
import { readRecord, refuseCompressed, type ZipArchive } from './zip-read.js'

const smallRecordBytes = 1 << 16

/** Versions of the container that torch 2.13 reads. */
const supportedVersions = { least: 1, most: 10 }

/** Reads an archive that has a `data.pkl` and no `constants.pkl`. */
export async function readTorchZip(
  source: ByteSource,
  archive: ZipArchive,
  settings: ReadSettings,
  session = new PickleSession(source.path, settings),
): Promise<TorchFile> {
  const { records, topFolder } = archive
  for (const record of records.values()) if (record.method !== 0) refuseCompressed(source.path, record)
  const byteOrder = await readContainerFacts(source, archive, settings.structure)
  const pickle = await requiredRecord(source, archive, 'data.pkl', settings.maxPickleBytes)
  const path = resolve(source.path)
  const { identity, beginBytes } = source
  const storages = zipStorages({ path, identity, byteOrder, records, folder: 'data/', beginBytes })
  const value = session.read(pickle, 'record data.pkl', (id, reader) => storages.get(storageId(id, 5, reader), reader))
  session.findings.push(...warnUnused(records.keys(), (name) => smallRecords.has(name) || isUsed(name, storages)))
  const isCpp = wroteCpp(archive, session.globals)
  return {
    path: source.path,
    container: isCpp ? 'pickle_save' : 'torch_zip',
    identity: source.identity,
    value,
    storages: storages.inOrder,
    records,
    topFolder,
    globals: [...session.globals],
    findings: session.findings,
    details: byteOrder === 'big' ? { byteOrder } : {},
    protection: protectionOf(records.values()),
  }
}

const smallRecords = new Set([
  'data.pkl',
  'version',
  'byteorder',
  '.format_version',
  '.storage_alignment',
  '.data/serialization_id',
  '.data/version',
])

function isUsed(name: string, storages: { has(key: string): boolean }): boolean {
  return name.startsWith('data/') && storages.has(name.slice('data/'.length))
}

/** C++ writes the storages first, no `.format_version`, and names its own functions for lists and dicts. */
function wroteCpp({ records, topFolder }: ZipArchive, globals: ReadonlySet<string>): boolean {
  for (const name of globals) if (name.startsWith('torch.jit._pickle.')) return true
  if (topFolder !== 'archive' || records.has('.format_version')) return false
  const names = [...records.keys()]
  const pickleAt = names.indexOf('data.pkl')
  const storageAt = names.findIndex((name) => name.startsWith('data/'))
  return storageAt >= 0 && storageAt < pickleAt
}

/** Reads the small records that say how to read the others, and with `full` those that say nothing, to see whether they are sound; returns the byte order of the storages. */
export async function readContainerFacts(
  source: ByteSource,
  archive: ZipArchive,
  structure: 'full' | 'directory',
): Promise<ByteOrder> {
  const { path } = source
  const text = async (name: string) => {
    const record = archive.records.get(name)
    if (record === undefined) return undefined
    return (await readRecord(source, archive, record, smallRecordBytes)).toString('latin1')
  }
  const versionName = archive.records.has('.data/version') ? '.data/version' : 'version'
  const version = await text(versionName)
  if (version === undefined)
    fault(path, { finding: 'record.missing', subject: 'version' }, 'the record version is missing')
  if (!/^\d{1,9}\s*$/.test(version)) {
    const reason = `the record ${versionName} holds ${quoted(version)}, expected a number`
    fault(path, { finding: 'record.content', subject: versionName }, reason)
  }
  const { least, most } = supportedVersions
  if (Number(version) < least || Number(version) > most)
    unsupported(path, versionName, `container version ${Number(version)}, supported are ${least} to ${most}`)
  if (structure === 'full')
    for (const name of ['.format_version', '.storage_alignment', '.data/serialization_id']) await text(name)
  const byteOrder = (await text('byteorder')) ?? 'little'
  if (byteOrder === 'little' || byteOrder === 'big') return byteOrder
  const reason = `the record byteorder holds ${quoted(byteOrder)}, expected "little" or "big"`
  return fault(path, { finding: 'record.content', subject: 'byteorder' }, reason)
}

/** A record that the archive must have. */
export async function requiredRecord(
  source: ByteSource,
  archive: ZipArchive,
  name: string,
  maxBytes: number,
): Promise<Buffer> {
  const record = archive.records.get(name)
  if (record === undefined) {
    const found = [...archive.records.keys()].slice(0, 5).join(', ')
    fault(source.path, { finding: 'record.missing', subject: name }, `the record ${name} is missing (found ${found})`)
  }
  return readRecord(source, archive, record, maxBytes)
}
