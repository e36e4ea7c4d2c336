/** Program of `compare-memory.test.ts`: compares or tags files in a process of its own and prints how it went and the most memory that it held, in MiB. */
import { compareCheckpoints, tagCheckpoint } from '../../src/checkpoint/index.js'
import { peakMemoryKib } from '../peak-memory.js'

const [a = '', b] = process.argv.slice(2)
if (b === undefined) await tagCheckpoint(a, { title: 'big' })
const result = b === undefined ? null : await compareCheckpoints(a, b)
console.log(JSON.stringify({ model: result?.model, maxMib: peakMemoryKib() / 1024 }))
