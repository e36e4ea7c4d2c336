// The demo's third chapter: the best checkpoint becomes a folder that runs without the code that trained it, and is run: in Node, and in Python where one with torch is found.
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ModelExporter } from 'torchkeep/export'

/** The first Python of the usual places that has torch; undefined where none has. */
function findPython(env) {
  const { TORCHKEEP_PYTHON, VIRTUAL_ENV, TORCHKEEP_TEST_PYTHON } = env
  const inVenv = VIRTUAL_ENV && join(VIRTUAL_ENV, 'bin', 'python')
  const hasTorch = 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'
  const candidates = [TORCHKEEP_PYTHON, inVenv, TORCHKEEP_TEST_PYTHON, 'python3', 'python'].filter(Boolean)
  return candidates.find((python) => spawnSync(python, ['-c', hasTorch], { env }).status === 0)
}

/** What `npm install` does in an export: programs below the folder find this package. */
function installHere(folder) {
  const place = join(folder, 'node_modules', 'torchkeep')
  mkdirSync(join(folder, 'node_modules'), { recursive: true })
  rmSync(place, { force: true })
  symlinkSync(fileURLToPath(new URL('..', import.meta.url)), place, 'dir')
}

/** Runs a program of the export; gives the lines that it printed. */
function runProgram(command, program, { folder, env }) {
  const { status, stdout, stderr } = spawnSync(command, [join(folder, program)], { env, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} ended with ${status}: ${stderr}`)
  return stdout.trim().split('\n')
}

/**
 * Exports a checkpoint for inference and runs what came out.
 * @param checkpoint path of a checkpoint; it is only read.
 * @param exportDir where the export goes.
 * @param env of the programs that are run; in it a Python with torch is looked for.
 * @returns the export, and what its programs printed; `python` is null where there is no Python with torch.
 */
export async function giveAway(checkpoint, exportDir, env = process.env) {
  const exported = await new ModelExporter({ exportDir }).exportForInference(checkpoint, 'digits')
  const { folder, archive, files, check } = exported
  console.log(`\nexport it: weights, the model, a sample and programs that run as they are`)
  console.log(`  ${relative('', folder)}: ${files.map(({ name }) => name).join(', ')}`)
  console.log(`  ${relative('', archive)} is the same to send`)
  console.log(
    `  measured: ${check.equal ? 'its outputs equal' : 'its outputs differ from'} the checkpoint's in every bit`,
  )

  installHere(exportDir)
  const node = runProgram(process.execPath, 'inference.mjs', { folder, env })
  console.log(['\nrun it in Node:', ...node].join('\n  '))
  const found = findPython(env)
  const python = found === undefined ? null : runProgram(found, 'inference.py', { folder, env })
  if (python === null) console.log('\nno Python with torch is found to run it in; elsewhere: python inference.py')
  else console.log(['\nrun it in Python:', ...python].join('\n  '))
  return { exported, node, python }
}
