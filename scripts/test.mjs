/**
 * `npm test [-- FOLDER...]`: builds what is missing, then runs the tests, all or those below the named folders of test/. The last line is
 * `N passed, N failed, N skipped`.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync, existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from './dependencies.mjs'
import { explain, prepare } from './prepare.mjs'

/** Compiled tests below folders of test/; listed from the sources, so that what is left in dist/ of a deleted test does not run. */
export function testFiles(folders = []) {
  return readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .filter((name) => folders.length === 0 || folders.some((folder) => name.startsWith(`${folder}/`)))
    .map((name) => join(root, 'dist', 'test', name.replace(/\.ts$/, '.js')))
    .sort()
}

/** Runs mocha over files and ends this process with the counts as its last line. */
export function runTests(files, env) {
  const folder = mkdtempSync(join(tmpdir(), 'torchkeep-test-'))
  const summary = join(folder, 'summary.json')
  const mocha = [
    join(root, 'node_modules', 'mocha', 'bin', 'mocha.js'),
    '--reporter',
    join(root, 'scripts', 'mocha-reporter.cjs'),
  ]
  const { status, signal } = spawnSync(process.execPath, [...mocha, ...files], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...env, TORCHKEEP_TEST_SUMMARY: summary },
  })
  const counts = existsSync(summary) ? JSON.parse(readFileSync(summary, 'utf8')) : { passed: 0, failed: 0, skipped: 0 }
  rmSync(folder, { recursive: true })
  if (status !== 0 && counts.failed === 0) {
    console.log(`the test run itself broke off (status ${status}, signal ${signal}); counted as one failure`)
    counts.failed = 1
  }
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`)
  process.exit(counts.failed === 0 ? 0 : 1)
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  prepare({ tests: true })
    .then((env) => runTests(testFiles(process.argv.slice(2)), env))
    .catch(explain)
}
