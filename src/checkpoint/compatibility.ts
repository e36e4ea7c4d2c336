/** Whether a checkpoint fits a configuration or another checkpoint: hash first, then the fields that decide the model, then what the tensors themselves say. */
import { configHash, decidingConfig } from './config-hash.js'
import { configFromTensors } from './dta-model.js'
import { differences, type Plain } from './fields.js'
import type { NormalizedCheckpoint } from './normalize.js'
import { dtypeOf, sizesOf, stateTensors } from './tensor-roles.js'

/** What a checkpoint should fit. */
export type CompatibilityTarget =
  /** The configuration of a model. */
  | { readonly config: unknown }
  /** Another checkpoint, whose model should take these weights. */
  | { readonly checkpoint: Pick<NormalizedCheckpoint, 'value'> }

/** The answer. Texts of fields are those of the older system: `Incompatible X: checkpoint=A, target=B`. */
export interface Compatibility {
  /** No issues. */
  compatible: boolean
  /** Whether the configurations have one hash; null where one of them is missing. */
  sameConfigHash: boolean | null
  issues: string[]
  warnings: string[]
}

/** Compares a checkpoint with a target. Nothing is read: both are in the current form already. */
export function compatibilityOf(
  checkpoint: Pick<NormalizedCheckpoint, 'value'>,
  target: CompatibilityTarget,
): Compatibility {
  const result: Compatibility = { compatible: true, sameConfigHash: null, issues: [], warnings: [] }
  const wanted = 'config' in target ? target.config : target.checkpoint.value.get('config')
  compareConfigs(checkpoint.value.get('config'), wanted, 'config' in target, result)
  if ('config' in target) compareWithTensors(checkpoint, wanted, result)
  else compareTensors(checkpoint, target.checkpoint, result)
  result.compatible = result.issues.length === 0
  return result
}

function compareConfigs(own: unknown, wanted: unknown, demanded: boolean, result: Compatibility): void {
  if (!isDict(own) || !isDict(wanted)) {
    if (demanded) result.issues.push('Checkpoint has no config')
    return
  }
  result.sameConfigHash = configHash(own) === configHash(wanted)
  if (result.sameConfigHash) return
  for (const [path, found, expected] of unequalFields(decidingConfig(own), decidingConfig(wanted), '')) {
    const text = `Incompatible ${path}: checkpoint=${show(found)}, target=${show(expected)}`
    if (found === undefined || expected === undefined) result.warnings.push(text)
    else result.issues.push(text)
  }
}

/** Fields that differ, by dotted path, with both values; lists count as one value. */
function* unequalFields(
  left: Plain | undefined,
  right: Plain | undefined,
  path: string,
): Generator<readonly [path: string, left: Plain | undefined, right: Plain | undefined]> {
  if (!isDict(left) || !isDict(right)) {
    if (differences(left, right).length > 0) yield [path, left, right]
    return
  }
  for (const key of new Set([...Object.keys(left), ...Object.keys(right)])) {
    const of = (value: object): Plain | undefined =>
      Object.hasOwn(value, key) ? (value as Record<string, Plain>)[key] : undefined
    yield* unequalFields(of(left), of(right), path === '' ? key : `${path}.${key}`)
  }
}

const isDict = (value: unknown): value is object => typeof value === 'object' && value !== null && !Array.isArray(value)

/** A value as Python prints it, as the older system did. */
function show(value: Plain | undefined): string {
  if (value === undefined) return '(absent)'
  if (value === null) return 'None'
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (typeof value === 'string' || typeof value === 'bigint') return String(value)
  return JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? String(item) : item))
}

/** The value at a dotted path. */
function at(value: Plain | undefined, path: string): Plain | undefined {
  let found: Plain | undefined = value
  for (const key of path.split('.')) {
    if (!isDict(found) || !Object.hasOwn(found, key)) return undefined
    found = (found as Readonly<Record<string, Plain>>)[key]
  }
  return found
}

/** The configuration against what the tensors are, whatever the checkpoint's own configuration claims. */
function compareWithTensors(
  checkpoint: Pick<NormalizedCheckpoint, 'value'>,
  wanted: unknown,
  result: Compatibility,
): void {
  const target = isDict(wanted) ? decidingConfig(wanted) : undefined
  for (const [path, found] of configFromTensors(stateTensors(checkpoint.value))) {
    const expected = at(target, path)
    if (expected === undefined || expected === found) continue
    result.issues.push(`Incompatible ${path}: tensors=${show(found)}, target=${show(expected)}`)
  }
}

/** Names, shapes and dtypes, as `load_state_dict(strict=True)` of the target's model would see them. */
function compareTensors(
  checkpoint: Pick<NormalizedCheckpoint, 'value'>,
  target: Pick<NormalizedCheckpoint, 'value'>,
  result: Compatibility,
): void {
  const [own, wanted] = [stateTensors(checkpoint.value), stateTensors(target.value)]
  for (const [name, record] of wanted) {
    const found = own.get(name)
    if (found === undefined) {
      result.issues.push(`Missing tensor ${name}: the target has ${shape(record)}`)
    } else if (sizesOf(found).join() !== sizesOf(record).join()) {
      result.issues.push(`Incompatible ${name}: checkpoint=${shape(found)}, target=${shape(record)}`)
    } else if (dtypeOf(found) !== dtypeOf(record)) {
      result.warnings.push(
        `Different dtype of ${name}: checkpoint=${dtypeOf(found)}, target=${dtypeOf(record)}; loading converts`,
      )
    }
  }
  for (const [name, record] of own) {
    if (!wanted.has(name))
      result.issues.push(`Unexpected tensor ${name}: the target has none, the checkpoint ${shape(record)}`)
  }
}

const shape = (record: Parameters<typeof sizesOf>[0]): string => `[${sizesOf(record).join(', ')}]`
