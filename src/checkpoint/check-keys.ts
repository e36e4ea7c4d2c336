/** What a kind of checkpoint must and should have. The texts about keys are those of the older system's validator, which its users search for. */
import { TorchkeepError } from '../format/errors.js'
import type { Finding } from '../format/findings.js'
import { isTensorRecord } from '../format/tensor-record.js'
import { finding, type FindingId } from './findings.js'
import type { TopLevel } from './migrations.js'
import { knownKeys, layouts, unknownLayout } from './layouts.js'
import type { NormalizedCheckpoint } from './normalize.js'
import { recoveryDictOf } from './recovery-record.js'
import { decodeCheckpoint } from './schema.js'

/** Findings about the top-level keys and their types. */
export function checkKeys(checkpoint: NormalizedCheckpoint, path: string): Finding<FindingId>[] {
  const { kind, layout, value, version, newer } = checkpoint
  const found: Finding<FindingId>[] = []
  if (newer) {
    const message = `version ${version} is later than this Torchkeep knows: what is not understood is not judged`
    found.push(finding('version.newer', 'version', message))
  }
  const recovery = recoveryDictOf(value)
  if (recovery !== null) found.push(finding('checkpoint.recovered', 'metadata.recovery', recoveryText(recovery)))
  if (!['training_checkpoint', 'inference_export', 'shared_export', 'state_dict'].includes(kind)) return found
  const demands = layout === null ? unknownLayout : layouts[layout]
  for (const key of demands.required) {
    if (!value.has(key)) found.push(finding('key.missing', key, `Missing required key: ${key}`))
  }
  for (const key of demands.recommended) {
    if (!value.has(key)) found.push(finding('key.recommended', key, `Missing recommended key: ${key}`))
  }
  // Not by push(...more): there may be more keys than a call takes arguments.
  const all = [...found, ...checkTypes(value), ...(kind !== 'state_dict' && !newer ? unknownKeys(value) : [])]
  if (layout !== 'torchkeep' || newer || all.some(({ severity }) => severity === 'error')) return all
  return [...all, ...checkSchema(checkpoint, path)]
}

function checkTypes(value: TopLevel): Finding<FindingId>[] {
  const found: Finding<FindingId>[] = []
  const wrong = (key: string, message: string) => found.push(finding('key.type', key, message))
  const state = value.get('model_state_dict')
  if (value.has('model_state_dict')) {
    if (!(state instanceof Map)) wrong('model_state_dict', 'model_state_dict is not a dictionary')
    else if (state.size === 0) wrong('model_state_dict', 'model_state_dict is empty')
  }
  for (const [name, entry] of state instanceof Map ? (state as TopLevel) : []) {
    if (isTensorRecord(entry) || String(name).endsWith('_extra_state')) continue
    const text = `Parameter ${String(name)} is not a tensor`
    found.push(finding('key.not_tensor', String(name), text))
  }
  const config = value.get('config')
  if (config !== undefined && config !== null && !(config instanceof Map)) wrong('config', 'config is not a dictionary')
  if (value.has('optimizer_state_dict') && !(value.get('optimizer_state_dict') instanceof Map)) {
    wrong('optimizer_state_dict', 'optimizer_state_dict is not a dictionary')
  }
  return found
}

function unknownKeys(value: TopLevel): Finding<FindingId>[] {
  return [...value.keys()]
    .filter((key) => typeof key !== 'string' || !knownKeys.has(key))
    .map((key) => finding('key.unknown', String(key), `Unknown key: ${String(key)}`))
}

/**
 * Our own files have a schema, which a resumed run will insist on. Of a recovered file that is too much: it names in `metadata.recovery` what it lacks, and a resume refuses it unless told otherwise.
 */
function checkSchema({ value }: NormalizedCheckpoint, path: string): Finding<FindingId>[] {
  try {
    decodeCheckpoint(value, path)
    return []
  } catch (error) {
    if (!(error instanceof TorchkeepError)) throw error
    const message = error.message.replace(`${path}: `, '')
    const id =
      recoveryDictOf(value) !== null ? 'key.recommended' : message.endsWith('is missing') ? 'key.missing' : 'key.type'
    return [finding(id, message.split(' ')[0] ?? null, message)]
  }
}

function recoveryText(recovery: TopLevel): string {
  const acts = ['damaged', 'lost', 'repaired', 'filled', 'unknown'].flatMap((act) => {
    const items: unknown = recovery.get(act)
    const count = Array.isArray(items) ? items.length : items instanceof Map ? items.size : 0
    return count === 0 ? [] : [`${count} ${act}`]
  })
  return `the file was recovered from a damaged one: ${acts.join(', ') || 'nothing is said of what was done'}`
}
