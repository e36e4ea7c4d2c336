/** How `recover` prints what it did. */
import type { RecoverableCheckpoint, RecoveryAssessment, RecoveryResult } from '../checkpoint/recovery.js'
import { factLines, tableLines } from './table.js'
import { formatCount, plural, printable, style } from './text.js'

/** Acts of one kind that are printed; `--json` and the file have them all. */
const mostOfOneKind = 10

/** One recovery, as the older system printed it, with every act. */
export function recoveryLines(result: RecoveryResult): string[] {
  const { success, recoveredPath, backupPath, issuesFixed, remainingIssues, tensors } = result
  const isNeedless = success && recoveredPath === null
  return [
    ...factLines([
      ['Success', success ? '✓' : '✗'],
      ['Recovered', isNeedless ? 'nothing had to be done: the file is valid' : recoveredPath],
      ['Backup', backupPath],
      ['Tensors', tensorText(tensors)],
    ]),
    ...section('Issues fixed', issuesFixed),
    ...section('Lost', result.lost),
    ...section('Damaged and kept', result.damaged),
    ...section('Repaired', result.repaired),
    ...section('Filled', result.filled),
    ...section('Unknown', result.unknown),
    ...section('Remaining issues', remainingIssues),
  ]
}

function section(title: string, texts: readonly string[]): string[] {
  if (texts.length === 0) return []
  const more = texts.length - mostOfOneKind
  return [
    `${title} (${texts.length}):`,
    ...texts.slice(0, mostOfOneKind).map((text) => `  ${printable(text)}`),
    ...(more > 0 ? [`  ... and ${formatCount(more)} more`] : []),
  ]
}

function tensorText({ total, saved, unnamed }: RecoveryAssessment['tensors']): string {
  const named = total === 0 && unnamed > 0 ? [] : [`${formatCount(saved)} of ${formatCount(total)}`]
  return [...named, ...(unnamed > 0 ? [plural(unnamed, 'record without a name', 'records without names')] : [])].join(
    ', ',
  )
}

/** What a folder holds that is damaged. */
export function scanLines(folder: string, checkpoints: readonly RecoverableCheckpoint[]): string[] {
  if (checkpoints.length === 0) return [`nothing is damaged in ${printable(folder)}`]
  return tableLines(checkpoints, [
    { title: 'file', text: ({ name }) => name },
    {
      title: 'recoverable',
      text: ({ potential }) => potential,
      style: (text, { potential }) => colours[potential](text),
    },
    { title: 'tensors', text: ({ tensors }) => tensorText(tensors) },
    { title: 'damage', text: ({ errors }) => errors[0] ?? null },
  ])
}

const colours = { high: style.good, medium: style.warning, low: style.warning, none: style.bad } as const
