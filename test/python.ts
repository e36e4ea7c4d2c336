/** Runs the reference: real Python with the torch that this project is tested against. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import type { Context } from 'mocha'

const run = promisify(execFile)

/** The interpreter that the test set-up made (`scripts/prepare-tests.mjs`), or undefined with nothing set. */
export const python: string | undefined = process.env['TORCHKEEP_TEST_PYTHON']

/** Skips the calling test, aloud, where the reference Python is absent. Where CI is set it is never absent, so its absence fails. */
export function needPython(context: Context): void {
  if (python !== undefined && existsSync(python)) return
  const reason = `reference Python is absent (TORCHKEEP_TEST_PYTHON=${python ?? ''}); npm test sets it up`
  if (process.env['CI']) throw new Error(reason)
  console.log(`      skipped: ${reason}`)
  context.skip()
}

/** {@link needPython} with packages that not every Python with torch has, by import name. */
export async function needPackages(context: Context, ...names: string[]): Promise<void> {
  needPython(context)
  const program = 'import sys, importlib.util as u; print(*[n for n in sys.argv[1:] if u.find_spec(n) is None])'
  const missing = (await run(python as string, ['-c', program, ...names])).stdout.trim()
  if (missing === '') return
  const reason = `the reference Python (${python}) lacks ${missing}; scripts/test-python.mjs says which versions`
  if (process.env['CI']) throw new Error(reason)
  console.log(`      skipped: ${reason}`)
  context.skip()
}

/**
 * Runs a Python program text with the arguments as `sys.argv[1:]` and returns its standard output. One thread and torch's plain attention path, so that
 * bits can be compared. A failing program rejects with its standard error.
 */
export async function runPython(program: string, args: readonly string[] = []): Promise<string> {
  if (python === undefined) throw new Error('TORCHKEEP_TEST_PYTHON is not set')
  const { stdout } = await run(python, ['-c', `${preamble}\n${program}`, ...args], {
    maxBuffer: 1 << 30,
    env: { ...process.env, OMP_NUM_THREADS: '1', MKL_NUM_THREADS: '1' },
  })
  return stdout
}

const preamble = `import sys, json, hashlib, torch
torch.set_num_threads(1)
torch.backends.mha.set_fastpath_enabled(False)`
