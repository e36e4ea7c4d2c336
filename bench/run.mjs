// `npm run bench [-- training|inference|checkpoints] [--seconds N] [--rounds N] [--gib N]`: Torchkeep against Python run beside it, in turns. All parts unless some are named.
import { parseArgs } from 'node:util'
import { benchCheckpoints } from './checkpoints.mjs'
import { benchInference } from './inference.mjs'
import { describeMachine } from './machine.mjs'
import { benchTraining } from './training.mjs'

const parts = { training: benchTraining, inference: benchInference, checkpoints: benchCheckpoints }
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    /** Of each round of training and inference. */
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '5' },
    /** Size of the large file on which the memory of the commands is measured. */
    gib: { type: 'string', default: '4' },
  },
})
const unknown = positionals.find((name) => !(name in parts))
if (unknown !== undefined) throw new Error(`no such benchmark: ${unknown}; there are ${Object.keys(parts).join(', ')}`)
const python = process.env.TORCHKEEP_TEST_PYTHON
if (python === undefined) throw new Error('TORCHKEEP_TEST_PYTHON is not set: start this through `npm run bench`')

console.log(describeMachine(python))
for (const [name, bench] of Object.entries(parts)) {
  if (positionals.length > 0 && !positionals.includes(name)) continue
  console.log()
  await bench({ python, seconds: values.seconds, rounds: Number(values.rounds), gib: values.gib })
}
