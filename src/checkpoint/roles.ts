/** Where a file stands in a checkpoint folder: told from its folder and its name, and from its content where the name says nothing. */
import { basename, dirname, extname, relative, resolve, sep } from 'node:path'
import type { CheckpointKind } from './kind.js'

/** Where a file stands; only `checkpoint` files are ever candidates of retention and clean-up. */
export type CheckpointRole =
  'checkpoint' | 'backup' | 'recovered' | 'export' | 'promoted' | 'trash' | 'quarantine' | 'foreign'

const folders: ReadonlyMap<string, CheckpointRole> = new Map([
  ['backups', 'backup'],
  ['exports', 'export'],
  ['promoted', 'promoted'],
  ['trash', 'trash'],
  ['quarantine', 'quarantine'],
])

const checkpointNames = [
  /^checkpoint_epoch_\d+/,
  /^(latest_)?best(_model|_checkpoint)?([._-]|$)/,
  /^(latest|last|final_model)([._-]|$)/,
  /^phase_\d+_(end|best)/,
]

/** What tells the role of a file. */
export interface RoleFacts {
  path: string
  /** The checkpoint folder; folders above it say nothing. Unless told, the two folders nearest to the file are asked. */
  folder?: string
  /** Null where the file could not be read. */
  kind: CheckpointKind | null
  /** Whether the bytes are at least of a known format, damaged or not. */
  recognized: boolean
}

/**
 * The role of a file. Folders come first (`backups/`, `exports/`, `promoted/`, `trash/`, `quarantine/`), then names (`backup_...`, `recovered_...`), then what the file is: an export, a training checkpoint. A file that is none of
 * these and has no name that a training program gives is foreign; a damaged one of a known format and usual ending is a checkpoint, as a cut file cannot say what it was.
 */
export function roleOf({ path, folder, kind, recognized }: RoleFacts): CheckpointRole {
  const name = basename(path)
  const above = folder === undefined ? dirname(resolve(path)) : relative(resolve(folder), dirname(resolve(path)))
  const segments = above.split(sep)
  for (const segment of folder === undefined ? segments.slice(-2) : segments) {
    const role = folders.get(segment)
    if (role !== undefined) return role
  }
  if (/^backup_\d+_/.test(name)) return 'backup'
  if (name.startsWith('recovered_')) return 'recovered'
  if (kind === 'inference_export' || kind === 'shared_export') return 'export'
  const usualEnding = ['.pth', '.pt', '.ckpt', '.tar'].includes(extname(name).toLowerCase())
  if (kind === 'training_checkpoint') return 'checkpoint'
  if (usualEnding && checkpointNames.some((pattern) => pattern.test(name))) return 'checkpoint'
  return kind === null && recognized && usualEnding ? 'checkpoint' : 'foreign'
}
