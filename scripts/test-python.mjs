/**
 * The reference that the tests compare with: a Python that has torch, numpy and what `packages` lists. TORCHKEEP_TEST_PYTHON names one that is there (tests that need a package it lacks
 * skip aloud); without it a virtual environment is made in the cache folder, outside the repository, and used again by later runs.
 */
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, lstatSync, mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'

/** Besides torch and numpy: import name and pinned requirement. */
const packages = {
  huggingface_hub: 'huggingface_hub==2.4.0',
  safetensors: 'safetensors==0.8.0',
  scipy: 'scipy==1.17.1',
  sklearn: 'scikit-learn==1.9.1',
}

/** The same, installed without what they require: TensorBoard's readers need little of what its server does. */
const bare = { tensorboard: ['tensorboard==2.21.0', 'protobuf==7.36.2', 'absl-py==2.5.1'] }

/** Returns the interpreter's path. */
export async function prepareTestPython() {
  const { cacheFolder, defaultVersion, findPython } = await import('../dist/src/libtorch/index.js')
  const given = process.env.TORCHKEEP_TEST_PYTHON
  if (given) {
    const version = torchVersion(given)
    if (version === null) throw new Error(`TORCHKEEP_TEST_PYTHON names ${given}, which has no torch and numpy`)
    return given
  }
  const link = join(cacheFolder(), `test-python-${defaultVersion}`)
  const python = join(link, 'bin', 'python')
  if (torchVersion(python)?.startsWith(defaultVersion)) {
    addMissing(python)
    return python
  }
  const { executable } = await findPython(process.env)
  await makeEnvironment(executable, link, defaultVersion)
  return python
}

/**
 * Makes the environment under a name of its own and then links the final name to it (a virtual environment cannot be moved), so that a run that is
 * killed leaves no half environment under that name and of two runs at once the first wins.
 */
function makeEnvironment(executable, link, version) {
  console.log(`setting up the reference Python with torch ${version} in ${link} (once; with the CUDA build 5 GB)`)
  if (lstatSync(link, { throwIfNoEntry: false })) rmSync(link, { recursive: true })
  const folder = `${link}-${randomUUID()}`
  mkdirSync(folder, { recursive: true })
  try {
    must(executable, ['-m', 'venv', folder], 'On Debian or Ubuntu: sudo apt-get install python3-venv')
    const python = join(folder, 'bin', 'python')
    const all = (torch) => pip(torch, 'numpy', ...Object.values(packages))
    // The CPU build is a fraction of the size; not every index has it.
    if (spawnSync(python, all(`torch==${version}+cpu`), { stdio: 'ignore' }).status !== 0)
      must(python, all(`torch==${version}`))
    addMissing(python)
    symlinkSync(folder, link)
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    if (error.code !== 'EEXIST') throw error
  }
}

/** Installs what is missing yet, or in an environment of an earlier version of this script. */
function addMissing(python) {
  const names = JSON.stringify(Object.keys({ ...packages, ...bare }))
  const program = `import importlib.util as u; print(*[n for n in ${names} if u.find_spec(n) is None])`
  const { stdout } = spawnSync(python, ['-c', program], { encoding: 'utf8' })
  const missing = stdout.split(/\s+/).filter((name) => name !== '')
  const wanted = (list) => missing.flatMap((name) => list[name] ?? [])
  if (wanted(packages).length > 0) must(python, pip(...wanted(packages)))
  if (wanted(bare).length > 0) must(python, pip('--no-deps', ...wanted(bare)))
}

const pip = (...requirements) => ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...requirements]

/** torch's version in an interpreter that has numpy too, or null. */
function torchVersion(python) {
  if (!existsSync(python)) return null
  const { status, stdout } = spawnSync(python, ['-c', 'import numpy, torch; print(torch.__version__)'], {
    encoding: 'utf8',
  })
  return status === 0 ? stdout.trim() : null
}

function must(command, args, advice = '') {
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] })
  if (error) throw error
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed with status ${status}. ${advice}`)
}
