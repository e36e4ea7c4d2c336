/** The two sides of a comparison: what each file is, and which of its keys belong to which part. */
import { TorchkeepError } from '../format/errors.js'
import type { Container, TorchFile } from '../format/read.js'
import type { Tolerance } from './compare-figures.js'
import { comparableOptimizers, type ParameterMatching } from './compare-optimizers.js'
import { beginPart, type BegunPart } from './compare-parts.js'
import { compareTrees, type ValueDifference } from './compare-values.js'
import { sizeOfFiles } from './file-size.js'
import type { CheckpointKind } from './kind.js'
import type { Layout } from './layouts.js'
import { metadataOf, type CheckpointMetadata } from './metadata.js'
import type { TopLevel } from './migrations.js'
import { normalizeCheckpoint } from './normalize.js'
import { stateTensors, uniqueTensors } from './tensor-roles.js'

/** What one of the two files is. */
export interface ComparedFile extends CheckpointMetadata {
  path: string
  container: Container
  kind: CheckpointKind
  layout: Layout | null
}

/** A file that is ready to be compared. */
export interface Side {
  facts: ComparedFile
  /** In the current form, whatever the layout. */
  value: TopLevel
}

/** Keys that differ between two runs of the same bits: moments, durations, memory. Passed over wherever they stand, but not in configurations. */
export const notCompared: ReadonlySet<string> = new Set([
  ...['timestamp', 'export_timestamp', 'total_training_time', 'training_time', 'epoch_time'],
  ...['memory_usage', 'avg_memory_usage', 'memory_summary'],
])

/** Top-level keys about the file and not about the model or its training. */
const metadataKeys: ReadonlySet<unknown> = new Set([
  ...['metadata', 'enhanced_metadata', 'format', 'version', 'timestamp'],
  ...['export_timestamp', 'export_type', 'model_class'],
])

const partKeys = {
  model: 'model_state_dict',
  optimizer: 'optimizer_state_dict',
  scheduler: 'scheduler_state',
  config: 'config',
  trainingConfig: 'training_config',
} as const

export async function sideOf(file: TorchFile): Promise<Side> {
  const { kind, layout, value } = normalizeCheckpoint(file)
  const size = await sizeOfFiles(file)
  const isDict = file.value instanceof Map
  return {
    facts: { path: file.path, container: file.container, kind, layout, ...metadataOf(file, size) },
    value: isDict ? value : new Map([['value', file.value]]),
  }
}

/** Two files of different layouts that share no key: there is nothing that an answer could rest on. */
export function requireCommonKey(a: Side, b: Side, sameLayout: boolean): void {
  const common = [...a.value.keys()].some((key) => b.value.has(key) && !metadataKeys.has(key))
  if (common || sameLayout) return
  const keys = ({ value }: Side): string => [...value.keys()].slice(0, 5).map(String).join(', ') || 'nothing'
  throw new TorchkeepError(
    'ERR_CHECKPOINT_INCOMPATIBLE',
    `${a.facts.path} (${a.facts.kind}: ${keys(a)}) and ${b.facts.path} (${b.facts.kind}: ${keys(b)}) have nothing in common that could be compared`,
  )
}

/** The parts with their plain values compared. */
export interface BegunParts {
  begun: Record<keyof typeof partKeys | 'rest', BegunPart>
  matching: ParameterMatching
}

export function beginParts(a: TopLevel, b: TopLevel, tolerance: Tolerance | null, sameLayout: boolean): BegunParts {
  const part = (key: string, ignored?: ReadonlySet<string>): BegunPart =>
    beginPart([[a.get(key), b.get(key)]], { tolerance, ...(ignored && { ignored }) })
  const optimizers = comparableOptimizers(a, b)
  const restOf = (own: TopLevel, other: TopLevel): TopLevel | undefined => rest(own, sameLayout ? null : other)
  return {
    begun: {
      model: part(partKeys.model),
      optimizer: beginPart(
        [
          [optimizers.a?.state, optimizers.b?.state],
          [optimizers.a?.groups, optimizers.b?.groups, 'param_groups'],
        ],
        { tolerance },
      ),
      scheduler: part(partKeys.scheduler),
      // Configurations are compared without tolerance and without exceptions: they are what somebody wrote.
      config: beginPart([[a.get(partKeys.config), b.get(partKeys.config)]], {}),
      trainingConfig: beginPart([[a.get(partKeys.trainingConfig), b.get(partKeys.trainingConfig)]], {}),
      rest: beginPart([[restOf(a, b), restOf(b, a)]], { tolerance, ignored: notCompared }),
    },
    matching: optimizers.matching,
  }
}

/** What belongs to no part; of keys that `other` lacks, nothing. The history is compared by itself. */
function rest(value: TopLevel, other: TopLevel | null): TopLevel | undefined {
  const parts = new Set<unknown>(Object.values(partKeys))
  const kept = [...value].filter(
    ([key]) =>
      !parts.has(key) && !metadataKeys.has(key) && key !== 'metrics_history' && (other === null || other.has(key)),
  )
  if (kept.length === 0) return undefined
  return new Map(
    kept.map(([key, item]) => {
      if (key !== 'training_state' || !(item instanceof Map)) return [key, item]
      return [key, new Map([...(item as TopLevel)].filter(([name]) => name !== 'metrics_history'))]
    }),
  )
}

/** Keys of one file that the other does not have. */
export function keysWithout(value: TopLevel, other: TopLevel): string[] {
  return [...value.keys()].filter((key) => !other.has(key)).map(String)
}

/** Names that share one tensor on one side only. */
export function sharing(a: TopLevel, b: TopLevel): { sharedOnlyInA: string[][]; sharedOnlyInB: string[][] } {
  const [left, right] = [sharedNames(a), sharedNames(b)]
  const without = (own: readonly string[][], other: readonly string[][]): string[][] => {
    const texts = new Set(other.map((names) => JSON.stringify(names)))
    return own.filter((names) => !texts.has(JSON.stringify(names)))
  }
  return { sharedOnlyInA: without(left, right), sharedOnlyInB: without(right, left) }
}

function sharedNames(value: TopLevel): string[][] {
  const groups = uniqueTensors(stateTensors(value)).map(({ names }) => [...names])
  return groups.filter((names) => names.length > 1).map((names) => names.sort())
}

/** Where the metadata differ, besides what is a property of the file. */
export function metadataDifferences(a: Side, b: Side): ValueDifference[] {
  const facts = ({ facts }: Side): Record<string, unknown> => {
    const { title, description, tags, createdAt, modelType, version, libraries } = facts
    return { title, description, tags, createdAt, modelType, version, libraries }
  }
  return compareTrees(facts(a), facts(b)).differences
}
