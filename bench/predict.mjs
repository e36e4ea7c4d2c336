// The Node side of `npm run bench -- inference`: predictions a second of loadForInference on a file of bench/predict.py, and how late the event loop is meanwhile.
// usage: node predict.mjs FILE ROWS OVERLAPPING SECONDS  ->  one JSON line
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { loadForInference, randn } from 'torchkeep'

const [file, rows, overlapping, seconds] = process.argv.slice(2)
const model = await loadForInference(file)
const batch = randn([Number(rows), ...model.inputs[0].shape.slice(1)])

/** So many callers, each of which waits for its prediction before it asks for the next; predictions a second. */
async function predictFor(durationMs) {
  const start = performance.now()
  let done = 0
  async function caller() {
    while (performance.now() - start < durationMs) {
      const [output] = await model.predict([batch])
      output.dispose()
      done++
    }
  }
  await Promise.all(Array.from({ length: Number(overlapping) }, caller))
  return (done / (performance.now() - start)) * 1000
}

await predictFor(300) // warm-up
const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()
const predictionsPerSecond = await predictFor(Number(seconds) * 1000)
delay.disable()
console.log(JSON.stringify({ predictionsPerSecond, p99Ms: delay.percentile(99) / 1e6, maxMs: delay.max / 1e6 }))
model.dispose()
