// The demo's look at the folder of a run, without LibTorch: how the run ended, what it logged, which checkpoints are kept.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { readRun } from 'torchkeep/checkpoint'

/** Prints it and returns how many events of each kind the run has told. */
export async function describeRun(folder) {
  let counts = {}
  const state = await readRun(folder, {
    onEvent: ({ event }) => {
      if (event === 'run') counts = {} // Earlier ones are of other runs.
      counts[event] = (counts[event] ?? 0) + 1
    },
  })
  const events = Object.entries(counts).map(([event, count]) => `${count} ${event}`)
  console.log(`the run is ${state.status}; it logged ${events.join(', ')}  (torchkeep watch ${folder} --once)`)
  const kept = ['regular', 'best', 'phases'].flatMap((part) => readdirSync(join(folder, part)))
  console.log(`checkpoints kept: ${kept.join(', ')}`)
  return counts
}
