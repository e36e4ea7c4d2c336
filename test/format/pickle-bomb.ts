/** Runs in a worker whose memory is limited: reads the pickle that it is given, and says how that ended and how much time of the processor it took. */
import { parentPort, workerData } from 'node:worker_threads'
import { TorchkeepError } from '../../src/format/index.js'
import { readPickle } from '../../src/format/pickle.js'

/** How it ended. */
export interface BombOutcome {
  /** `read`, or the finding of the refusal. */
  ended: string
  message: string
  /** Time of the processor, all threads of the process together: what else the machine does is left out. */
  cpuMs: number
}

const bytes = Buffer.from(workerData as Uint8Array)
const start = process.cpuUsage()
const cpuMs = () => {
  const { user, system } = process.cpuUsage(start)
  return (user + system) / 1000
}
const outcome = (ended: string, message: string): BombOutcome => ({
  ended,
  message,
  cpuMs: cpuMs(),
})
try {
  readPickle(bytes, {
    label: 'bomb',
    globals: new Set(),
    findings: [],
    unsafe: 'describe',
    persistentLoad: (_, reader) => reader.fail('no storages'),
  })
  parentPort?.postMessage(outcome('read', ''))
} catch (error) {
  if (!(error instanceof TorchkeepError)) throw error
  parentPort?.postMessage(outcome(error.finding ?? 'none', error.message))
}
