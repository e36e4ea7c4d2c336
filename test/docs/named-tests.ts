/** Tables of documents name the tests that prove them: these must exist. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/libtorch/index.js'

/** Asserts that the tests exist of a proof: `file` *title*, *title* of tests or groups of them; of several files with "; " between. */
export function requireTests(proof: string): void {
  for (const part of proof.split(/; (?=`)/)) {
    const [, path = '', list = ''] = /^`(test\/\S+\.test\.ts)` (\*.+\*)$/.exec(part) ?? []
    assert.ok(path, `no \`file\` and *title* in: ${part}`)
    assert.ok(existsSync(join(packageRoot, path)), `${path} is not there`)
    const titles = titlesOf(path)
    for (const title of list.slice(1, -1).split('*, *')) assert.ok(titles.has(title), `${path} has no test '${title}'`)
  }
}

/** The titles of tests and of their groups in a file, as the source has them. */
function titlesOf(path: string): Set<string> {
  const source = readFileSync(join(packageRoot, path), 'utf8')
  const calls = source.matchAll(/^\s*(?:describe|it)\(\s*(['"`])((?:\\.|(?!\1).)+)\1/gm)
  return new Set([...calls].map(([, , title = '']) => title.replaceAll(/\\(.)/g, '$1')))
}
