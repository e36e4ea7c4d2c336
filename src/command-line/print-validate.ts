/** How `validate` prints verdicts. */
import { passes, type ValidationRun } from '../checkpoint/validate-all.js'
import type { ValidationReport } from '../checkpoint/validator.js'
import { factLines } from './table.js'
import { formatBytes, formatCount, formatNumber, plural, printable, style } from './text.js'

/** Findings of one id that are printed; `--json` has them all. */
const mostOfOneId = 10

/** One file in full, as the older system printed it. */
export function reportLines(report: ValidationReport): string[] {
  const { metadata, kind, layout, fileInfo } = report
  const facts = factLines([
    ['Valid', report.valid ? style.good('✓') : style.bad('✗')],
    ['File size', formatBytes(fileInfo.sizeBytes)],
    ['Kind', kind === null ? 'unknown' : layout === null ? kind : `${kind} (layout ${layout})`],
    ['Version', metadata.version],
    ['Epoch', numberText(metadata.epoch)],
    ['Phase', numberText(metadata.phase)],
    ['Validation loss', numberText(metadata.validationLoss)],
    ['Is best', metadata.isBest === null ? null : metadata.isBest ? 'yes' : 'no'],
    ['Parameters', metadata.numParameters === null ? null : formatCount(metadata.numParameters)],
  ])
  return [
    ...facts,
    `Errors (${report.errors.length})${report.errors.length > 0 ? ':' : ''}`,
    ...findingLines(report.errors, style.bad),
    `Warnings (${report.warnings.length})${report.warnings.length > 0 ? ':' : ''}`,
    ...findingLines(report.warnings, style.warning),
    ...compatibilityLines(report),
  ]
}

const numberText = (value: number | null): string | null => (value === null ? null : formatNumber(value))

/** One file of many: a line, and below it what is wrong. */
export function shortReportLines(report: ValidationReport): string[] {
  const verdict = passes(report) ? style.good('✓ valid  ') : style.bad(report.valid ? '✗ does not fit' : '✗ invalid')
  const warnings = report.warnings.length === 0 ? '' : `, ${plural(report.warnings.length, 'warning')}`
  const what = `${report.kind ?? 'unknown'}, ${formatBytes(report.fileInfo.sizeBytes)}${warnings}`
  const strict = !report.valid && report.errors.length === 0
  return [
    `${verdict} ${printable(report.path)}  (${what})`,
    ...findingLines(report.errors, style.bad),
    ...(strict ? findingLines(report.warnings, style.warning) : []),
    ...compatibilityLines(report),
  ]
}

function findingLines(findings: ValidationReport['errors'], colour: (text: string) => string): string[] {
  const byId = new Map<string, string[]>()
  for (const { id, message } of findings) byId.set(id, [...(byId.get(id) ?? []), message])
  return [...byId].flatMap(([id, messages]) => [
    ...messages.slice(0, mostOfOneId).map((message) => `  ${colour(id)}  ${printable(message)}`),
    ...(messages.length > mostOfOneId
      ? [`  ${colour(id)}  ... and ${formatCount(messages.length - mostOfOneId)} more`]
      : []),
  ])
}

function compatibilityLines({ compatibility }: ValidationReport): string[] {
  if (compatibility === null) return []
  const { compatible, issues, warnings } = compatibility
  const texts = [...issues.map((text) => style.bad(printable(text))), ...warnings.map(printable)]
  const shown = texts.slice(0, 2 * mostOfOneId).map((text) => `  ${text}`)
  const more = texts.length > shown.length ? [`  ... and ${formatCount(texts.length - shown.length)} more`] : []
  return [`Compatible: ${compatible ? style.good('✓') : style.bad('✗')}`, ...shown, ...more]
}

/** The last lines: what could not be read, and the counts. */
export function runLines({ summary, unreadable, skipped }: ValidationRun): string[] {
  const { total, valid, invalid, incompatible, withWarnings } = summary
  const counts = [
    `${formatCount(valid)} valid`,
    `${formatCount(invalid)} invalid`,
    ...(incompatible > 0 ? [`${formatCount(incompatible)} that do not fit`] : []),
    ...(unreadable.length > 0 ? [`${formatCount(unreadable.length)} unreadable`] : []),
  ]
  return [
    ...unreadable.map(
      ({ path, message }) => `${style.warning('? unreadable')} ${printable(path)}: ${printable(message)}`,
    ),
    ...(skipped.length > 0
      ? [style.dim(`${plural(skipped.length, 'file')} passed over: no checkpoint but for the ending`)]
      : []),
    `${plural(total, 'file')}: ${counts.join(', ')}${withWarnings > 0 ? `; ${formatCount(withWarnings)} with warnings` : ''}`,
  ]
}
