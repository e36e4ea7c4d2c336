/** Runs a program to its end. No shell, so nothing is quoted or expanded. */
import { spawn } from 'node:child_process'

/** Options of {@link runProcess}. */
export interface RunOptions {
  cwd?: string
  env?: NodeJS.ProcessEnv
  /** Text for standard input; empty without it. */
  stdin?: string
  /** `'capture'` keeps standard output; `'show'` sends it to our standard error, so that our own standard output stays clean for `--json`. */
  stdout?: 'capture' | 'show'
  /** Ends the program with SIGTERM. */
  signal?: AbortSignal | undefined
}

/** How a program ended. */
export interface RunResult {
  /** Exit status; null when a signal ended it or it could not be started. */
  status: number | null
  signal: NodeJS.Signals | null
  /** Empty with `stdout: 'show'`. */
  stdout: string
  stderr: string
  /** Why it could not be started (`ENOENT`), or null. */
  startError: NodeJS.ErrnoException | null
}

/** Resolves however the program ends: the caller judges the status. */
export function runProcess(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      signal: options.signal,
      stdio: ['pipe', options.stdout === 'show' ? 2 : 'pipe', 'pipe'],
    })
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk))
    const finish = (end: Pick<RunResult, 'status' | 'signal' | 'startError'>) =>
      resolve({ ...end, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() })
    child.on('error', (startError) => finish({ status: null, signal: null, startError }))
    child.on('close', (status, signal) => finish({ status, signal, startError: null }))
    child.stdin?.on('error', () => undefined) // a program that ends without reading its input (EPIPE) is judged by its status
    child.stdin?.end(options.stdin ?? '')
  })
}

/** The last lines of a program's complaints, for an error message. */
export function tailOf(text: string, lines = 12): string {
  return text.trim().split('\n').slice(-lines).join('\n')
}
