/** Tables of files that must be refused: each row is a test. */
import assert from 'node:assert/strict'
import { readTorchFile, type ErrorCode, type FormatFindingId } from '../../src/format/index.js'
import { withFile } from './fixtures.js'

/** A file, the finding of its refusal, and what the message says. */
export type Refusal = readonly [name: string, file: Buffer, finding: FormatFindingId, message: RegExp]

const codes: Partial<Record<FormatFindingId, ErrorCode>> = {
  'pickle.unsafe_global': 'ERR_CHECKPOINT_UNSAFE',
  'pickle.limit': 'ERR_CHECKPOINT_UNSAFE',
  'pickle.unsupported': 'ERR_CHECKPOINT_UNSUPPORTED',
}

/** Declares a test for each row. */
export function itRefuses(table: readonly Refusal[]): void {
  for (const [name, file, finding, message] of table) {
    it(`refuses ${name}`, () =>
      withFile(file, (path) =>
        assert.rejects(readTorchFile(path), {
          name: 'TorchkeepError',
          code: codes[finding] ?? 'ERR_CHECKPOINT_CORRUPT',
          finding,
          message,
        }),
      ))
  }
}
