/** The text of `torchkeep export`. */
import type { ExportCheck, ExportResult } from '../export/types.js'
import { formatBytes, formatNumber, plural } from './text.js'

/** The lines of a result. */
export function exportLines(result: ExportResult): string[] {
  const width = Math.max(...result.files.map(({ name }) => name.length))
  return [
    `${result.folder}/`,
    ...result.files.map(({ name, sizeBytes }) => `  ${name.padEnd(width)}  ${formatBytes(sizeBytes)}`),
    ...(result.archive === null ? [] : [result.archive]),
    ...(result.check === null ? [] : [checkLine(result.check)]),
    ...removalLines(result),
    ...result.gaps.map((gap) => `note: ${gap}`),
  ]
}

function checkLine({ equal, maxDifference, batchSizes }: ExportCheck): string {
  const on = `on batches of ${batchSizes.join(', ')} rows`
  return equal
    ? `checked: the exported model gives the checkpoint's outputs bit for bit, ${on}`
    : `checked: the exported model's outputs differ from the checkpoint's by up to ${formatNumber(maxDifference)}, ${on}`
}

function removalLines({ kind, removals }: ExportResult): string[] {
  if (kind !== 'sharing' || removals.length === 0) return []
  const total = removals.reduce((sum, { count }) => sum + count, 0)
  return [
    `removed: ${plural(total, 'text')} that may name people, machines or secrets`,
    ...removals.map(({ key, kind, count }) => `  ${key}: ${kind}${count === 1 ? '' : ` (${count} times)`}`),
  ]
}
