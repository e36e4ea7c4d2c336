/** How `cleanup` prints a plan and what became of it. */
import { relative } from 'node:path'
import type { CleanupResult } from '../checkpoint/cleanup.js'
import { tableLines } from './table.js'
import { formatBytes, plural, style } from './text.js'

const mebi = 1 << 20

/** A line a file, what goes first: what becomes of it, its size, by which rule. */
export function cleanupLines({ folder, plan }: CleanupResult): string[] {
  const rows = [...plan.filter(({ keep }) => !keep), ...plan.filter(({ keep }) => keep)]
  return tableLines(rows, [
    {
      title: 'what',
      text: ({ keep }) => (keep ? 'stays' : 'goes'),
      style: (text, { keep }) => (keep ? text : style.warning(text)),
    },
    { title: 'file', text: ({ path }) => relative(folder, path) },
    { title: 'size', align: 'right', text: ({ sizeBytes }) => formatBytes(sizeBytes) },
    { title: 'why', text: ({ reason }) => reason },
  ])
}

/** A command line as a POSIX shell takes it: words with other than plain characters in single quotes. */
export const shellLine = (words: readonly string[]): string =>
  words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ')

/**
 * What it comes to. Of a dry run the last line says what to add.
 * @param command the command line as it was typed.
 */
export function cleanupOutcome(
  result: CleanupResult,
  { deletes, command }: { deletes: boolean; command: string },
): string[] {
  const { folder, confirmed, plan, removed, failedToRemove, trash } = result
  const going = plan.filter(({ keep }) => !keep).length
  if (going === 0) return [`nothing to remove in ${folder}: ${plural(plan.length, 'file stays', 'files stay')}`]
  const size = formatBytes(result.plannedSpaceMb * mebi)
  if (!confirmed) {
    const act = deletes ? 'would be deleted' : `would move to ${folder}/trash`
    return [
      `${plural(going, 'file')} of ${plan.length} (${size}) ${act}; nothing was changed`,
      `to do it: ${command} --confirm`,
    ]
  }
  const failures = failedToRemove.map(({ path, error }) => style.bad(`not removed: ${path}: ${error}`))
  const done = plural(removed.length, 'file')
  const outcome = deletes
    ? `${done} deleted, ${formatBytes(result.totalSpaceFreedMb * mebi)} freed`
    : `${done} moved to ${folder}/trash; the space is free once you delete that folder`
  const renamed = Object.entries(trash).filter(([path, place]) => !place.endsWith(relative(folder, path)))
  return [...failures, ...renamed.map(([path, place]) => `${path} is now ${place}`), outcome]
}
