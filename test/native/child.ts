/** Runs a program against the addon in a process of its own. */
import { execFile } from 'node:child_process'

/** URL of the compiled `lib/native.js`, for programs given as text. */
export const nativeUrl = new URL('../../lib/native.js', import.meta.url).href

export interface ChildResult {
  /** Null where a signal ended it. */
  code: number | null
  signal: string | null
  stdout: string
  stderr: string
}

/** Runs the text of an ES module in which `addon` is the loaded addon. `fileLimitBlocks` is the largest file that it may write, in 512 or 1,024 bytes. */
export function runChild(
  program: string,
  env: Record<string, string> = {},
  fileLimitBlocks?: number,
): Promise<ChildResult> {
  const text = `import { addon as load } from ${JSON.stringify(nativeUrl)}\nconst addon = load()\n${program}`
  const node = [process.execPath, '--input-type=module', '-e', text]
  const [file, ...args] =
    fileLimitBlocks === undefined ? node : ['sh', '-c', `ulimit -f ${fileLimitBlocks}; exec "$@"`, 'sh', ...node]
  return new Promise((resolve) => {
    const child = execFile(file as string, args, { env: { ...process.env, ...env } }, (_error, stdout, stderr) => {
      resolve({ code: child.exitCode, signal: child.signalCode, stdout, stderr })
    })
  })
}
