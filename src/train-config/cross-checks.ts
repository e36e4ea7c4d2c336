/** What no schema says: keys that must fit each other, and files that must be there. Looks at values that may be anything, so that all mistakes are told at once. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { metricNames } from '../training/metrics.js'
import { meant, type Mistake } from './mistakes.js'
import type { ConfigPath } from './source.js'

type Fields = Readonly<Record<string, unknown>>

/** @param folder what paths are relative to. */
export function crossChecks(value: unknown, folder: string): Mistake[] {
  if (!isFields(value)) return []
  return [...phaseLengths(value), ...metrics(value), ...monitors(value), ...modules(value, folder)]
}

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? (value as unknown[]) : [])

function phaseLengths({ phases }: Fields): Mistake[] {
  return listOf(phases).flatMap((phase, index) => {
    if (!isFields(phase)) return []
    const has = ['epochs', 'steps'].filter((key) => phase[key] !== undefined)
    if (has.length === 1) return []
    return [
      {
        path: ['phases', index],
        message: `should have either epochs or steps, but has ${has.length === 0 ? 'neither' : 'both'}`,
      },
    ]
  })
}

function metrics({ metrics: list }: Fields): Mistake[] {
  return listOf(list).flatMap((metric, index) => {
    if (typeof metric !== 'string' || metricNames.includes(metric)) return []
    const message = `should be one of ${metricNames.join(', ')}, but is ${JSON.stringify(metric)}`
    return [{ path: ['metrics', index], message, ...meant(metric, metricNames) }]
  })
}

/** Every monitor is one of the values that the run computes. */
function monitors(config: Fields): Mistake[] {
  const names = listOf(config['metrics']).map((metric) =>
    typeof metric === 'string' ? metric : isFields(metric) ? String(metric['export'] ?? 'default') : '',
  )
  const known = ['train_loss', 'val_loss', ...names.map((name) => `val_${name}`)]
  const inside = (holder: unknown, path: ConfigPath): [unknown, ConfigPath][] => {
    if (!isFields(holder)) return []
    return ['early_stopping', 'scheduler'].flatMap((key): [unknown, ConfigPath][] => {
      const part = holder[key]
      return isFields(part) ? [[part['monitor'], [...path, key, 'monitor']]] : []
    })
  }
  const checkpoint = config['checkpoint']
  const found: [unknown, ConfigPath][] = [
    [config['monitor'], ['monitor']],
    ...inside(config, []),
    ...listOf(config['phases']).flatMap((phase, index) => inside(phase, ['phases', index])),
    ...(isFields(checkpoint) ? listOf(checkpoint['best']) : []).flatMap((best, index): [unknown, ConfigPath][] =>
      isFields(best) ? [[best['monitor'], ['checkpoint', 'best', index, 'monitor']]] : [],
    ),
  ]
  return found.flatMap(([monitor, path]) => {
    if (typeof monitor !== 'string' || known.includes(monitor)) return []
    return [
      {
        path,
        message: `should be what the run computes (${known.join(', ')}), but is ${JSON.stringify(monitor)}`,
        ...meant(monitor, known),
      },
    ]
  })
}

/** The modules that the file names exist. */
function modules(config: Fields, folder: string): Mistake[] {
  const named: [unknown, ConfigPath][] = [
    [config['model'], ['model']],
    [config['loss'], ['loss']],
    ...listOf(config['metrics']).map((metric, index): [unknown, ConfigPath] => [metric, ['metrics', index]]),
  ]
  return named.flatMap(([part, path]) => {
    const file = isFields(part) ? part['file'] : undefined
    if (typeof file !== 'string' || file === '' || existsSync(resolve(folder, file))) return []
    return [{ path: [...path, 'file'], message: `names ${file}, but there is no such file in ${folder}` }]
  })
}
