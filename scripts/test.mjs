/**
 * `npm test [-- FOLDER...]`: builds what is missing, then runs the tests, all or those below the named folders of test/. Test files run side
 * by side in processes of their own, but those that measure (`alone`) afterwards, one by one. The last line is
 * `N passed, N failed, N skipped`.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync, existsSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from './dependencies.mjs'
import { explain, prepare } from './prepare.mjs'

/** Files whose tests look at how long the event loop was held: nothing else may run beside them. */
const alone = ['training/iterables.test.js', 'training/run-logs.test.js'].map((name) =>
  join(root, 'dist', 'test', name),
)

/** Compiled tests below folders of test/; listed from the sources, so that what is left in dist/ of a deleted test does not run. */
export function testFiles(folders = []) {
  return readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .filter((name) => folders.length === 0 || folders.some((folder) => name.startsWith(`${folder}/`)))
    .map((name) => join(root, 'dist', 'test', name.replace(/\.ts$/, '.js')))
    .sort()
}

/** One run of mocha over `files`: its counts. A run that breaks off counts as a failure and names the files of which nothing was heard. */
function runMocha(files, parallel, env) {
  const folder = mkdtempSync(join(tmpdir(), 'torchkeep-test-'))
  const summary = join(folder, 'summary.json')
  const { status, signal } = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules', 'mocha', 'bin', 'mocha.js'),
      ...['--reporter', join(root, 'scripts', 'mocha-reporter.cjs')],
      ...(parallel ? ['--parallel', '--jobs', String(Math.min(4, Math.max(2, availableParallelism())))] : []),
      ...files,
    ],
    {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, ...env, TORCHKEEP_TEST_SUMMARY: summary },
    },
  )
  const heard = existsSync(summary)
    ? JSON.parse(readFileSync(summary, 'utf8'))
    : { passed: 0, failed: 0, skipped: 0, files: [] }
  rmSync(folder, { recursive: true })
  const silent = files.filter((file) => !heard.files.includes(file)).map((file) => relative(root, file))
  if (silent.length > 0 || (status !== 0 && heard.failed === 0)) {
    console.log(
      `the test run broke off (status ${status}, signal ${signal}); nothing was heard of ${silent.join(', ') || 'its end'}`,
    )
    heard.failed = Math.max(1, heard.failed)
  }
  return heard
}

/** Runs mocha over files and ends this process with the counts as its last line. */
export function runTests(files, env, { parallel = true } = {}) {
  const together = parallel ? files.filter((file) => !alone.includes(file)) : []
  const rest = files.filter((file) => !together.includes(file))
  const runs = []
  if (together.length > 0) runs.push(runMocha(together, true, env))
  if (rest.length > 0) runs.push(runMocha(rest, false, env))
  const sum = (key) => runs.reduce((total, run) => total + run[key], 0)
  console.log(`${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`)
  process.exit(sum('failed') === 0 ? 0 : 1)
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  prepare({ tests: true })
    .then((env) => runTests(testFiles(process.argv.slice(2)), env))
    .catch(explain)
}
