/** What is in a checkpoint, for people and programs that look: plain JSON values, no tensor bytes but for statistics. */
import { TorchkeepError } from '../format/errors.js'
import type { Finding } from '../format/findings.js'
import { addedSafeGlobals, allowedGlobals } from '../format/globals.js'
import { readTorchFile, type Container, type TorchFile } from '../format/read.js'
import { architectureOf, type ModuleNode } from './architecture.js'
import { sizeOfFiles } from './file-size.js'
import type { FindingId } from './findings.js'
import { inspectOptimizer, type InspectedOptimizer } from './inspect-optimizer.js'
import { tensorStatistics } from './inspect-statistics.js'
import { inspectTensors, namedTensors, type InspectedTensor, type NamedTensor } from './inspect-tensors.js'
import { treeOf, type TreeNode } from './inspect-tree.js'
import type { CheckpointKind } from './kind.js'
import type { Layout } from './layouts.js'
import { metricsOf, numberOf, validationLossOf } from './metrics.js'
import { historyOf } from './migrations.js'
import { normalizeCheckpoint } from './normalize.js'
import { inspectedValue } from './inspect-values.js'
import { countParameters } from './tensor-roles.js'

/** How {@link inspectCheckpoint} looks. */
export interface InspectOptions {
  /** Levels of the tree below the top. 2 unless told. */
  depth?: number
  /** Whether tensors are listed. False unless told. */
  tensors?: boolean
  /** Whether the listed tensors get figures of their values, for which all their bytes are read. False unless told. */
  statistics?: boolean
  /** Which tensors are listed, by name: `*` stands for any characters, `?` for one; a text without either is looked for anywhere in the name. All unless told. */
  filter?: string
  signal?: AbortSignal
  /** Reports how many bytes of the tensors have their statistics. */
  onProgress?: (doneBytes: number, totalBytes: number, tensor: string) => void
}

/** What {@link inspectCheckpoint} tells. */
export interface Inspection {
  path: string
  kind: CheckpointKind
  layout: Layout | null
  version: string | null
  /** Whether a later version of Torchkeep wrote it. */
  newer: boolean
  epoch: number | null
  phase: number | null
  /** Seconds since 1970. */
  timestamp: number | null
  validationLoss: number | null
  metrics: Readonly<Record<string, number>>
  /** Elements of the model's parameters, aliases once; null without a state dict. */
  numParameters: number | null
  /** The modules that the tensors of the model tell, with guesses of what each is; null without a state dict. */
  architecture: ModuleNode | null
  /** What was done to bring it to the current form, by the names of the migrations. */
  migrations: readonly string[]
  container: ContainerFacts
  contents: TreeNode
  /** Null where they were not asked for. */
  tensors: InspectedTensor[] | null
  optimizer: InspectedOptimizer | null
  scheduler: unknown
  config: unknown
  trainingConfig: unknown
  /** Rows of the history. */
  history: Record<string, unknown>[] | null
  metadata: unknown
  globals: { name: string; weightsOnly: boolean }[]
  /** Whether Python's `torch.load(weights_only=True)` of torch 2.13 takes every global; null for files without a pickle. */
  weightsOnly: boolean | null
  findings: readonly Finding<FindingId>[]
}

/** Facts of the file as such. */
export interface ContainerFacts {
  format: Container
  /** All its files together. */
  sizeBytes: number
  /** Whether changed bytes would be noticed. */
  protection: TorchFile['protection']
  /** Zip archives: the folder that all records are in. */
  topFolder: string | null
  records: number
  storages: number
  storageBytes: number
  byteOrder: 'little' | 'big' | null
  /** Largest power of two, up to 4096, at whose multiples all storages begin; null without storages in a file. */
  alignmentBytes: number | null
  /** What else the format tells, such as the metadata of safetensors, the graph of a `.pt2`, shards. */
  details: Readonly<Record<string, unknown>>
}

/**
 * Looks into a file of any container. Unsafe calls of a pickle are described and not refused; they are among the findings.
 * @throws TorchkeepError as `readTorchFile` does; ERR_INVALID_ARGUMENT for a filter that matches no tensor; ERR_ABORTED.
 */
