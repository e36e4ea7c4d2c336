/** Raises the errors of files: every one carries the id of its finding and the culprit, so that nothing needs to read messages. */
import { TorchkeepError, type ErrorCode, type ErrorDetails } from './errors.js'
import type { FormatFindingId } from './findings.js'

/** What is at fault in a file. */
export interface Fault {
  finding: FormatFindingId
  /** The record, tensor or global at fault; null for the file as a whole. */
  subject?: string | null
  /** `ERR_CHECKPOINT_CORRUPT` unless told. */
  code?: ErrorCode
  suggestions?: string[]
}

/** Raises a TorchkeepError about a file. `reason` names the culprit with expected and found. */
export function fault(path: string, { finding, subject, code, suggestions }: Fault, reason: string): never {
  const details: ErrorDetails = { finding, suggestions: suggestions ?? [] }
  if (subject !== undefined && subject !== null) details.subject = subject
  throw new TorchkeepError(code ?? 'ERR_CHECKPOINT_CORRUPT', `${path}: ${reason}`, details)
}

/** Refuses what would take more memory or work than it may. */
export function tooMuch(path: string, subject: string | null, reason: string): never {
  return fault(path, { finding: 'file.limit', subject, code: 'ERR_CHECKPOINT_UNSAFE' }, reason)
}

/** Refuses what is known but not read. */
export function unsupported(path: string, subject: string | null, reason: string, suggestions: string[] = []): never {
  return fault(
    path,
    { finding: 'pickle.unsupported', subject, code: 'ERR_CHECKPOINT_UNSUPPORTED', suggestions },
    reason,
  )
}

/** A text of a file for messages: quoted and short. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text)
}
