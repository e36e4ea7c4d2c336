/** What a checkpoint folder has promoted: one JSON file a name in `promoted/`, beside the copies that they name. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { Place, record, integer, list, nullable, text, float, type Field } from './fields.js'
import { exists } from './store.js'

/** The folder of promoted checkpoints in a checkpoint folder. */
export const promotedFolder = (folder: string): string => join(folder, 'promoted')

/** A file that had the name. */
export interface FormerPromotion {
  file: string
  sha256: string
  promotedAt: string
}

/** Where a checkpoint that is deployed under a name is from. `{name}.json` holds it in snake_case; that file is replaced in one step, so that it always names a whole copy. */
export interface Promotion {
  name: string
  /** The copy, beside the JSON file. */
  file: string
  /** In hex, of the copy and of its source. */
  sha256: string
  sizeBytes: number
  /** Where the copy is from, relative to the JSON file's folder, so that a moved folder still says it; absolute across drives. */
  source: string
  /** ISO 8601, UTC. */
  promotedAt: string
  /** Seconds since 1970 that the checkpoint gives for itself. */
  timestamp: number | null
  epoch: number | null
  phase: number | null
  step: number | null
  /** What it was chosen by. */
  metric: string
  /** Of these weights; null where they were not measured by it. */
  score: number | null
  configHash: string | null
  runId: string | null
  note: string
  torchkeepVersion: string
  /** What had the name before, newest first; the files stay. */
  previous: readonly FormerPromotion[]
}

const promotionField: Field<Promotion> = record<Promotion>({
  name: ['name', text],
  file: ['file', text],
  sha256: ['sha256', text],
  sizeBytes: ['size_bytes', integer(0)],
  source: ['source', text],
  promotedAt: ['promoted_at', text],
  timestamp: ['timestamp', nullable(float())],
  epoch: ['epoch', nullable(integer(0))],
  phase: ['phase', nullable(integer(0))],
  step: ['step', nullable(integer(0))],
  metric: ['metric', text],
  score: ['score', nullable(float())],
  configHash: ['config_hash', nullable(text)],
  runId: ['run_id', nullable(text)],
  note: ['note', text],
  torchkeepVersion: ['torchkeep_version', text],
  previous: [
    'previous',
    list(
      record<FormerPromotion>({
        file: ['file', text],
        sha256: ['sha256', text],
        promotedAt: ['promoted_at', text],
      }),
    ),
  ],
})

/** The JSON of a promotion. */
export function promotionJson(promotion: Promotion): string {
  const fields = promotionField.encode(promotion, new Place('ERR_INVALID_ARGUMENT', '')) as Map<string, unknown>
  return `${JSON.stringify(plainOf(fields), null, 2)}\n`
}

/** Maps as objects, floats of the file's kind as numbers; what JSON has no number for is not among the fields. */
function plainOf(value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plainOf(item)]))
  if (Array.isArray(value)) return value.map(plainOf)
  return typeof value === 'object' && value !== null && 'value' in value ? value.value : value
}

/**
 * Reads one promotion; null where nothing has the name.
 * @throws TorchkeepError `ERR_CHECKPOINT_CORRUPT` for a file that is no promotion.
 */
export async function readPromotion(path: string): Promise<Promotion | null> {
  if (!(await exists(path))) return null
  let json: unknown
  try {
    json = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    throw new TorchkeepError('ERR_CHECKPOINT_CORRUPT', `${path} is no JSON: ${(cause as Error).message}`, { cause })
  }
  return promotionField.decode(mapsOf(json), new Place('ERR_CHECKPOINT_CORRUPT', path))
}

function mapsOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(mapsOf)
  if (typeof value !== 'object' || value === null) return value
  return new Map(Object.entries(value).map(([key, item]) => [key, mapsOf(item)]))
}

/** The promotions of a checkpoint folder by name, sorted; none where nothing was promoted. */
export async function promotionsIn(folder: string): Promise<Promotion[]> {
  const promoted = promotedFolder(folder)
  if (!(await exists(promoted))) return []
  const names = (await readdir(promoted)).filter((name) => name.endsWith('.json') && !name.startsWith('.')).sort()
  const found: Promotion[] = []
  for (const name of names) {
    const promotion = await readPromotion(join(promoted, name))
    if (promotion !== null) found.push(promotion)
  }
  return found
}

/** Why files of a checkpoint folder stay: those that something was promoted from, by their resolved paths. */
export async function heldByPromotion(folder: string): Promise<ReadonlyMap<string, string>> {
  const held = new Map<string, string>()
  for (const { name, source } of await promotionsIn(folder))
    held.set(join(promotedFolder(folder), source), `promoted as ${name}`)
  return held
}
