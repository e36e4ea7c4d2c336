/** Runs a command of ours on a terminal, which `script` of util-linux gives. */
import { spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import type { Context } from 'mocha'
import { packageRoot } from '../../src/libtorch/index.js'

const program = join(packageRoot, 'bin', 'run.js')

/** Skips the calling test, aloud, where there is no such program. */
export function needTerminal(context: Context): void {
  if (spawnSync('script', ['--version'], { encoding: 'utf8' }).stdout?.includes('util-linux')) return
  console.log('      skipped: script of util-linux is absent')
  context.skip()
}

/** Runs `torchkeep ARGS` on a terminal of 60 lines of 120 columns; `seen` gets all output so far and may answer with keys to press. */
export function onTerminal(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  seen: (output: string) => string = () => '',
): Promise<{ status: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const line = [process.execPath, program, ...args].map((part) => `'${part}'`).join(' ')
    const child = spawn('script', ['-qec', `stty rows 60 cols 120; ${line}`, '/dev/null'], {
      env: {
        ...process.env,
        TERM: 'xterm-256color',
        NO_COLOR: undefined,
        FORCE_COLOR: undefined,
        CI: undefined,
        ...env,
      },
    })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      const keys = seen(output)
      if (keys !== '') child.stdin.write(keys)
    })
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, output }))
  })
}
