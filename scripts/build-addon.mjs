/**
 * Builds the addon with cmake-js: `node scripts/build-addon.mjs [--debug] [--asan]`. LIBTORCH names the folder of LibTorch.
 * Each kind has a folder of its own under build/ (Release, Debug, Asan), holding torchkeep.node; `TORCHKEEP_BUILD` picks one at run time.
 */
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const flags = new Set(process.argv.slice(2))
for (const flag of flags) {
  if (flag !== '--debug' && flag !== '--asan') fail(`unknown option ${flag}; expected --debug or --asan`)
}
const libtorch = process.env.LIBTORCH
if (!libtorch)
  fail(
    'LIBTORCH is not set; it names the folder of LibTorch (with include/ and lib/). `npx torchkeep setup` gets one and builds',
  )

const sanitize = flags.has('--asan')
const debug = sanitize || flags.has('--debug')
const folder = join(root, 'build', sanitize ? 'Asan' : debug ? 'Debug' : 'Release')
const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js')
const common = ['--directory', root, '--out', folder, '--config', debug ? 'Debug' : 'Release', '--log-level', 'warn']

// Configured every time: cmake-js alone keeps the LibTorch of the first configuration.
run([
  'configure',
  ...common,
  `--CDLIBTORCH=${libtorch}`,
  `--CDTORCHKEEP_SANITIZE=${sanitize ? 'ON' : 'OFF'}`,
  `--CDTORCHKEEP_OUTPUT=${folder}`,
])
run(['build', ...common, '--parallel', String(Math.min(availableParallelism(), 4))])

function run(args) {
  const { status, error } = spawnSync(process.execPath, [cmakeJs, ...args], { cwd: root, stdio: 'inherit' })
  if (error) throw error
  if (status !== 0) process.exit(status ?? 1)
}

function fail(message) {
  console.error(`build-addon: ${message}`)
  process.exit(2)
}
