/** The package as it is where LibTorch was never set up: no build/, and not even dist/lib, so that whatever would load it fails. */
import { chmodSync, cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/libtorch/index.js'

/** Copies the package's JavaScript for commands into `folder` and returns the program. A command `torchkeep` for shells lies in its `shell/`. `withLib`: dist/lib too, but no addon. */
export function copyPackage(folder: string, withLib = false): { program: string; shellFolder: string } {
  mkdirSync(join(folder, 'shell'), { recursive: true })
  for (const part of ['dist/src', 'dist/commands', 'bin', 'schemas', 'package.json', ...(withLib ? ['dist/lib'] : [])])
    cpSync(join(packageRoot, part), join(folder, part), { recursive: true })
  symlinkSync(join(packageRoot, 'node_modules'), join(folder, 'node_modules'))
  const program = join(folder, 'bin', 'run.js')
  const shim = join(folder, 'shell', 'torchkeep')
  writeFileSync(shim, `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`)
  chmodSync(shim, 0o755)
  return { program, shellFolder: join(folder, 'shell') }
}
