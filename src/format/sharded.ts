/**
 * Reads checkpoints in shards as Hugging Face writes them: an index file (`model.safetensors.index.json`, `pytorch_model.bin.index.json`) names for each tensor the file that holds it. The names are those of
 * an untrusted file.
 */
import { dirname, join } from 'node:path'
import type { ByteSource } from './byte-source.js'
import { TorchkeepError } from './errors.js'
import { fault, quoted, tooMuch } from './fault.js'
import { formatFinding, type Finding, type FormatFindingId } from './findings.js'
import { JsonFields } from './json-fields.js'
import { parseJson, type JsonObject, type JsonValue } from './json-text.js'
import { requireMemberName } from './member-name.js'
import { isTensorRecord, type AnyTensorRecord } from './tensor-record.js'
import type { ReadSettings, TorchFile } from './torch-file.js'

/** Reads one shard; `readTorchFile`. */
export type ReadShard = (path: string, settings: ReadSettings) => Promise<TorchFile>

/** What a shard may be. */
const shardContainers: ReadonlySet<string> = new Set(['safetensors', 'torch_zip', 'torch_legacy'])

/** Reads an index file and all shards that it names: the value is a dict of all tensors. */
export async function readSharded(
  source: ByteSource,
  settings: ReadSettings,
  readShard: ReadShard,
): Promise<TorchFile> {
  const { path } = source
  const index = await readIndex(source, settings)
  const byShard = new Map<string, string[]>()
  for (const [name, file] of index.weightMap) {
    const names = byShard.get(file)
    if (names === undefined) byShard.set(requireMemberName(path, file), [name])
    else names.push(name)
  }
  const tensors = new Map<string, AnyTensorRecord>([...index.weightMap.keys()].map((name) => [name, noTensor]))
  const findings: Finding<FormatFindingId>[] = []
  const shards: { name: string; file: TorchFile; tensors: number }[] = []
  const missing: string[] = []
  for (const [shard, names] of byShard) {
    const file = await readIfThere(join(dirname(path), shard), settings, readShard)
    if (file === undefined) missing.push(shard)
    else {
      const count = takeTensors(path, shard, file, names, tensors, findings)
      shards.push({ name: shard, file, tensors: count })
    }
  }
  refuseMissing(path, missing, byShard.size)
  findings.push(...shards.flatMap(({ name, file }) => shardFindings(name, file)))
  const isProtected = shards.some(({ file }) => file.protection !== 'none')
  if (!isProtected) {
    const message = 'the shards have no checksums: changed bytes cannot be detected'
    findings.push(formatFinding('file.unprotected', null, message))
  }
  return {
    path,
    container: 'sharded',
    identity: source.identity,
    value: tensors,
    storages: shards.flatMap(({ file }) => file.storages),
    records: new Map(),
    topFolder: '',
    globals: [...new Set(shards.flatMap(({ file }) => file.globals))],
    findings,
    details: {
      metadata: plainJson(index.metadata),
      shards: shards.map(({ name, file, tensors: count }) => {
        return { name, container: file.container, sizeBytes: file.identity.sizeBytes, tensors: count }
      }),
    },
    // The index itself has no checksum.
    protection: isProtected ? 'partial' : 'none',
  }
}

/** Takes a tensor's place until its shard was read, so that tensors keep the order of the index. */
const noTensor = null as unknown as AnyTensorRecord

async function readIndex(source: ByteSource, settings: ReadSettings) {
  const { path, sizeBytes } = source
  if (sizeBytes > settings.maxPickleBytes)
    tooMuch(path, null, `a JSON text of ${sizeBytes} bytes, at most ${settings.maxPickleBytes} are read`)
  const json = parseJson(path, 'the index', await source.read(0, sizeBytes))
  if (!(json instanceof Map) || !json.has('weight_map')) {
    const found = { finding: 'file.unrecognized', code: 'ERR_CHECKPOINT_UNSUPPORTED' } as const
    fault(path, found, 'this is a JSON text without a weight_map, no index of a sharded checkpoint')
  }
  const fields = new JsonFields(json, { path, name: 'the index', finding: 'json.malformed' }).object('weight_map')
  const weightMap = new Map([...fields.entries.keys()].map((name) => [name, fields.text(name)]))
  return { weightMap, metadata: json.get('metadata') ?? (new Map() as JsonObject) }
}

/** Undefined where there is no such file. */
async function readIfThere(path: string, settings: ReadSettings, readShard: ReadShard): Promise<TorchFile | undefined> {
  try {
    return await readShard(path, settings)
  } catch (error) {
    if (error instanceof TorchkeepError && error.code === 'ERR_CHECKPOINT_MISSING') return undefined
    throw error
  }
}

function refuseMissing(path: string, missing: readonly string[], count: number): void {
  const [first] = missing
  if (first === undefined) return
  const more = missing.length > 5 ? `, and ${missing.length - 5} more` : ''
  const reason = `${missing.length} of ${count} shards are missing: ${missing.slice(0, 5).join(', ')}${more}`
  fault(path, { finding: 'shard.missing', subject: first }, reason)
}

/** Puts the tensors that the index expects of a shard into `tensors`; returns how many the shard has. */
function takeTensors(
  path: string,
  shard: string,
  file: TorchFile,
  names: readonly string[],
  tensors: Map<string, AnyTensorRecord>,
  findings: Finding<FormatFindingId>[],
): number {
  const found = { finding: 'shard.tensor', subject: shard } as const
  const { value } = file
  if (!shardContainers.has(file.container) || !(value instanceof Map))
    return fault(path, found, `the shard ${shard} holds no dict of tensors (it is ${file.container})`)
  for (const name of names) {
    const tensor: unknown = value.get(name)
    if (!isTensorRecord(tensor))
      fault(
        path,
        { ...found, subject: name },
        `the tensor ${quoted(name)} is not in the shard ${shard}, which the index names`,
      )
    tensors.set(name, tensor)
  }
  const listed = new Set<unknown>(names)
  const unlisted = [...value.keys()].filter((name) => !listed.has(name)).map(String)
  if (unlisted.length > 0) {
    const some = unlisted.slice(0, 3).map(quoted).join(', ')
    const message = `the shard ${shard} holds ${unlisted.length} tensors that the index does not list for it: ${some}`
    findings.push(formatFinding('shard.unlisted', shard, message))
  }
  return value.size
}

/** What is odd about a shard, with its name; that it has no checksums is said once for all. */
function shardFindings(name: string, file: TorchFile): Finding<FormatFindingId>[] {
  return file.findings
    .filter(({ id }) => id !== 'file.unprotected')
    .map((finding) => ({ ...finding, message: `${name}: ${finding.message}` }))
}

/** Maps become objects, and integers beyond 2^53 text. */
function plainJson(value: JsonValue): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plainJson(item)]))
  if (Array.isArray(value)) return value.map(plainJson)
  return typeof value === 'bigint' ? String(value) : value
}
