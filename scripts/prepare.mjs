/**
 * Builds what is missing: npm packages, TypeScript, LibTorch, the addon. Quick when nothing is.
 *
 *   node scripts/prepare.mjs [--debug | --asan] [--tests]
 *
 * `--tests` also sets up the reference Python. Other scripts call prepare() and pass on the environment that it returns.
 */
import { pathToFileURL } from 'node:url'
import { installDependencies, root, run } from './dependencies.mjs'

/**
 * Returns the environment variables that the built things need: LIBTORCH and, with `tests`, TORCHKEEP_TEST_PYTHON.
 * @param {{kind?: 'Release' | 'Debug' | 'Asan', tests?: boolean}} options
 */
export async function prepare({ kind = 'Release', tests = false } = {}) {
  installDependencies()
  run(process.execPath, [`${root}/node_modules/typescript/bin/tsc`, '-b'])
  const { buildAddon, findLibTorch, locateLibTorch, setup } = await import('../dist/src/libtorch/index.js')
  const env = {}
  if (tests) env.TORCHKEEP_TEST_PYTHON = await (await import('./test-python.mjs')).prepareTestPython()
  const log = (line) => console.log(line)
  let { libtorch } = await findLibTorch()
  // A machine that only tests has LibTorch already: in the reference Python. Everyone else gets it from `torchkeep setup`.
  if (libtorch === undefined && tests) libtorch = await locateLibTorch({ TORCHKEEP_PYTHON: env.TORCHKEEP_TEST_PYTHON })
  libtorch ??= (await setup({ build: false, log })).libtorch
  const { addon, built } = await buildAddon(libtorch, kind, log)
  if (built) console.log(`built ${addon}`)
  env.LIBTORCH = libtorch.path
  return env
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const flags = new Set(process.argv.slice(2))
  const kind = flags.has('--asan') ? 'Asan' : flags.has('--debug') ? 'Debug' : 'Release'
  prepare({ kind, tests: flags.has('--tests') }).catch(explain)
}

/** Prints a failure the way the commands do and ends with status 1. */
export function explain(error) {
  console.error(error.code ? `Error: ${error.message}` : error)
  for (const suggestion of error.suggestions ?? []) console.error(`  try: ${suggestion}`)
  process.exit(1)
}
