// What all parts of `npm run bench` say about the machine, and how they summarise rounds.
import { execFileSync } from 'node:child_process'
import os from 'node:os'

export const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]

/** Versions, processor, memory, and how busy it is: figures of a busy machine say little. */
export function describeMachine(python) {
  const torch = execFileSync(python, ['-c', 'import torch; print(torch.__version__)'], { encoding: 'utf8' }).trim()
  const load = os.loadavg().map((value) => value.toFixed(1))
  return (
    `Node ${process.version}, torch ${torch}, ${os.cpus()[0].model}, ${os.availableParallelism()} cores, ` +
    `${(os.totalmem() / 2 ** 30).toFixed(0)} GiB, load ${load.join(' ')}`
  )
}
