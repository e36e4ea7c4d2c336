/** Child process of the store's tests: publishes one mebibyte and kills itself at the named point. Usage: node kill-publish.js PATH POINT */
import { writeFile } from 'node:fs/promises'
import { nodeFiles, publish, type FileOperations } from '../../src/checkpoint/store.js'

const [path, point] = process.argv.slice(2) as [string, string]

/** SIGKILL takes effect before the call returns to JavaScript. */
function at(name: string): void {
  if (name === point) process.kill(process.pid, 'SIGKILL')
}

const files: FileOperations = {
  ...nodeFiles,
  syncFile: (file) => (at('before syncFile'), nodeFiles.syncFile(file)),
  rename: (from, to) => (at('before rename'), nodeFiles.rename(from, to)),
  syncFolder: (folder) => (at('before syncFolder'), nodeFiles.syncFolder(folder)),
}

publish(
  path,
  async (temporary) => {
    at('before write')
    await writeFile(temporary, 'n'.repeat(1 << 19), { flag: 'wx' })
    at('during write')
    await writeFile(temporary, 'n'.repeat(1 << 19), { flag: 'a' })
  },
  { files },
).then(
  () => at('after syncFolder'),
  (error: unknown) => {
    console.error(error)
    process.exitCode = 1
  },
)
