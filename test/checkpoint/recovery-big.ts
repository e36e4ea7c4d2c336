/** Program of `recovery-memory.test.ts`: recovers (or only assesses) a file in a process of its own and prints what came of it and the most memory that it held, in MiB. */
import { assessRecovery, CheckpointRecovery } from '../../src/checkpoint/index.js'
import { peakMemoryKib } from '../peak-memory.js'

const [path = '', output] = process.argv.slice(2)
const result =
  output === undefined
    ? await assessRecovery(path)
    : await new CheckpointRecovery().attemptRecovery(path, output, { backup: false })
console.log(JSON.stringify({ result, maxMib: peakMemoryKib() / 1024 }))
