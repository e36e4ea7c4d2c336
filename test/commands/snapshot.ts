/** Reviewed snapshots of what commands print: `test/commands/snapshots/<name>.txt`. `TORCHKEEP_UPDATE_SNAPSHOTS=1` writes them anew; look at the difference before you commit it. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/libtorch/index.js'

/** Text that differs from run to run and what stands for it. */
export type Replacements = readonly (readonly [from: string | RegExp, to: string])[]

/** Compares a text with its snapshot after {@link normalized}. */
export function matchSnapshot(name: string, text: string, replacements: Replacements = []): void {
  const actual = normalized(text, replacements)
  const folder = join(packageRoot, 'test', 'commands', 'snapshots')
  const path = join(folder, `${name}.txt`)
  if (process.env['TORCHKEEP_UPDATE_SNAPSHOTS'] === '1') {
    assert.ok(!process.env['CI'], 'CI compares snapshots, it does not make them')
    mkdirSync(folder, { recursive: true })
    writeFileSync(path, actual)
    return
  }
  assert.ok(existsSync(path), `no snapshot ${path}; TORCHKEEP_UPDATE_SNAPSHOTS=1 makes it`)
  assert.equal(actual, readFileSync(path, 'utf8'))
}

/**
 * A text with everything replaced that differs between runs: what the caller names (the paths of its folders) first, then moments, unix times in names, ages, durations and digests. Since column
 * widths follow, a run of blanks inside a line becomes two.
 */
export function normalized(text: string, replacements: Replacements = []): string {
  return [...replacements, ...always].reduce((result, [from, to]) => result.replaceAll(from, to), text)
}

const always: Replacements = [
  [/\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?Z?/g, '<moment>'],
  [/\b1[6-9]\d{8}\b/g, '<unix time>'],
  [/_1[6-9]\d{8}(?=[_.-])/g, '_<unix time>'],
  [/\b[0-9a-f]{64}\b/g, '<sha256>'],
  [/\b\d+ (?:s|min|h|d|months|years)\b/g, '<age>'],
  [/\b\d+(?:\.\d+)? m?s\b/g, '<duration>'],
  [/(?<=\S) {2,}/g, '  '],
  [/[ \t]+$/gm, ''],
]
