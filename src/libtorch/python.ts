/** Which Python is asked: for the torch in it, and for its pip. */
import { join } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { runProcess, tailOf } from './run-process.js'

/** The interpreter that the user named, and how; undefined when none is named. */
export function namedPython(env: NodeJS.ProcessEnv): { executable: string; by: string } | undefined {
  const own = env['TORCHKEEP_PYTHON']
  if (own) return { executable: own, by: 'TORCHKEEP_PYTHON' }
  const venv = env['VIRTUAL_ENV']
  if (!venv) return undefined
  const executable = process.platform === 'win32' ? join(venv, 'Scripts', 'python.exe') : join(venv, 'bin', 'python')
  return { executable, by: 'VIRTUAL_ENV' }
}

/** `find_spec` alone would also find a folder named torch where we happen to run. */
const findTorch = `import importlib.util, json, os, sys
sys.path[:] = filter(None, sys.path)
spec = importlib.util.find_spec("torch")
print(json.dumps(os.path.dirname(spec.origin) if spec and spec.origin else None))`

/** Path of the torch package in an interpreter, without importing it; null when it has none. Throws when the interpreter does not run. */
export async function torchOfPython(executable: string, by: string): Promise<string | null> {
  const result = await runProcess(executable, ['-c', findTorch])
  if (result.status !== 0) {
    const reason = result.startError?.message ?? tailOf(result.stderr)
    throw new TorchkeepError(
      'ERR_LIBTORCH_MISSING',
      `${by} names the Python ${executable}, which does not run: ${reason}`,
      {
        suggestions: [`Set ${by} to a Python interpreter, or unset it`],
      },
    )
  }
  return JSON.parse(result.stdout) as string | null
}

/** The Python whose pip fetches wheels: the named one, else `python3`, else `python`. Throws `ERR_LIBTORCH_MISSING` with advice when there is none. */
export async function findPython(env: NodeJS.ProcessEnv): Promise<{ executable: string; version: string }> {
  const named = namedPython(env)
  const candidates = named === undefined ? ['python3', 'python'] : [named.executable]
  for (const executable of candidates) {
    const result = await runProcess(executable, ['-c', 'import platform; print(platform.python_version())'], { env })
    if (result.status === 0) return { executable, version: result.stdout.trim() }
  }
  throw new TorchkeepError(
    'ERR_LIBTORCH_MISSING',
    `No Python found (tried ${candidates.join(', ')}); its pip fetches LibTorch`,
    {
      suggestions: [
        'On Debian or Ubuntu: sudo apt-get install python3 python3-pip python3-venv',
        'Or name one: TORCHKEEP_PYTHON=/path/to/python',
      ],
    },
  )
}
