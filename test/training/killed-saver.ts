/** Child process: saves epochs until it has renamed a file to remove it, and then kills itself. Usage: node killed-saver.js FOLDER */
import { nodeFiles } from '../../src/checkpoint/store.js'
import { ModelCheckpoint } from '../../src/training/model-checkpoint.js'
import { atEnd, row } from './saver-fixture.js'

const [folder] = process.argv.slice(2) as [string]
const rename = async (from: string, to: string): Promise<void> => {
  await nodeFiles.rename(from, to)
  if (to.includes('.torchkeep-removing-')) process.kill(process.pid, 'SIGKILL')
}
const saver = new ModelCheckpoint(folder, { keepLast: 2 }, { files: { ...nodeFiles, rename } })
await saver.prepare()
for (let epoch = 1; ; epoch++) await saver.write(atEnd([row({ epoch })]), { regular: true })
