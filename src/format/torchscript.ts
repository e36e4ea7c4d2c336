/**
 * Reads archives of `torch.jit.save` and of C++'s `torch::save`: the module's attributes, with its tensors, from `data.pkl`, tensors in the code from `constants.pkl`. The code itself is listed, never run.
 * Code files may be compressed, as PyTorch writes them; nothing else may.
 */
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import { crc32, inflateRaw } from 'node:zlib'
import type { ByteSource } from './byte-source.js'
import { fault, tooMuch } from './fault.js'
import { formatFinding } from './findings.js'
import { storageId, warnUnused, zipStorages, type StorageTable } from './storage-table.js'
import type { PickleSession } from './torch-file.js'
import { protectionOf, type ReadSettings, type TorchFile } from './torch-file.js'
import { readContainerFacts, requiredRecord } from './torch-zip.js'
import { walk } from './walk.js'
import { checkCrc, recordOffset, refuseCompressed, type ZipArchive, type ZipRecord } from './zip-read.js'

const inflate = promisify(inflateRaw)

/** Code of all files together, uncompressed. Large models have some megabytes. */
const maxCodeBytes = 64 << 20

/** Reads an archive that has a `constants.pkl`: the value is a dict of `module` and `constants`. */
export async function readTorchScript(
  source: ByteSource,
  archive: ZipArchive,
  settings: ReadSettings,
  session: PickleSession,
): Promise<TorchFile> {
  const { records, topFolder } = archive
  for (const record of records.values())
    if (record.method !== 0 && !isCode(record.name)) refuseCompressed(source.path, record)
  const byteOrder = await readContainerFacts(source, archive, settings.structure)
  const tables = new Map<string, StorageTable>()
  const read = async (name: string) => {
    const pickle = await requiredRecord(source, archive, `${name}.pkl`, settings.maxPickleBytes)
    const place = { path: resolve(source.path), identity: source.identity, byteOrder, records, folder: `${name}/` }
    const table = zipStorages(place)
    tables.set(name, table)
    return session.read(pickle, `record ${name}.pkl`, (id, reader) => table.get(storageId(id, 5, reader), reader), {
      expected: isOfTorchScript,
      forTorchLoad: false,
    })
  }
  const value = new Map([['module', await read('data')]])
  value.set('constants', await read('constants'))
  walk(value, () => true)
  const isUsed = ({ name }: ZipRecord) => {
    const [folder = '', key] = name.split('/')
    return isKnown(name) || (key !== undefined && tables.get(folder)?.has(name.slice(folder.length + 1)) === true)
  }
  const unused = [...records.values()].filter((record) => !isUsed(record))
  session.findings.push(
    ...warnUnused(
      unused.map((record) => record.name),
      () => false,
    ),
  )
  const message =
    'a TorchScript archive: torch.load(weights_only=True) refuses it, torch.jit.load and C++ torch::load read it'
  session.findings.push(formatFinding('pickle.weights_only', null, message))
  return {
    path: source.path,
    container: 'torchscript',
    identity: source.identity,
    value,
    storages: [...tables.values()].flatMap((table) => table.inOrder),
    records,
    topFolder,
    globals: [...session.globals],
    findings: session.findings,
    details: await readDetails(source, archive, settings, session),
    protection: protectionOf(records.values()),
  }
}

/** Classes of the archive's own code, and what C++'s pickler calls. */
function isOfTorchScript(fullName: string): boolean {
  return fullName.startsWith('__torch__.') || fullName.startsWith('torch.jit._pickle.')
}

const isCode = (name: string) => name.startsWith('code/')

const knownRecords = new Set([
  ...['data.pkl', 'constants.pkl', 'bytecode.pkl', 'traced_inputs.pkl', 'version', 'byteorder', '.data/version'],
  ...['.data/serialization_id', '.format_version', '.storage_alignment', 'attributes.pkl', 'mobile_debug_handles.pkl'],
])

function isKnown(name: string): boolean {
  return knownRecords.has(name) || isCode(name) || /^(extra|bytecode|traced_inputs)\//.test(name)
}

/** What is in the archive besides tensors. Class names come from the code where it was looked at, else from the pickles. */
async function readDetails(
  source: ByteSource,
  archive: ZipArchive,
  settings: ReadSettings,
  session: PickleSession,
): Promise<Record<string, unknown>> {
  const records = [...archive.records.values()]
  const code = records.filter(({ name }) => isCode(name))
  const isSource = ({ name }: ZipRecord) => name.endsWith('.py')
  const classNames = new Set([...session.globals].filter((name) => name.startsWith('__torch__.')))
  const total = code.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  if (total > maxCodeBytes) tooMuch(source.path, null, `the code has ${total} bytes, at most ${maxCodeBytes} are read`)
  if (settings.structure === 'full') {
    for (const record of code) {
      const text = await readCode(source, archive, record)
      if (isSource(record)) for (const name of classesIn(record.name, text)) classNames.add(name)
    }
  }
  const list = (chosen: readonly ZipRecord[]) => chosen.map(({ name, sizeBytes }) => ({ name, sizeBytes }))
  return {
    codeFiles: list(code.filter(isSource)),
    extraFiles: list(records.filter(({ name }) => name.startsWith('extra/'))),
    classNames: [...classNames].sort(),
    hasBytecode: archive.records.has('bytecode.pkl'),
  }
}

/** One code file, uncompressed: exactly as long as the directory says, and with its CRC-32. */
async function readCode(source: ByteSource, archive: ZipArchive, record: ZipRecord): Promise<Buffer> {
  const { sizeBytes, method } = record
  const storedBytes = archive.entryOf(record)?.storedBytes ?? sizeBytes
  const stored = await source.read(await recordOffset(source, archive, record), storedBytes)
  const bytes =
    method === 0 ? stored : method === 8 ? await inflated(source.path, record, stored) : refuse(source, record)
  checkCrc(source.path, record, crc32(bytes))
  return bytes
}

const refuse = (source: ByteSource, record: ZipRecord): never => refuseCompressed(source.path, record)

async function inflated(path: string, { name, sizeBytes }: ZipRecord, stored: Buffer): Promise<Buffer> {
  const broken = (reason: string, cause?: unknown): never => {
    const because = cause === undefined ? '' : ` (${String(cause)})`
    return fault(path, { finding: 'zip.structure', subject: name }, `record ${name}: ${reason}${because}`)
  }
  // One byte more than is claimed shows that there is more, and no bomb goes further.
  const limits = { maxOutputLength: sizeBytes + 1 }
  const bytes = await inflate(stored, limits).catch((cause: unknown) => broken('its compressed data are broken', cause))
  if (bytes.length !== sizeBytes) broken(`it has ${bytes.length} bytes uncompressed, the directory says ${sizeBytes}`)
  return bytes
}

/** Full names of the classes that a code file defines: `code/__torch__/a/b.py` is the module `__torch__.a.b`. */
function classesIn(fileName: string, text: Buffer): string[] {
  const module = fileName.slice('code/'.length, -'.py'.length).replaceAll('/', '.')
  return [...text.toString('utf8').matchAll(/^class (\w+)\(/gm)].map(([, name]) => `${module}.${name ?? ''}`)
}
