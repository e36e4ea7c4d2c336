/** Fills the labels that a training checkpoint lost: from the rest of the file, its name, its sidecar, its neighbours, else as unknown. */
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { PyFloat } from '../format/values.js'
import { factsOfName } from './recovery-name.js'
import { configFromNeighbours, phaseFromNeighbours } from './recovery-neighbours.js'
import { numberOf } from './metrics.js'
import type { TopLevel } from './migrations.js'
import { exactSidecar, type Sidecar } from './recovery-sidecar.js'
import type { RecoveryActs } from './recovery-record.js'

/** Fills what is missing in `value` (the current names), in place. */
export async function fillLabels(value: Map<unknown, unknown>, path: string, acts: RecoveryActs): Promise<void> {
  const fill = (key: string, found: unknown, from: string): boolean => {
    if (found === null || found === undefined || isUsable(value, key)) return false
    value.set(key, found)
    acts.filled.push(`${key}: from ${from}`)
    return true
  }
  const unknown = (key: string, placeholder: unknown): void => {
    if (isUsable(value, key)) return
    value.set(key, placeholder)
    acts.unknown.push(`${key}: written as ${placeholder instanceof Map ? '{}' : String(placeholder)}`)
  }
  if (!isUsable(value, 'version')) {
    value.set('version', '1.0')
    acts.filled.push('version: written as 1.0, the first one, which all readers know')
  }
  const state = value.get('training_state')
  const inside: TopLevel = state instanceof Map ? (state as TopLevel) : new Map()
  fill('epoch', numberOf(inside.get('current_epoch')), 'training_state.current_epoch')
  fill('phase', numberOf(inside.get('current_phase')), 'training_state.current_phase')
  const named = factsOfName(path)
  for (const key of ['epoch', 'phase', 'timestamp'] as const) fill(key, named[key], "the file's name")
  await fillFromSidecar(value, path, fill, acts)
  if (!isUsable(value, 'phase'))
    fill('phase', await phaseFromNeighbours(path, numberOf(value.get('epoch'))), 'the checkpoints before and after')
  if (!isUsable(value, 'config')) {
    const neighbour = await configFromNeighbours(path, value)
    if (neighbour !== null) fill('config', neighbour.config, `the same model's checkpoint ${neighbour.name}`)
  }
  if (!isUsable(value, 'timestamp')) {
    const { mtimeMs } = await stat(path)
    fill('timestamp', Math.floor(mtimeMs / 1000), 'the time when the file was last changed')
  }
  unknown('epoch', 0)
  unknown('phase', 1)
  unknown('config', new Map())
}

function isUsable(value: TopLevel, key: string): boolean {
  const found = value.get(key)
  if (key === 'config') return found instanceof Map
  return found !== undefined && found !== null
}

type Fill = (key: string, found: unknown, from: string) => boolean

async function fillFromSidecar(value: TopLevel, path: string, fill: Fill, acts: RecoveryActs): Promise<void> {
  const wanted = ['timestamp', 'epoch', 'phase', 'config', 'validation_loss', 'is_best', 'training_state']
  if (wanted.every((key) => isUsable(value, key))) return
  let sidecar: Sidecar | null
  try {
    const number = (key: string) => numberOf(value.get(key))
    sidecar = await exactSidecar(path, {
      epoch: number('epoch'),
      phase: number('phase'),
      timestamp: number('timestamp'),
    })
  } catch (error) {
    if (!(error instanceof TorchkeepError)) throw error
    acts.unknown.push(`the sidecar: ${error.message}`)
    return
  }
  if (sidecar === null) return
  const from = `the sidecar ${basename(sidecar.path)}`
  for (const key of ['timestamp', 'epoch', 'phase'] as const) fill(key, sidecar.number(key), from)
  const loss = sidecar.number('validation_loss')
  fill('validation_loss', loss === null ? null : new PyFloat(loss), from)
  const isBest = sidecar.value.get('is_best')
  fill('is_best', typeof isBest === 'boolean' ? isBest : null, from)
  for (const key of ['config', 'training_state'] as const) {
    const found = sidecar.value.get(key)
    fill(key, found instanceof Map ? found : null, from)
  }
}
