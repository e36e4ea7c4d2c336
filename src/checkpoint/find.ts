/** Finds what could be a checkpoint in a folder. */
import type { Dirent } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { TorchkeepError } from '../format/errors.js'

const extensions = ['.pth', '.pt', '.bin', '.ckpt', '.safetensors', '.pt2', '.tar']
const indexNames = ['.safetensors.index.json', '.bin.index.json']

/** How {@link findCheckpointFiles} looks. */
export interface FindOptions {
  /** Whether folders inside are searched too. True unless told. */
  recursive?: boolean
}

/**
 * Paths of the files and folders that could be checkpoints, sorted: files by their ending, index files of shards (then without the shards that lie beside them), and folders of
 * `torch.distributed.checkpoint` as one each. Hidden files and folders are passed over, and links are not followed, so that nothing outside the folder is ever found.
 * @throws TorchkeepError ERR_CHECKPOINT_MISSING where there is no such folder, ERR_CHECKPOINT_UNREADABLE where a folder cannot be listed.
 */
export async function findCheckpointFiles(folder: string, { recursive = true }: FindOptions = {}): Promise<string[]> {
  const found: string[] = []
  const open = [folder]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const entries = await list(next)
    if (entries.some((entry) => entry.name === '.metadata' && entry.isFile())) {
      found.push(next)
      continue
    }
    const files = entries.filter((entry) => entry.isFile() && !entry.name.startsWith('.')).map((entry) => entry.name)
    const indexes = files.filter((name) => indexNames.some((ending) => name.endsWith(ending)))
    const shards = (name: string) => indexes.some((index) => isShard(name, index))
    for (const name of files) {
      const wanted = extensions.some((ending) => name.toLowerCase().endsWith(ending)) && !shards(name)
      if (wanted || indexes.includes(name)) found.push(join(next, name))
    }
    if (!recursive) continue
    for (const entry of entries) {
      if (entry.isDirectory() && !entry.name.startsWith('.')) open.push(join(next, entry.name))
    }
  }
  return found.sort()
}

/** `model-00001-of-00002.safetensors` is a shard of `model.safetensors.index.json`. */
function isShard(name: string, index: string): boolean {
  const [, stem = '', ending = ''] = /^(.+)(\.\w+)\.index\.json$/.exec(index) ?? []
  return (
    name.startsWith(`${stem}-`) &&
    name.endsWith(ending) &&
    /^-\d+-of-\d+$/.test(name.slice(stem.length, -ending.length))
  )
}

async function list(folder: string): Promise<Dirent[]> {
  return readdir(folder, { withFileTypes: true }).catch((cause: NodeJS.ErrnoException) => {
    const missing = cause.code === 'ENOENT'
    throw new TorchkeepError(
      missing ? 'ERR_CHECKPOINT_MISSING' : 'ERR_CHECKPOINT_UNREADABLE',
      missing ? `no such folder: ${folder}` : `cannot list the folder ${folder}: ${String(cause)}`,
      { cause },
    )
  })
}
