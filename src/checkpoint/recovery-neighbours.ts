/** What the sound checkpoints of the same run tell about a damaged one. */
import { readdir } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile } from '../format/read.js'
import { canonicalJson } from './config-hash.js'
import { numberOf } from './metrics.js'
import type { TopLevel } from './migrations.js'
import { normalizeCheckpoint } from './normalize.js'
import { wholePlainValue } from './plain-values.js'
import { factsOfName } from './recovery-name.js'
import { recoveryDictOf } from './recovery-record.js'
import { runFolder } from './sidecar.js'
import { dtypeOf, sizesOf, stateTensors } from './tensor-roles.js'

/** Most neighbours that are read, those of the nearest epochs by name first. */
const mostNeighbours = 20

/** The `config` of the checkpoints of the run that hold the same model, where they all agree; null otherwise. */
export async function configFromNeighbours(
  path: string,
  value: TopLevel,
): Promise<{ config: unknown; name: string } | null> {
  const own = stateTensors(value)
  if (own.size === 0) return null
  const found: { config: unknown; name: string; text: string }[] = []
  for (const { name, value: theirs } of await neighbours(path)) {
    const config = theirs.get('config')
    if (!(config instanceof Map) || config.size === 0) continue
    const tensors = stateTensors(theirs)
    const isSame = [...own].every(([key, record]) => {
      const twin = tensors.get(key)
      return twin !== undefined && dtypeOf(twin) === dtypeOf(record) && sizesOf(twin).join() === sizesOf(record).join()
    })
    if (isSame) found.push({ config, name, text: canonicalJson(wholePlainValue(config)) })
  }
  const [first] = found
  return first !== undefined && found.every(({ text }) => text === first.text) ? first : null
}

/** The phase of an epoch, where the checkpoints before and after it (or of the same epoch) agree; null otherwise. */
export async function phaseFromNeighbours(path: string, epoch: number | null): Promise<number | null> {
  if (epoch === null) return null
  const labels = (await neighbours(path)).flatMap(({ value }) => {
    const [theirs, phase] = [numberOf(value.get('epoch')), numberOf(value.get('phase'))]
    return theirs === null || phase === null ? [] : [{ epoch: theirs, phase }]
  })
  const phases = (side: typeof labels) => new Set(side.map(({ phase }) => phase))
  const same = phases(labels.filter((label) => label.epoch === epoch))
  if (same.size === 1) return [...same][0] ?? null
  const before = labels.filter((label) => label.epoch < epoch)
  const after = labels.filter((label) => label.epoch > epoch)
  const last = before.sort((left, right) => right.epoch - left.epoch)[0]
  const next = after.sort((left, right) => left.epoch - right.epoch)[0]
  return last !== undefined && last.phase === next?.phase ? last.phase : null
}

/** Sound checkpoints of the run, heads and tails only. Recovered ones are left out: what they say may be filled in itself. */
async function neighbours(path: string): Promise<{ name: string; value: TopLevel }[]> {
  const run = runFolder(path)
  const paths: string[] = []
  for (const folder of [run, join(run, 'regular'), join(run, 'best')]) {
    for (const name of await namesIn(folder))
      if (/\.(pth|pt|ckpt)$/.test(name) && !/^(backup_|recovered_|\.)/.test(name)) paths.push(join(folder, name))
  }
  const epoch = factsOfName(path).epoch ?? 0
  const distance = (other: string) => Math.abs((factsOfName(other).epoch ?? 0) - epoch)
  const near = paths
    .filter((other) => resolve(other) !== resolve(path))
    .sort((left, right) => distance(left) - distance(right) || (left < right ? -1 : 1))
    .slice(0, mostNeighbours)
  const found: { name: string; value: TopLevel }[] = []
  for (const other of near) {
    try {
      const { value } = normalizeCheckpoint(await readTorchFile(other, { keepFloats: true, structure: 'directory' }), {
        keepFloats: true,
      })
      if (recoveryDictOf(value) === null) found.push({ name: basename(other), value })
    } catch (error) {
      // A neighbour that cannot be read tells nothing.
      if (!(error instanceof TorchkeepError)) throw error
    }
  }
  return found
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return []
    throw new TorchkeepError('ERR_CHECKPOINT_UNREADABLE', `cannot list ${folder}: ${String(error)}`, { cause: error })
  }
}
