/** `npm run lint [-- --fix]`: eslint, prettier and clang-format over all sources; every one runs, and one that complains makes the status 1. */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { installDependencies, root } from './dependencies.mjs'

const fix = process.argv.includes('--fix')
installDependencies()
const native = readdirSync(join(root, 'native'), { recursive: true, encoding: 'utf8' })
  .filter((name) => /\.(cpp|h)$/.test(name))
  .map((name) => join('native', name))
const checks = [
  ['eslint', ['eslint/bin/eslint.js', '--max-warnings=0', ...(fix ? ['--fix'] : []), '.']],
  ['prettier', ['prettier/bin/prettier.cjs', '--log-level=warn', fix ? '--write' : '--check', '.']],
  ['clang-format', ['clang-format-node/build/cli.js', ...(fix ? ['-i'] : ['--dry-run', '--Werror']), ...native]],
]
let failed = false
for (const [name, [file, ...args]] of checks) {
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'node_modules', ...file.split('/')), ...args], {
    cwd: root,
    stdio: ['ignore', 'inherit', name === 'clang-format' ? 'pipe' : 'inherit'],
    maxBuffer: 1 << 28,
  })
  // clang-format prints three lines a place; the files say enough, since `npm run format` mends them.
  if (stderr)
    for (const found of new Set(stderr.toString().match(/^\S+(?=:\d+:\d+: )/gm)))
      console.log(`${found} is not formatted`)
  console.log(`${name}: ${status === 0 ? 'ok' : 'FAILED'}`)
  failed ||= status !== 0
}
process.exit(failed ? 1 : 0)
