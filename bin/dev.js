#!/usr/bin/env node
// Like run.js, but compiles the TypeScript first and shows stack traces of errors.
import { spawnSync } from 'node:child_process'
import { execute, settings } from '@oclif/core'
import { createRequire } from 'node:module'

const { status } = spawnSync(process.execPath, [createRequire(import.meta.url).resolve('typescript/bin/tsc'), '-b'], {
  cwd: new URL('..', import.meta.url),
  stdio: ['ignore', 2, 2],
})
if (status !== 0) process.exit(status ?? 1)
settings.debug = true
settings.enableAutoTranspile = false // dist/ is up to date
void execute({ dir: import.meta.url })