export async function inspectCheckpoint(path: string, options: InspectOptions = {}): Promise<Inspection> {
  const file = await readTorchFile(path, { unsafe: 'describe', keepFloats: true })
  const checkpoint = normalizeCheckpoint(file, { keepFloats: true })
  const { value } = checkpoint
  const globals = file.globals.map((name) => ({
    name,
    weightsOnly: allowedGlobals.has(name) || addedSafeGlobals.has(name),
  }))
  return {
    path,
    kind: checkpoint.kind,
    layout: checkpoint.layout,
    version: checkpoint.version,
    newer: checkpoint.newer,
    epoch: numberOf(value.get('epoch')),
    phase: numberOf(value.get('phase')),
    timestamp: numberOf(value.get('timestamp')) ?? numberOf(value.get('export_timestamp')),
    validationLoss: validationLossOf(value),
    metrics: metricsOf(value),
    numParameters: countParameters(value),
    architecture: architectureOf(value),
    migrations: checkpoint.applied,
    container: containerFacts(file, await sizeOfFiles(file)),
    contents: treeOf(file.value, options.depth ?? 2),
    tensors: options.tensors === true ? await listTensors(file, options) : null,
    optimizer: await inspectOptimizer(file, value),
    scheduler: plainPart(value.get('scheduler_state')),
    config: plainPart(value.get('config')),
    trainingConfig: plainPart(value.get('training_config')),
    history: plainPart(historyOf(value)) as Record<string, unknown>[] | null,
    metadata: plainPart(value.get('metadata')),
    globals,
    weightsOnly: picklesWithout.has(file.container)
      ? null
      : globals.every(({ weightsOnly }) => weightsOnly) && !file.findings.some(({ id }) => refusals.has(id)),
    findings: file.findings,
  }
}

const picklesWithout: ReadonlySet<Container> = new Set(['safetensors'])

/** Findings of what the safe loader of Python refuses beside globals. */
const refusals: ReadonlySet<string> = new Set([
  'pickle.numpy',
  'pickle.weights_only',
  'pickle.opaque_class',
  'pickle.unsafe_global',
])

/** Null for what is absent. */
const plainPart = (part: unknown): unknown => (part === undefined ? null : inspectedValue(part))

const mostAlignment = 4096

function containerFacts(file: TorchFile, sizeBytes: number): ContainerFacts {
  const offsets = file.storages.filter(({ sizeBytes }) => sizeBytes > 0).map(({ source }) => source.offsetBytes)
  let alignment = mostAlignment
  while (alignment > 1 && offsets.some((offset) => offset % alignment !== 0)) alignment /= 2
  return {
    format: file.container,
    sizeBytes,
    protection: file.protection,
    topFolder: file.topFolder === '' ? null : file.topFolder,
    records: file.records.size,
    storages: file.storages.length,
    storageBytes: file.storages.reduce((sum, storage) => sum + storage.sizeBytes, 0),
    byteOrder: file.storages[0]?.byteOrder ?? null,
    alignmentBytes: offsets.length === 0 ? null : alignment,
    details: inspectedValue(new Map(Object.entries(file.details))) as Record<string, unknown>,
  }
}

async function listTensors(file: TorchFile, options: InspectOptions): Promise<InspectedTensor[]> {
  const all = namedTensors(file.value)
  const wanted = matcher(options.filter, all)
  const inspected = inspectTensors(all, wanted)
  if (options.statistics !== true) return inspected
  const totalBytes = inspected.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  let doneBytes = 0
  const records = all.filter(({ name }) => wanted(name))
  for (const [index, tensor] of inspected.entries()) {
    const { record } = records[index] as NamedTensor
    tensor.statistics = await tensorStatistics(file, record, {
      ...(options.signal !== undefined && { signal: options.signal }),
      onProgress: (part) => options.onProgress?.(doneBytes + part * tensor.sizeBytes, totalBytes, tensor.name),
    })
    doneBytes += tensor.sizeBytes
  }
  return inspected
}

/** A test of names. */
function matcher(filter: string | undefined, tensors: readonly NamedTensor[]): (name: string) => boolean {
  if (filter === undefined) return () => true
  const pattern = filter
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  const expression = /[*?]/.test(filter) ? new RegExp(`^${pattern}$`, 's') : null
  const matches = (name: string): boolean => (expression === null ? name.includes(filter) : expression.test(name))
  if (tensors.length > 0 && !tensors.some(({ name }) => matches(name))) {
    const some = tensors.slice(0, 3).map(({ name }) => name)
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `no tensor matches '${filter}'; there are ${tensors.length}, such as ${some.join(', ')}`,
    )
  }
  return matches
}
