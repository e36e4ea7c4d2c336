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
  'file.trailing_bytes': error('bytes follow the end of the contents'),
  'file.limit': error('the file asks for more work or memory than it may: headers, records or texts out of proportion'),
  'file.changed': error('the file was changed while it was read'),
  'zip.structure': error('the zip archive is broken: end records, directory or headers do not hold'),
  'zip.header_mismatch': error('a local header or descriptor says other things than the central directory'),
  'zip.duplicate_record': error('a record is there twice, or twice but for upper and lower case'),
  'zip.overlap': error('records overlap'),
  'zip.record_name': error('a record name leaves the top folder'),
  'zip.compressed': error('a record is compressed where torch.save only stores'),
  'zip.encrypted': error('a record is encrypted'),
  'zip.comment': warning('the archive has a comment'),
  'zip.hidden_bytes': warning('bytes of the archive belong to no record'),
  'record.missing': error('a record that others need is missing'),
  'record.crc': error('the bytes of a record do not have its CRC-32'),
  'record.crc_not_stored': warning('the writer computed no CRC-32: the bytes are unprotected'),
  'record.size': error('a record has another size than the pickle says'),
  'record.content': error('a small record (version, byteorder...) does not hold what it should'),
  'record.unused': warning('nothing refers to a record'),
  'json.malformed': error('a JSON text is broken, or a key is there twice'),
  'safetensors.header': error('the header of a safetensors file breaks the rules of the format'),
  'safetensors.lenient': warning('a safetensors file that readers accept although the format forbids it'),
  'legacy.structure': error('the parts of a file of torch.save before PyTorch 1.6 do not fit together'),
  'tar.structure': error('the tar archive is broken, or holds what torch.save never wrote'),
  'pt2.structure': error('the records of a torch.export archive contradict each other'),
  'shard.missing': error('a file that the index names is missing'),
  'shard.name': error('the index names a file outside its folder'),
  'shard.tensor': error('a tensor is not in the file that the index names, or not as it says'),
  'shard.unlisted': warning('a shard holds tensors that the index does not list'),
  'distributed.metadata': error('the metadata of a distributed checkpoint contradict themselves or the files'),
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
