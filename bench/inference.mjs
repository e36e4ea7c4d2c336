// The inference part of `npm run bench`: predictions a second as ratios against Python run beside it, in turns, so that both see the same machine.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { median } from './machine.mjs'

const here = (name) => new URL(name, import.meta.url).pathname
const measure = (command, args) => JSON.parse(execFileSync(command, args, { encoding: 'utf8' }))

/** Calls that are under way at a time: one after another, and as a service has them. */
const overlaps = [1, 16]

/** Prints a row for each model, size of the batch and number of calls under way. */
export function benchInference({ python, seconds, rounds }) {
  console.log(
    `predictions a second, 1 thread, python eager under inference_mode; median of ${rounds} rounds of ${seconds} s, in turns; target: event loop p99 below 20 ms\n`,
  )
  console.log('model  rows  calls at once   torchkeep      python    ratio   (range of the rounds)   event loop late by: p99      most') // prettier-ignore
  const folder = mkdtempSync(join(tmpdir(), 'torchkeep-bench-'))
  for (const model of ['mlp', 'cnn']) {
    const file = join(folder, `${model}.pt2`)
    execFileSync(python, [here('predict.py'), 'export', model, file])
    for (const rows of [1, 32]) {
      const measured = Array.from({ length: rounds }, () => ({
        python: measure(python, [here('predict.py'), model, String(rows), seconds]),
        node: overlaps.map((count) => measure(process.execPath, [here('predict.mjs'), file, rows, count, seconds])),
      }))
      for (const [index, count] of overlaps.entries()) printRow(model, rows, count, measured, index)
    }
  }
  rmSync(folder, { recursive: true })
}

function printRow(model, rows, count, measured, index) {
  const own = measured.map(({ node }) => node[index])
  const reference = measured.map(({ python }) => python.predictionsPerSecond)
  const ratios = own.map(({ predictionsPerSecond }, round) => predictionsPerSecond / reference[round])
  const of = (key) => median(own.map((result) => result[key]))
  const range = `(${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)})`
  console.log(
    `${model.padEnd(6)} ${String(rows).padStart(4)} ${String(count).padStart(14)} ${of('predictionsPerSecond').toFixed(0).padStart(11)} ` +
      `${median(reference).toFixed(0).padStart(11)} ${median(ratios).toFixed(2).padStart(8)}   ${range.padEnd(23)} ` +
      `${`${of('p99Ms').toFixed(1)} ms`.padStart(27)} ${`${of('maxMs').toFixed(1)} ms`.padStart(9)}`,
  )
}
