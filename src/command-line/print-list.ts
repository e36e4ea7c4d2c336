/** How `list` prints checkpoints and their summary. */
import type { ListedCheckpoint } from '../checkpoint/listing.js'
import type { CheckpointSummary, SummarizedCheckpoint } from '../checkpoint/summary.js'
import { factLines, tableLines, type Column } from './table.js'
import { formatAge, formatBytes, formatNumber, plural, style } from './text.js'

/** Metrics that get a column of their own beside the validation loss, unless the user names others. */
const mostMetricColumns = 3

/** Seconds since 1970 of the moment a checkpoint was made: what it says, else the file's time. */
export const madeAt = ({ timestamp, modifiedMs }: ListedCheckpoint): number => timestamp ?? modifiedMs / 1000

/** The lines of the table. `metrics` names the columns beside the validation loss; by default those that most files have. */
export function listLines(listed: readonly ListedCheckpoint[], metrics?: readonly string[]): string[] {
  const number = (
    title: string,
    of: (file: ListedCheckpoint) => number | null | undefined,
  ): Column<ListedCheckpoint> => ({
    title,
    align: 'right',
    text: (file) => {
      const value = of(file)
      return value === null || value === undefined ? null : formatNumber(value)
    },
  })
  return tableLines(listed, [
    {
      title: 'file',
      text: ({ name, best }) => (best ? `${name} *` : name),
      style: (text, { best }) => (best ? style.good(text) : text),
    },
    { title: 'kind', text: kindText },
    number('epoch', ({ epoch }) => epoch),
    number('phase', ({ phase }) => phase),
    number('val_loss', ({ validationLoss }) => validationLoss),
    ...(metrics ?? usualMetrics(listed)).map((name) => number(name, (file) => file.metrics[name])),
    { title: 'size', align: 'right', text: ({ sizeBytes }) => formatBytes(sizeBytes) },
    { title: 'age', align: 'right', text: (file) => formatAge(madeAt(file) * 1000) },
    {
      title: 'structure',
      text: verdictText,
      style: (text, { structure }) => (structure === 'ok' ? style.good(text) : style.bad(text)),
    },
    { title: 'title', text: ({ title }) => title ?? '' },
    { title: 'tags', text: ({ tags }) => tags.join(', ') },
  ])
}

/** What it is, and in brackets what part it plays where it is no checkpoint of a run. */
function kindText({ kind, container, role }: ListedCheckpoint): string {
  const what = kind ?? container ?? 'unknown'
  return role === 'checkpoint' || what.includes(role) ? what : `${what} (${role})`
}

function verdictText({ structure, findings, recovery }: ListedCheckpoint): string {
  if (structure !== 'bad') return structure
  const reason = findings.find(({ severity }) => severity === 'error')?.id
  const recoverable = recovery === null || recovery === 'none' ? '' : `, recoverable: ${recovery}`
  return `bad: ${reason ?? 'unknown'}${recoverable}`
}

function usualMetrics(listed: readonly ListedCheckpoint[]): string[] {
  const counts = new Map<string, number>()
  for (const { metrics } of listed) {
    for (const name of Object.keys(metrics)) if (name !== 'val_loss') counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  // What validation measured says more than what training did.
  const rank = ([name, count]: [string, number]) => count * 2 + (name.startsWith('val_') ? 1 : 0)
  return [...counts]
    .sort((a, b) => rank(b) - rank(a))
    .slice(0, mostMetricColumns)
    .map(([name]) => name)
}

/** The line below the table: how many of which verdict. */
export function countLine({
  totalCheckpoints,
  validCheckpoints,
  totalSizeBytes,
  ...summary
}: CheckpointSummary): string {
  const others = Object.entries(summary.otherFiles).map(([role, { count }]) => `${count} ${role}`)
  return [
    `${plural(totalCheckpoints, 'checkpoint')}, ${formatBytes(totalSizeBytes)}: ${validCheckpoints} ok`,
    ...(summary.recoverableCheckpoints > 0 ? [`${summary.recoverableCheckpoints} recoverable`] : []),
    ...(summary.invalidCheckpoints > 0 ? [`${summary.invalidCheckpoints} bad`] : []),
    ...(summary.unreadableCheckpoints > 0 ? [`${summary.unreadableCheckpoints} unreadable`] : []),
    ...(others.length > 0 ? [`other files: ${others.join(', ')}`] : []),
  ].join(', ')
}

/** The lines of `--summary`. */
export function summaryLines(summary: CheckpointSummary): string[] {
  const { otherFiles, bestCheckpoint, newestCheckpoint, oldestCheckpoint } = summary
  const other = Object.entries(otherFiles).map(
    ([role, { count, sizeBytes }]) => [role, `${count}, ${formatBytes(sizeBytes)}`] as const,
  )
  return factLines([
    ['checkpoints', `${summary.totalCheckpoints}, ${formatBytes(summary.totalSizeBytes)}`],
    ['valid', String(summary.validCheckpoints)],
    ['recoverable', String(summary.recoverableCheckpoints)],
    ['invalid', String(summary.invalidCheckpoints)],
    ['unreadable', String(summary.unreadableCheckpoints)],
    ...other,
    ['best', one(bestCheckpoint)],
    ['newest', one(newestCheckpoint)],
    ['oldest', one(oldestCheckpoint)],
  ])
}

function one(file: SummarizedCheckpoint | null): string {
  if (file === null) return '-'
  const loss = file.validationLoss === null ? '' : `, val_loss ${formatNumber(file.validationLoss)}`
  return `${file.path} (${formatBytes(file.sizeBytes)}, ${formatAge(file.modifiedTime * 1000)} old${loss})`
}
