/** What of a checkpoint a shared export holds, and the same without what should not be told. */
import { metadataOf } from '../checkpoint/metadata.js'
import type { TopLevel } from '../checkpoint/migrations.js'
import { namedParts, scalarText } from '../checkpoint/plain-values.js'
import { isTensorRecord, TensorRecord } from '../format/tensor-record.js'
import { walk } from '../format/walk.js'
import {
  Complex,
  Counter,
  Device,
  NumpyArray,
  NumpyScalar,
  OpaqueObject,
  OrderedDict,
  PyFloat,
  TorchDType,
  Tuple,
} from '../format/values.js'
import { modelMetrics } from './facts.js'
import { metricsSummary, type MetricsSummary } from './metrics-summary.js'
import type { ExportSource } from './model-source.js'
import { gatherWords, scrub, type Scrubbed } from './scrub.js'
import { IdentityWords } from './secrets-words.js'
import type { Removal, SharingExportOptions } from './types.js'

/** Values of Python's kinds that `weights_only` opens; dicts are Maps. */
export interface SharedContent {
  config: unknown
  /** What the checkpoint says of itself: title, description, tags, notes, versions, hash. No id of the run. */
  metadata: ReadonlyMap<unknown, unknown>
  /** Null where the checkpoint has none. */
  trainingConfig: unknown
  /** What the run measured of these weights. */
  metrics: ReadonlyMap<unknown, unknown>
  summary: MetricsSummary
  /** By top-level key: `optimizer_state_dict`, `training_state`...; empty unless asked for. */
  trainingState: ReadonlyMap<unknown, unknown>
}

/** The content, and what left it. */
export interface AnonymousContent {
  content: SharedContent
  removals: readonly Removal[]
  /** Names of people and machines that were found, wherever in the checkpoint. */
  words: IdentityWords
  /** See `Scrubbed.allowed`. */
  allowed: ReadonlySet<string>
  /** See `Scrubbed.used`. */
  used: ReadonlySet<string>
}

/** Keys that make up the training state. The random state and the place in the data are of the run alone. */
const stateKeys = ['optimizer_state_dict', 'scheduler_state', 'training_state', 'early_stopping', 'phase_state']

/** Metadata that tell the run apart from others, and nothing of the model. */
const ofTheRun = new Set(['run_id'])

/** The content as it is. */
export function sharedContent({ file, normalized }: ExportSource, options: SharingExportOptions): SharedContent {
  const { includeTrainingState = false, anonymize = true } = options
  const { title, description, tags, configHash, modelType } = metadataOf(file, 0)
  const own = normalized.get('metadata')
  const told = own instanceof Map ? [...(own as TopLevel)].filter(([key]) => !ofTheRun.has(String(key))) : []
  const summary = metricsSummary(normalized)
  const state = includeTrainingState ? [...normalized].filter(([key]) => stateKeys.includes(String(key))) : []
  return {
    config: writable(normalized.get('config') ?? null),
    metadata: new Map([
      ...told.map(([key, value]) => [key, writable(value)] as const),
      ...Object.entries({ title, description, tags: [...tags], config_hash: configHash, model_type: modelType }),
    ]),
    trainingConfig: writable(normalized.get('training_config') ?? null),
    metrics: new Map(Object.entries(modelMetrics(normalized)).map(([name, value]) => [name, new PyFloat(value)])),
    summary,
    trainingState: new Map(
      state.map(([key, value]) => [key, anonymize && key === 'training_state' ? summarised(value) : writable(value)]),
    ),
  }
}

/** What {@link writable} could not keep of the shared parts, as sentences. */
export function unkept({ normalized }: ExportSource, { trainingState }: SharedContent): string[] {
  const arrays: string[] = []
  for (const part of ['config', 'metadata', 'training_config', ...trainingState.keys()])
    walk(normalized.get(part), (value, path) => {
      if (value instanceof NumpyArray && value.objects === null) arrays.push([part, ...path].map(String).join('.'))
      return !isTensorRecord(value)
    })
  return arrays.length === 0 ? [] : [`Of numpy arrays only dtype and shape are told: ${arrays.join(', ')}.`]
}

