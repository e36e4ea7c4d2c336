// One process that looks at mutated files: everything that reads, in turn, with what each took. Started by run.mjs, which enforces the limits.
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import * as checkpoints from '../dist/src/checkpoint/index.js'
import * as format from '../dist/src/format/index.js'
import { contentsOf } from '../dist/test/format/contents.js'
import { peakMemoryKib } from '../dist/test/peak-memory.js'

const [, , scratch] = process.argv

/** What may come out: a value or a TorchkeepError about the file. */
const codes = new Set(
  ['CORRUPT', 'UNSAFE', 'UNSUPPORTED', 'INCOMPATIBLE', 'NEWER', 'MISSING', 'UNREADABLE'].map(
    (name) => `ERR_CHECKPOINT_${name}`,
  ),
)

/** Everything that is done with a file; each gives what later ones are compared with. */
const operations = {
  read: (path) => contentsOf(path),
  look: (path) => format.readTorchFile(path, { unsafe: 'describe', structure: 'directory' }),
  describe: (path) => checkpoints.describeCheckpoint(path),
  validate: (path) => checkpoints.CheckpointValidator.validateCheckpointFile(path, { level: 'full' }),
  inspect: (path) =>
    checkpoints.inspectCheckpoint(path, { tensors: true, statistics: true, depth: 6 }).then(JSON.stringify),
  compare: (path, original) => checkpoints.compareCheckpoints(original, path).then(JSON.stringify),
  history: (path) => checkpoints.readHistory(path).then(JSON.stringify),
  metadata: (path) => checkpoints.readMetadata(path).then(JSON.stringify),
  assess: (path) => checkpoints.assessRecovery(path),
  recover: (path) => recover(path),
}

/** Recovery must never throw anything but our errors, and what it calls a success must validate. */
async function recover(path) {
  const folder = join(scratch, 'recovered')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  const output = join(folder, 'recovered.pth')
  const result = await new checkpoints.CheckpointRecovery(folder).attemptRecovery(path, output, { backup: false })
  const left = readdirSync(folder).filter((name) => name !== 'recovered.pth')
  if (left.length > 0) throw new Error(`recovery left ${left.join(', ')}`)
  if (result.success && result.recoveredPath !== null) {
    const report = await checkpoints.CheckpointValidator.validateCheckpointFile(result.recoveredPath)
    if (!report.valid)
      throw new Error(
        `the recovered file is invalid: ${report.errors.map(({ id, message }) => `${id} ${message}`).join('; ')}`,
      )
  }
  return result.success
}

async function attempt(operation, path, original) {
  const [cpuBefore, started, rssBefore] = [process.cpuUsage(), performance.now(), peakMemoryKib()]
  let outcome
  try {
    outcome = { value: await operation(path, original) }
  } catch (error) {
    outcome = { error }
  }
  const { user, system } = process.cpuUsage(cpuBefore)
  const grewMb = (peakMemoryKib() - rssBefore) / 1024
  return { ...outcome, cpuMs: (user + system) / 1000, ms: performance.now() - started, grewMb }
}

/** What is wrong with an outcome, or undefined. */
function complaint(name, { error, cpuMs, grewMb }) {
  if (error !== undefined) {
    const known = error instanceof format.TorchkeepError && codes.has(error.code)
    if (!known) return `${name}: ${error.stack ?? String(error)}`
    if (/CORRUPT|UNSAFE|UNSUPPORTED/.test(error.code) && error.finding === null)
      return `${name}: an error without a finding: ${error.stack}`
  }
  if (cpuMs > 1000) return `${name}: took ${Math.round(cpuMs)} ms`
  if (grewMb > 200) return `${name}: grew by ${Math.round(grewMb)} MB`
  return undefined
}

/** Contradictions between what several operations say of one file. */
function* contradictions(outcomes, { sameOrNoticed, whole }) {
  const { read, validate, look } = outcomes
  if (validate.error === undefined && validate.value.valid && read.error !== undefined)
    yield `validate finds it valid, yet it cannot be read: ${read.error.message}`
  if (read.error === undefined && look.error !== undefined)
    yield `it can be read, yet not looked at: ${look.error.stack}`
  if (!sameOrNoticed || read.error !== undefined || read.value.text === whole.text) return
  if (![...read.value.findings].some((finding) => !whole.findings.has(finding)))
    yield 'a change of bytes under a CRC-32 was not noticed'
}

const wholes = new Map()

process.on('message', async ({ id, path, original, sameOrNoticed }) => {
  if (sameOrNoticed && !wholes.has(original)) wholes.set(original, await contentsOf(original))
  const complaints = []
  const outcomes = {}
  for (const [name, operation] of Object.entries(operations)) {
    process.send({ id, started: name })
    outcomes[name] = await attempt(operation, path, original)
    const found = complaint(name, outcomes[name])
    if (found !== undefined) complaints.push(found)
  }
  complaints.push(...contradictions(outcomes, { sameOrNoticed, whole: wholes.get(original) }))
  const refusedFor = outcomes.read.error === undefined ? 'read' : outcomes.read.error.finding
  process.send({ id, complaints, refusedFor })
})
