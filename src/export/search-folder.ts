/** Searches the files of an export for what should have left: every text of every file, read back from the disk, and the names of files and tensors. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile } from '../format/read.js'
import { isTensorRecord } from '../format/tensor-record.js'
import { readPt2Program } from './program.js'
import { scrub, type ScrubOptions } from './scrub.js'
import { scrubText } from './secrets.js'
import type { Removal } from './types.js'

/** A place in a file where something is left. */
export interface FoundSecret extends Omit<Removal, 'count'> {
  file: string
}

/** Files that are texts; JSON is searched by its keys too. All others are of tensors. */
const texts = /\.(?:md|txt|json|py|mjs)$|^SHA256SUMS$/

/** Keys of values in `config.json` begin with this. */
const roots: Readonly<Record<string, string>> = { 'config.json': 'config' }

/** What is left in a folder, which is flat. The bytes of tensors are not searched: they are numbers. */
export async function findInFolder(folder: string, options: ScrubOptions): Promise<FoundSecret[]> {
  const found: FoundSecret[] = []
  for (const file of (await readdir(folder)).sort()) {
    const shown = scrubText(file, options)
    for (const kind of shown.kinds) found.push({ file: shown.text, key: '(its name)', kind })
    const left = texts.test(file)
      ? await inText(join(folder, file), file, options)
      : await inTensors(join(folder, file), options)
    found.push(...left.map(({ key, kind }) => ({ file: shown.text, key, kind })))
  }
  return found
}

/**
 * Refuses a folder in which anything is left, by file, key and kind; never by what it is.
 *
 * @throws TorchkeepError `ERR_EXPORT_SECRET`.
 */
export async function searchFolder(folder: string, options: ScrubOptions): Promise<void> {
  refuseSecrets(await findInFolder(folder, options))
}

/** @throws TorchkeepError `ERR_EXPORT_SECRET` for anything found. */
export function refuseSecrets(found: readonly FoundSecret[]): void {
  const [first] = found
  if (first === undefined) return
  const places = found.slice(0, 10).map(({ file, key, kind }) => `${file}: ${key} (${kind})`)
  const more = found.length > places.length ? `; and ${found.length - places.length} more` : ''
  throw new TorchkeepError(
    'ERR_EXPORT_SECRET',
    `nothing was exported, as it would tell what looks private: ${places.join('; ')}${more}`,
    {
      subject: first.file,
      suggestions: [
        'rename the tensor, file or key; names of tensors are never changed by an export',
        '--allow KEY keeps what is no secret, KEY as the one above',
        '--no-anonymize exports everything as it is',
      ],
    },
  )
}

async function inText(path: string, file: string, options: ScrubOptions): Promise<Removal[]> {
  const text = await readFile(path, 'utf8')
  if (file.endsWith('.json')) return scrub(JSON.parse(text), { ...options, root: roots[file] ?? '' }).removals
  return linesOf(text, options)
}

/** The whole text, since keys and dumps go over several lines; told by the line. */
function linesOf(text: string, options: ScrubOptions): Removal[] {
  const { kinds } = scrubText(text, options)
  if (kinds.length === 0) return []
  const lines = text
    .split('\n')
    .flatMap((line, index) =>
      scrubText(line, options).kinds.map((kind) => ({ key: `line ${index + 1}`, kind, count: 1 })),
    )
  return lines.length > 0 ? lines : kinds.map((kind) => ({ key: '(several lines)', kind, count: 1 }))
}

/** Names, texts and keys of a file of tensors: of its value, its header or graphs, its records, and the classes that its pickle names. */
async function inTensors(path: string, options: ScrubOptions): Promise<Removal[]> {
  const { container, value, details, records, topFolder, globals } = await readTorchFile(path, { unsafe: 'describe' })
  const isBare = value instanceof Map && [...(value as Map<unknown, unknown>).values()].some(isTensorRecord)
  const parts: [string, unknown][] = [
    [isBare ? 'model_state_dict' : '', value],
    ['(details)', details],
    ['(records)', [...records.keys(), topFolder]],
    ['(globals)', [...globals]],
  ]
  if (container === 'pt2') {
    const { program, extra } = await readPt2Program(path)
    parts.push(['(graph)', program], ['(extra)', new Map([...extra].map(([name, bytes]) => [name, bytes.toString()]))])
  }
  return parts.flatMap(([root, part]) => scrub(part, { ...options, root, keysTell: root !== '(graph)' }).removals)
}
