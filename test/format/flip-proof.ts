/** The proof by exhaustion: every byte of a file changed, and the file cut at every length. */
import assert from 'node:assert/strict'
import { open, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TorchkeepError } from '../../src/format/index.js'
import { contentsOf, type Contents } from './contents.js'
import { withFolder } from './fixtures.js'

/** What became of the changes of a file. */
export interface Outcomes {
  /** Refused with a TorchkeepError that names the kind of fault. */
  refused: number
  /** Read, and the change is among the findings. */
  reported: number
  /** Read with the same contents. */
  harmless: number
  /** Read with other contents: a silent change, unless the format has no checksums and says so. */
  silent: string[]
}

/** Changes that are tried at each byte: one bit, another at each place, and all of them. */
const changes = (byte: number, at: number): number[] => [byte ^ (1 << (at % 8)), byte ^ 0xff]

/** Reads a changed file; errors of any other class are failures of the reader and end the proof. */
async function outcome(path: string, whole: Contents, outcomes: Outcomes, change: string): Promise<void> {
  try {
    const { text, findings } = await contentsOf(path)
    if (text === whole.text) outcomes.harmless++
    else if ([...findings].some((finding) => !whole.findings.has(finding))) outcomes.reported++
    else outcomes.silent.push(change)
  } catch (error) {
    const { name, finding, message } = error as TorchkeepError
    assert.equal(name, 'TorchkeepError', `${change}: ${String((error as Error).stack)}`)
    assert.notEqual(finding, null, `${change}: without a finding: ${message}`)
    outcomes.refused++
  }
}

/** Changes each byte of a file in several ways and reads it each time. */
export function flipEveryByte(bytes: Uint8Array, name = 'x.pth', step = 1): Promise<Outcomes> {
  return withFolder(async (folder) => {
    const path = join(folder, name)
    await writeFile(path, bytes)
    const whole = await contentsOf(path)
    const outcomes: Outcomes = { refused: 0, reported: 0, harmless: 0, silent: [] }
    const file = await open(path, 'r+')
    for (let at = 0; at < bytes.length; at += step) {
      const byte = bytes[at] ?? 0
      for (const changed of changes(byte, at)) {
        await file.write(Uint8Array.of(changed), 0, 1, at)
        await outcome(path, whole, outcomes, `byte ${at} from ${byte} to ${changed}`)
      }
      await file.write(bytes, at, 1, at)
    }
    await file.close()
    return outcomes
  })
}

/** Cuts a file at every length and reads it each time. */
export function cutEverywhere(bytes: Uint8Array, name = 'x.pth', step = 1): Promise<Outcomes> {
  return withFolder(async (folder) => {
    const path = join(folder, name)
    await writeFile(path, bytes)
    const whole = await contentsOf(path)
    const outcomes: Outcomes = { refused: 0, reported: 0, harmless: 0, silent: [] }
    for (let length = bytes.length - 1; length >= 0; length -= step) {
      await truncate(path, length)
      await outcome(path, whole, outcomes, `cut at ${length}`)
    }
    return outcomes
  })
}
