/** Gives a checkpoint a title, a description and tags. */
import { chmod, realpath, stat } from 'node:fs/promises'
import { ByteSource } from '../format/byte-source.js'
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile, type TorchFile } from '../format/read.js'
import { planWithKey, planWithSafetensorsMetadata } from '../format/replace-key.js'
import type { TorchFilePlan } from '../format/plan.js'
import type { ByteOrigin } from '../format/tensor-record.js'
import { writePlan } from '../format/write-plan.js'
import { isStateDict } from './kind.js'
import { metadataOf, readMetadata, type CheckpointMetadata } from './metadata.js'
import { publish } from './store.js'

/** What {@link tagCheckpoint} changes. What is not named stays. */
export interface TagChanges {
  /** An empty text takes the title away. */
  title?: string
  description?: string
  /** All tags, in place of those that are there. */
  tags?: readonly string[]
  /** Tags to add, where they are not there yet. */
  addTags?: readonly string[]
  /** Tags to take away; one that is not there is no mistake. */
  removeTags?: readonly string[]
}

/** What {@link tagCheckpoint} did. */
export interface TagResult {
  /** The file that was written: where the path given is a link, what it points to. */
  path: string
  /** False where the file already said all that: it was not touched. */
  changed: boolean
  metadata: CheckpointMetadata
  /** Other names (hard links) that the file had: they keep the file as it was before. */
  otherNames: number
}

/**
 * Sets title, description and tags of a checkpoint. The file is written anew beside itself and takes its own place whole (see `publish`), which takes as much free space as it has bytes and rereads and checks all of them;
 * tensors and every other value stay as they are to the byte, and so does the file's mode. A copy of the checkpoint (`latest.pth` of a numbered one) is another file.
 * @param options `signal` stops it: the file is as it was, and it rejects with ERR_ABORTED.
 * @throws TorchkeepError ERR_CHECKPOINT_UNSUPPORTED for what has no place for metadata: any container but a `torch.save` zip file of a dict and safetensors, and a bare state dict, whose keys all are a model's;
 *   ERR_INVALID_ARGUMENT for a tag that is empty; ERR_CHECKPOINT_CORRUPT for damaged bytes and where the file is changed meanwhile; ERR_CHECKPOINT_WRITE.
 */
export async function tagCheckpoint(
  path: string,
  changes: TagChanges,
  options: { signal?: AbortSignal } = {},
): Promise<TagResult> {
  checkTags([...(changes.tags ?? []), ...(changes.addTags ?? []), ...(changes.removeTags ?? [])])
  const target = await realpath(path).catch(() => path) // Of a path that is not there, reading says so.
  const file = await readTorchFile(target, { keepFloats: true })
  const { size, mode, nlink } = await stat(target)
  const before = metadataOf(file, size)
  const after = changed(before, changes)
  const fields = textFields.filter((field) => JSON.stringify(before[field]) !== JSON.stringify(after[field]))
  requirePlace(file)
  if (fields.length === 0) return { path: target, changed: false, metadata: before, otherNames: nlink - 1 }
  const plan =
    file.container === 'safetensors' ? await safetensorsPlan(file, after, fields) : await zipPlan(file, after, fields)
  let metadata: CheckpointMetadata | undefined
  await publish(target, async (temporaryPath) => {
    await writePlan(temporaryPath, plan, options)
    await chmod(temporaryPath, mode & 0o7777)
    metadata = await readMetadata(temporaryPath)
    requireTexts(target, metadata, after)
    // What a training program has put there meanwhile is not replaced by a copy of what was there before.
    await ByteSource.with(target, (source) => Promise.resolve(source.requireUnchanged(file.identity)))
  })
  return { path: target, changed: true, metadata: metadata ?? before, otherNames: nlink - 1 }
}

/** The texts that a file is to have. */
type Texts = Pick<CheckpointMetadata, TextField>
type TextField = 'title' | 'description' | 'tags'
const textFields: readonly TextField[] = ['title', 'description', 'tags']

function changed(before: Texts, changes: TagChanges): Texts {
  const kept = (changes.tags ?? before.tags).filter((tag) => changes.removeTags?.includes(tag) !== true)
  return {
    title: changes.title ?? before.title,
    description: changes.description ?? before.description,
    tags: [...new Set([...kept, ...(changes.addTags ?? [])])],
  }
}

function checkTags(tags: readonly string[]): void {
  const wrong = tags.find((tag) => tag.trim() === '' || tag !== tag.trim())
  if (wrong === undefined) return
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `tags: expected texts without blanks around them, found ${JSON.stringify(wrong)}`,
  )
}

function requirePlace({ path, container, value }: TorchFile): void {
  if (container === 'safetensors') return
  const refuse = (what: string, suggestions: string[] = []): never => {
    throw new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `${path} ${what}`, { suggestions })
  }
  if (container !== 'torch_zip')
    refuse(`is of the container ${container}: only torch.save's zip files and safetensors have a place for metadata`)
  if (!(value instanceof Map)) refuse('does not hold a dict: there is no key under which metadata could be')
  else if (isStateDict(value))
    refuse('is a bare state dict: a further key would keep load_state_dict from taking it', [
      'put it into a dict, under state_dict',
    ])
  else if (value.has('metadata') && !(value.get('metadata') instanceof Map))
    refuse('has something else under the key metadata, which is not overwritten')
}

/** Only what changes is set: other programs may keep something else under these keys. */
async function zipPlan(
  file: TorchFile,
  after: Texts,
  fields: readonly TextField[],
): Promise<TorchFilePlan<ByteOrigin>> {
  const before: unknown = file.value instanceof Map ? file.value.get('metadata') : undefined
  const metadata = new Map<unknown, unknown>(before instanceof Map ? (before as Map<unknown, unknown>) : [])
  for (const field of fields) metadata.set(field, field === 'tags' ? [...after.tags] : after[field])
  try {
    return await planWithKey(file, 'metadata', metadata)
  } catch (error) {
    if (!(error instanceof TorchkeepError) || error.code !== 'ERR_INVALID_ARGUMENT') throw error
    throw new TorchkeepError(
      'ERR_CHECKPOINT_UNSUPPORTED',
      `${file.path}: its metadata hold more than plain values and are not written anew: ${error.message}`,
      { cause: error },
    )
  }
}

/** Values of `__metadata__` are texts: tags are written as JSON. Empty ones are left out. */
function safetensorsPlan(
  file: TorchFile,
  after: Texts,
  fields: readonly TextField[],
): Promise<TorchFilePlan<ByteOrigin>> {
  const metadata = new Map(Object.entries((file.details['metadata'] ?? {}) as Record<string, string>))
  for (const field of fields) {
    const text = field === 'tags' ? JSON.stringify(after.tags) : after[field]
    if (after[field].length === 0) metadata.delete(field)
    else metadata.set(field, text)
  }
  return planWithSafetensorsMetadata(file, metadata)
}

/** Before the new file takes the place of the old one: it reads, and says what it should. */
function requireTexts(path: string, found: Texts, expected: Texts): void {
  for (const field of textFields) {
    if (JSON.stringify(found[field]) === JSON.stringify(expected[field])) continue
    throw new Error(
      `${path}: the new ${field} reads ${JSON.stringify(found[field])}, not ${JSON.stringify(expected[field])}`,
    )
  }
}
