// `npm run bench [-- --seconds N --rounds N]`: step rates of Torchkeep as ratios against Python run beside it, in turns, so that both see the same machine.
import { execFileSync } from 'node:child_process'
import os from 'node:os'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '3' }, rounds: { type: 'string', default: '5' } },
})
const python = process.env.TORCHKEEP_TEST_PYTHON
if (python === undefined) throw new Error('TORCHKEEP_TEST_PYTHON is not set: start this through `npm run bench`')

const here = (name) => new URL(name, import.meta.url).pathname
const rate = (command, args) => JSON.parse(execFileSync(command, args, { encoding: 'utf8' })).stepsPerSecond
const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]

const torch = execFileSync(python, ['-c', 'import torch; print(torch.__version__)'], { encoding: 'utf8' }).trim()
console.log(`Node ${process.version}, torch ${torch}, ${os.cpus()[0].model}, ${os.availableParallelism()} cores`)
console.log(`training steps a second, batch 32; median of ${values.rounds} rounds of ${values.seconds} s, in turns\n`)
console.log('model  optimizer  threads   torchkeep      python    ratio   (range of the rounds)')
for (const [model, optimizer] of [
  ['mlp', 'Adam'],
  ['mlp', 'AdamW'],
  ['cnn', 'AdamW'],
]) {
  for (const threads of ['1', '2']) {
    const rounds = Array.from({ length: Number(values.rounds) }, () => {
      const args = [model, optimizer, threads, values.seconds]
      const node = rate(process.execPath, [here('train-steps.mjs'), ...args])
      const reference = rate(python, [here('train_steps.py'), ...args])
      return { node, reference, ratio: node / reference }
    })
    const of = (key) => rounds.map((round) => round[key])
    const ratios = of('ratio')
    console.log(
      `${model.padEnd(6)} ${optimizer.padEnd(10)} ${threads.padStart(7)} ${median(of('node')).toFixed(0).padStart(11)} ` +
        `${median(of('reference')).toFixed(0).padStart(11)} ${median(ratios).toFixed(2).padStart(8)}   ` +
        `(${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)})`,
    )
  }
}
