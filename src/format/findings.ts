/**
 * What can be odd or wrong about a file: stable ids, each with its severity and one sentence of what it means. `docs/validate.md` explains them at length; a test keeps the two together.
 */

/** An `error` makes a file invalid; a `warning` does not, except where the caller asks for strictness. */
export type Severity = 'error' | 'warning'

const error = (meaning: string) => ({ severity: 'error', meaning }) as const
const warning = (meaning: string) => ({ severity: 'warning', meaning }) as const

const table = {
  'file.empty': error('the file has no bytes'),
  'file.unrecognized': error('the bytes are of no format that is known'),
  'file.truncated': error('the file ends before its contents do'),
  'file.changed': error('the file was changed while it was read'),
  'zip.structure': error('the zip archive is broken: end records, directory or headers do not hold'),
  'zip.header_mismatch': error('a local header or descriptor says other things than the central directory'),
  'zip.duplicate_record': error('a record is there twice, or twice but for upper and lower case'),
  'zip.overlap': error('records overlap'),
  'zip.record_name': error('a record name leaves the top folder'),
  'zip.compressed': error('a record is compressed where torch.save only stores'),
  'zip.encrypted': error('a record is encrypted'),
  'zip.comment': warning('the archive has a comment'),
  'record.missing': error('a record that others need is missing'),
  'record.crc': error('the bytes of a record do not have its CRC-32'),
  'record.crc_not_stored': warning('the writer computed no CRC-32: the bytes are unprotected'),
  'record.size': error('a record has another size than the pickle says'),
  'record.content': error('a small record (version, byteorder...) does not hold what it should'),
  'record.unused': warning('nothing refers to a record'),
  'file.unprotected': warning('the format has no checksums: changed bytes cannot be detected'),
  'pickle.malformed': error('the pickle does not follow the rules of its opcodes'),
  'pickle.unsafe_global': error('the pickle names a function or class that could run code'),
  'pickle.limit': error('the pickle asks for work or memory out of proportion to its length'),
  'pickle.unsupported': error('the pickle uses something that is known but not read'),
  'pickle.opaque_class': warning('an object of a class that is not known is kept as a name with its state'),
  'pickle.numpy': warning("numpy values: Python's torch.load(weights_only=True) refuses this file"),
  'pickle.weights_only': warning("something else that Python's torch.load(weights_only=True) refuses"),
  'storage.too_small': error('a tensor reaches beyond its storage'),
  'storage.type': error('one storage is used with two dtypes, sizes or places'),
  'tensor.malformed': error('a tensor whose description contradicts itself'),
} satisfies Record<string, { severity: Severity; meaning: string }>

/** Ids of the findings about a file as such; `src/checkpoint/findings.ts` adds those about what a checkpoint means. */
export type FormatFindingId = keyof typeof table

/** Severity and meaning of each id. */
export const formatFindings: Readonly<Record<FormatFindingId, { severity: Severity; meaning: string }>> = table

/** One thing that is odd or wrong. */
export interface Finding<Id extends string = string> {
  /** Stable; for programs. */
  readonly id: Id
  readonly severity: Severity
  /** The record, tensor, key or global that is the culprit; null for the file as a whole. */
  readonly subject: string | null
  /** For people: names the culprit with expected and found. */
  readonly message: string
}

/** A finding about a file as such, with the severity of its id. */
export function formatFinding(id: FormatFindingId, subject: string | null, message: string): Finding<FormatFindingId> {
  return { id, severity: formatFindings[id].severity, subject, message }
}
