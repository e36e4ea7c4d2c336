/** Brings what was read to the current form: kind first, then the layout, then the migrations that it needs. */
import { NumpyScalar, PyFloat } from '../format/values.js'
import type { TorchFile } from '../format/read.js'
import { walk } from '../format/walk.js'
import { kindOf, type CheckpointKind } from './kind.js'
import { layoutOf, type Layout } from './layouts.js'
import { migrations, unwrapNumpy, type TopLevel } from './migrations.js'
import { checkpointVersion } from './schema.js'

/** A checkpoint in the current form. */
export interface NormalizedCheckpoint {
  kind: CheckpointKind
  /** Null where the kind has none, or for a training checkpoint of no known layout. */
  layout: Layout | null
  /** Top-level keys with the names of version 3; tensors as they were read. Empty where the file holds no dict. */
  value: TopLevel
  /** Names of the migrations that changed something, in order. */
  applied: string[]
  /** Version that the file names; null without one. */
  version: string | null
  /** Whether that is later than what this code writes: what is not understood is not judged. */
  newer: boolean
}

/**
 * Brings a file to the current form, in memory. The file's own value is left alone.
 * @param keepFloats whether an integral numpy float becomes a `PyFloat`, as a `float` does with `readTorchFile`'s option of that name. False unless told.
 */
export function normalizeCheckpoint(
  file: Pick<TorchFile, 'container' | 'value'> & Partial<Pick<TorchFile, 'globals'>>,
  { keepFloats = false }: { keepFloats?: boolean } = {},
): NormalizedCheckpoint {
  const kind = kindOf(file)
  let value: TopLevel = file.value instanceof Map ? (file.value as TopLevel) : new Map<unknown, unknown>()
  const layout = layoutOf(kind, value)
  const version = versionOf(value)
  const applied: string[] = []
  const mayHoldNumpy = file.globals?.some((name) => name.startsWith('numpy')) ?? true // looking through every value takes its time
  const withNumpy = !mayHoldNumpy ? [] : [...value].filter(([, item]) => holdsNumpy(item)).map(([key]) => key)
  if (withNumpy.length > 0) {
    value = new Map(
      [...value].map(([key, item]) => [key, withNumpy.includes(key) ? unwrapNumpy(item, keepFloats) : item]),
    )
    applied.push('numpy_numbers')
  }
  for (const migration of kind === 'other' ? [] : migrations) {
    const after = migration.apply(value)
    if (after === value) continue
    value = after
    applied.push(migration.name)
  }
  return { kind, layout, value, applied, version, newer: version !== null && isNewer(version) }
}

function holdsNumpy(value: unknown): boolean {
  let found = false
  walk(value, (object) => {
    found ||= object instanceof NumpyScalar
    return !found
  })
  return found
}

function versionOf(value: TopLevel): string | null {
  const version: unknown = value.get('version')
  if (typeof version === 'string') return version
  if (version instanceof PyFloat) return version.toString()
  return typeof version === 'number' ? String(version) : null
}

/** Whether a version such as `3.1` is later than {@link checkpointVersion}. A text that is no version is not. */
export function isNewer(version: string): boolean {
  const [major = 0, minor = 0] = parts(version)
  const [ownMajor = 0, ownMinor = 0] = parts(checkpointVersion)
  return major > ownMajor || (major === ownMajor && minor > ownMinor)
}

const parts = (version: string): number[] => (/^\d{1,9}(\.\d{1,9})*/.exec(version)?.[0] ?? '').split('.').map(Number)
