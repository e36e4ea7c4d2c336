/** Recovers checkpoints that were made by hand. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CheckpointRecovery, type RecoveryOptions, type RecoveryResult } from '../../src/checkpoint/index.js'
import { mend } from '../../src/checkpoint/recovery-attempt.js'
import { noActs } from '../../src/checkpoint/recovery-record.js'
import { readTensorBytes, readTorchFile, TensorRecord, type TorchFile } from '../../src/format/index.js'
import { salvageFile } from '../../src/format/salvage.js'
import { checkpoint, fileOf } from './judged.js'

/** A dict of Python. */
export type Dict = Map<unknown, unknown>

/** The value at a path of keys. */
export const at = (value: unknown, ...path: unknown[]): unknown =>
  path.reduce(
    (item, key) => (Array.isArray(item) ? (item as unknown[])[key as number] : (item as Dict | undefined)?.get(key)),
    value,
  )

/** The float32 values of a tensor. */
export async function floats(file: TorchFile, ...path: unknown[]): Promise<number[]> {
  const tensor = at(file.value, ...path)
  assert.ok(tensor instanceof TensorRecord, `no tensor at ${path.join('.')}`)
  const bytes = await readTensorBytes(file, tensor)
  return [...new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)]
}

/** What came of a recovery, and the new file. */
export interface Recovered {
  result: RecoveryResult
  file: TorchFile
  value: Dict
}

/** Recovers bytes that lie in a folder under a name; fails the test where that does not succeed. */
export async function recovered(
  folder: string,
  bytes: Uint8Array,
  options: RecoveryOptions = {},
  name = 'x.pth',
): Promise<Recovered> {
  const path = join(folder, name)
  await writeFile(path, bytes)
  const result = await new CheckpointRecovery(folder).attemptRecovery(path, undefined, { backup: false, ...options })
  assert.ok(result.recoveredPath !== null, result.remainingIssues.join('\n'))
  const file = await readTorchFile(result.recoveredPath, { keepFloats: true })
  return { result, file, value: file.value as Dict }
}

/** Flips a bit of the only place where these floats stand. */
export function flipped(bytes: Buffer, ...values: number[]): Buffer {
  const place = bytes.indexOf(new Uint8Array(new Float32Array(values).buffer))
  assert.ok(place > 0)
  const copy = Buffer.from(bytes)
  copy[place + 1] = (copy[place + 1] as number) ^ 1
  return copy
}

/** Mends a value that no file of ours can hold, as if it had been read. */
export async function mendTree(
  folder: string,
  entries: Record<string, unknown>,
): Promise<{ value: Dict; result: { repaired: string[]; lost: string[] } }> {
  const path = join(folder, 'x.pth')
  await writeFile(path, fileOf(checkpoint()))
  const salvage = await salvageFile(path)
  const added = Object.entries(entries).filter(([key]) => !(salvage.file.value as Dict).has(key))
  for (const [key, value] of added) (salvage.file.value as Dict).set(key, value)
  const acts = noActs()
  const mended = await mend({
    path,
    salvage,
    donor: null,
    nonfinite: 'zero',
    damaged: 'keep',
    acts,
    issuesFixed: [],
    remainingIssues: [],
  })
  assert.ok(mended !== null)
  return { value: mended.value, result: acts }
}
