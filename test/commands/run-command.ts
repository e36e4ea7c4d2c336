/** Runs a command of ours as a user would: a process of its own. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { packageRoot } from '../../src/libtorch/index.js'

/** How a command ended and what it said. */
export interface CommandResult {
  status: number | null
  stdout: string
  stderr: string
}

/** Runs `torchkeep ARGS` with an environment in which nothing names a LibTorch but what `env` adds. */
export function runCommand(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  program = join(packageRoot, 'bin', 'run.js'),
): Promise<CommandResult> {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !ownVariables.includes(name)))
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], {
      env: { ...clean, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, stdout, stderr }))
  })
}

const ownVariables = ['LIBTORCH', 'TORCHKEEP_PYTHON', 'VIRTUAL_ENV', 'TORCHKEEP_CACHE', 'TORCHKEEP_BUILD', 'LD_PRELOAD']
