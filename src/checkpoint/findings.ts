/** Findings about what a checkpoint means, beside those about the file as such (`src/format/findings.ts`). `docs/validate.md` explains each. */
import { formatFindings, type Finding, type FormatFindingId, type Severity } from '../format/findings.js'

const error = (meaning: string) => ({ severity: 'error', meaning }) as const
const warning = (meaning: string) => ({ severity: 'warning', meaning }) as const

const table = {
  ...formatFindings,
  'key.missing': error('a key that every checkpoint of this kind has is missing'),
  'key.type': error('the value of a key is of the wrong type'),
  'key.recommended': warning('a key that checkpoints of this kind usually have is missing'),
  'key.unknown': warning('a key that is not known for this kind'),
  'key.not_tensor': warning('an entry of a state dict is no tensor'),
  'tensor.nonfinite': error('a parameter or optimizer moment holds NaN or infinite values'),
  'tensor.nan_buffer': error('a buffer holds NaN'),
  'tensor.infinite_buffer': warning('a buffer holds infinite values, as attention masks do'),
  'tensor.wasteful_view': warning('a tensor keeps a storage alive that is far larger than itself'),
  'tensor.sparse_indices': error('the indices of a sparse tensor lie outside its sizes'),
  'optimizer.mismatch': error('the optimizer state does not fit the model'),
  'optimizer.unusual': warning('the optimizer state is unlike what PyTorch writes'),
  'label.mismatch': warning('a label (best, epoch, loss) contradicts the history in the same file'),
  'version.newer': warning('a later version wrote this file; what is not understood is not judged'),
  'checkpoint.recovered': warning('the file was recovered from a damaged one; see metadata.recovery'),
} satisfies Record<string, { severity: Severity; meaning: string }>

/** Every finding id. */
export type FindingId = FormatFindingId | keyof typeof table

/** Severity and meaning of each id. */
export const findings: Readonly<Record<FindingId, { severity: Severity; meaning: string }>> = table

/** A finding with the severity of its id. */
export function finding(id: FindingId, subject: string | null, message: string): Finding<FindingId> {
  return { id, severity: findings[id].severity, subject, message }
}