/** A training state without its rows: `metrics_summary` says what matters, rows tell times and machines. */
function summarised(state: unknown): unknown {
  const copy = writable(state)
  return copy instanceof Map ? new Map([...(copy as TopLevel)].filter(([key]) => key !== 'metrics_history')) : copy
}

/** The content without secrets. Words are gathered from all of the checkpoint, whatever of it is shared. */
export function anonymousContent(
  source: ExportSource,
  content: SharedContent,
  options: SharingExportOptions,
): AnonymousContent {
  const words = IdentityWords.ofThisMachine()
  const allow = options.allow ?? []
  const names = namesOf(source)
  gatherWords(source.normalized, words, { allow, names })
  const { config, metadata, trainingConfig, metrics, trainingState } = content
  const tree = new Map<unknown, unknown>([
    ['config', config],
    ['metadata', metadata],
    ['training_config', trainingConfig],
    ['metrics', metrics],
    ...trainingState,
  ])
  const { value, removals, allowed, used }: Scrubbed = scrub(tree, { words, allow, names })
  const scrubbed = value as ReadonlyMap<unknown, unknown>
  return {
    content: {
      config: scrubbed.get('config'),
      metadata: scrubbed.get('metadata') as TopLevel,
      trainingConfig: scrubbed.get('training_config'),
      metrics: scrubbed.get('metrics') as TopLevel,
      summary: content.summary,
      trainingState: new Map([...trainingState.keys()].map((key) => [key, scrubbed.get(key)])),
    },
    ...{ removals, words, allowed, used },
  }
}

/** Names of tensors and of the modules that they are in: they look like names of hosts and are none. */
export function namesOf({ stateDict }: Pick<ExportSource, 'stateDict'>): ReadonlySet<string> {
  const names = new Set<string>()
  for (const name of stateDict.keys()) {
    const parts = name.split('.')
    for (let from = 0; from < Math.min(parts.length, 12); from++)
      for (let to = from + 1; to <= Math.min(parts.length, from + 12); to++) names.add(parts.slice(from, to).join('.'))
  }
  return names
}

/** A value in kinds that `torch.load(weights_only=True)` opens: objects of other classes become dicts of their parts, what has no counterpart a text that says what it was. Tensors lose what Python hung onto them. */
export function writable(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value === undefined ? null : value
  if (value instanceof PyFloat || value instanceof TorchDType || value instanceof Device || value instanceof Complex)
    return value
  if (value instanceof TensorRecord) return new TensorRecord({ ...value, attributes: null, className: null })
  if (isTensorRecord(value) || value instanceof Uint8Array) return value
  if (value instanceof NumpyScalar) return writable(value.value ?? scalarText(value))
  if (value instanceof NumpyArray) return value.objects === null ? scalarText(value) : value.objects.map(writable)
  if (value instanceof Tuple) return new Tuple(value.map(writable))
  if (Array.isArray(value)) return value.map(writable)
  if (value instanceof Set) return new Set([...(value as Set<unknown>)].map(writable))
  if (value instanceof Map) {
    const entries = [...(value as TopLevel)].map(([key, item]) => [writable(key), writable(item)] as const)
    return value instanceof OrderedDict
      ? new OrderedDict(entries)
      : value instanceof Counter
        ? new Counter(entries)
        : new Map(entries)
  }
  if (value instanceof OpaqueObject) return new Map(namedParts(value).map(([key, item]) => [key, writable(item)]))
  return scalarText(value) ?? new Map(Object.entries(value).map(([key, item]) => [key, writable(item)]))
}

/** The same for JSON: what only Python has is text. */
export function forJson(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || value instanceof PyFloat) return value
  if (value instanceof Map) return new Map([...(value as TopLevel)].map(([key, item]) => [jsonKey(key), forJson(item)]))
  if (Array.isArray(value)) return value.map(forJson)
  if (value instanceof Set) return [...(value as Set<unknown>)].map(forJson)
  return scalarText(value) ?? value
}

const jsonKey = (key: unknown): string => {
  if (typeof key !== 'object' || key === null) return String(key)
  return Array.isArray(key) ? key.map(jsonKey).join(', ') : String(scalarText(key) ?? key)
}
