/** Started by `bombs.test.ts` with little memory: lets everything that looks at checkpoints look at one bomb (a folder and the bomb's number are its arguments), and tells what it cost. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  CheckpointRecovery,
  CheckpointValidator,
  compareCheckpoints,
  describeCheckpoint,
  inspectCheckpoint,
  readHistory,
  readMetadata,
} from '../../src/checkpoint/index.js'
import { readTorchFile, TorchkeepError, verifyStorages } from '../../src/format/index.js'
import { peakMemoryKib } from '../peak-memory.js'
import { bombs } from './bombs.js'

const folder = process.argv[2] ?? ''

const looks: Record<string, (path: string) => Promise<unknown>> = {
  read: async (path) => verifyStorages(await readTorchFile(path)),
  describe: (path) => describeCheckpoint(path),
  validate: (path) => CheckpointValidator.validateCheckpointFile(path),
  inspect: async (path) => JSON.stringify(await inspectCheckpoint(path, { tensors: true, statistics: true, depth: 8 })),
  compare: async (path) => JSON.stringify(await compareCheckpoints(path, path)),
  history: async (path) => JSON.stringify(await readHistory(path)),
  metadata: async (path) => JSON.stringify(await readMetadata(path)),
  recover: async (path) => new CheckpointRecovery(folder).attemptRecovery(path, undefined, { backup: false }),
}

/** What a look at a bomb cost, and what came out. */
export interface Cost {
  bomb: string
  look: string
  outcome: string
  cpuMs: number
  grewMb: number
}

async function cost(bomb: string, look: string, run: () => Promise<unknown>): Promise<Cost> {
  const [cpu, peak] = [process.cpuUsage(), peakMemoryKib()]
  const outcome = await run().then(
    () => 'fine',
    (error: unknown) =>
      error instanceof TorchkeepError ? (error.finding ?? error.code) : String((error as Error).stack),
  )
  const { user, system } = process.cpuUsage(cpu)
  return { bomb, look, outcome, cpuMs: (user + system) / 1000, grewMb: (peakMemoryKib() - peak) / 1024 }
}

const [bomb, make] = bombs()[Number(process.argv[3])] ?? ['none', () => Buffer.alloc(0)]
const path = join(folder, 'checkpoint_epoch_1_phase_1_1700000000.pth')
writeFileSync(path, make())
for (const [look, run] of Object.entries(looks)) {
  process.stdout.write(`${JSON.stringify(await cost(bomb, look, () => run(path)))}\n`)
}
