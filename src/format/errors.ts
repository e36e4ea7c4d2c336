/**
 * The one error class of the project. It lives in `src/format` because that folder imports nothing of ours and every other layer may
 * import it.
 */

import type { FormatFindingId } from './findings.js'

/** Codes a {@link TorchkeepError} can carry; what each means stands in `docs/errors.md`. */
export type ErrorCode =
  | 'ERR_INVALID_ARGUMENT'
  | 'ERR_DISPOSED'
  | 'ERR_BUSY'
  | 'ERR_ABORTED'
  | 'ERR_LIBTORCH_MISSING'
  | 'ERR_ADDON_MISMATCH'
  | 'ERR_TORCH'
  | 'ERR_OUT_OF_MEMORY'
  | 'ERR_NON_FINITE'
  | 'ERR_DATA'
  | 'ERR_MONITOR_MISSING'
  | 'ERR_CHECKPOINT_MISSING'
  | 'ERR_CHECKPOINT_UNREADABLE'
  | 'ERR_CHECKPOINT_CORRUPT'
  | 'ERR_CHECKPOINT_UNSAFE'
  | 'ERR_CHECKPOINT_UNSUPPORTED'
  | 'ERR_CHECKPOINT_INCOMPATIBLE'
  | 'ERR_CHECKPOINT_NEWER'
  | 'ERR_CHECKPOINT_WRITE'
  | 'ERR_DISK_FULL'
  | 'ERR_EXPORT_SECRET'

/** Extra facts of a failure. */
export interface ErrorDetails {
  /** What the caller can do about it, one sentence each; oclif prints them. */
  suggestions?: string[]
  /** The failure underneath. */
  cause?: unknown
  /** Where a file is at fault: which kind of fault. */
  finding?: FormatFindingId
  /** The record, tensor or global at fault. */
  subject?: string
}

/** Every failure that Torchkeep raises. The message names the culprit (file, record, tensor, field, option) with expected and found. */
export class TorchkeepError extends Error {
  readonly code: ErrorCode
  readonly suggestions: string[]
  /** Which kind of fault of a file it is; null where no file is at fault. See `docs/validate.md`. */
  readonly finding: FormatFindingId | null
  /** The record, tensor or global at fault, where there is one. */
  readonly subject: string | null

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'TorchkeepError'
    this.code = code
    this.suggestions = details.suggestions ?? []
    this.finding = details.finding ?? null
    this.subject = details.subject ?? null
  }
}
