// The training half of `npm run bench`: step rates of Torchkeep as ratios against Python run beside it, in turns, so that both see the same machine.
import { execFileSync } from 'node:child_process'
import { median } from './machine.mjs'

const here = (name) => new URL(name, import.meta.url).pathname
const measure = (command, args) => JSON.parse(execFileSync(command, args, { encoding: 'utf8' }))
const rate = (command, args) => measure(command, args).stepsPerSecond

/** Prints a row for each model, optimizer and number of threads. */
export function benchTraining({ python, seconds, rounds }) {
  console.log(`training steps a second, batch 32; median of ${rounds} rounds of ${seconds} s, in turns\n`)
  console.log('model  optimizer  threads   torchkeep      python    ratio   (range of the rounds)')
  for (const [model, optimizer] of [
    ['mlp', 'Adam'],
    ['mlp', 'AdamW'],
    ['cnn', 'AdamW'],
  ]) {
    for (const threads of ['1', '2']) {
      const measured = Array.from({ length: rounds }, () => {
        const args = [model, optimizer, threads, seconds]
        const node = rate(process.execPath, [here('train-steps.mjs'), ...args])
        const reference = rate(python, [here('train_steps.py'), ...args])
        return { node, reference, ratio: node / reference }
      })
      const of = (key) => measured.map((round) => round[key])
      const ratios = of('ratio')
      console.log(
        `${model.padEnd(6)} ${optimizer.padEnd(10)} ${threads.padStart(7)} ${median(of('node')).toFixed(0).padStart(11)} ` +
          `${median(of('reference')).toFixed(0).padStart(11)} ${median(ratios).toFixed(2).padStart(8)}   ` +
          `(${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)})`,
      )
    }
  }
  benchEventLoop(seconds, rounds)
}

/** Prints what the trainer's logs cost and how late the event loop is while it trains. */
function benchEventLoop(seconds, rounds) {
  console.log(
    `\na whole trainer on the mlp, 1 thread, a checkpoint a second; median of ${rounds} rounds, in turns; target: p99 below 20 ms\n`,
  )
  console.log('logs                       steps/s   event loop late by: p99      most')
  const kinds = { none: 'none', default: 'events, csv', all: 'events, csv, tensorboard' }
  const measured = Array.from({ length: rounds }, () =>
    Object.fromEntries(
      Object.keys(kinds).map((logs) => [logs, measure(process.execPath, [here('event-loop.mjs'), logs, seconds])]),
    ),
  )
  for (const [logs, name] of Object.entries(kinds)) {
    const of = (key) => median(measured.map((round) => round[logs][key]))
    console.log(
      `${name.padEnd(25)} ${of('stepsPerSecond').toFixed(0).padStart(8)} ` +
        `${`${of('p99Ms').toFixed(1)} ms`.padStart(27)} ${`${of('maxMs').toFixed(1)} ms`.padStart(9)}`,
    )
  }
}
