/** What no schema says: keys that must fit each other, and files that must be there. Looks at values that may be anything, so that all mistakes are told at once. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { shortList } from '../data/csv-file.js'
import { metricNames } from '../training/metrics.js'
import { meant, type Mistake } from './mistakes.js'
import type { ConfigPath } from './source.js'

type Fields = Readonly<Record<string, unknown>>

/** @param folder what paths are relative to. */
export function crossChecks(value: unknown, folder: string): Mistake[] {
  if (!isFields(value)) return []
  return [...phaseLengths(value), ...metrics(value), ...monitors(value), ...columns(value), ...files(value, folder)]
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
    typeof metric === 'string' ? metric : isFields(metric) ? String(metric['export']) : '',
  )
  const validated = validates(config['data']) ? ['val_loss', ...names.map((name) => `val_${name}`)] : []
  const known = ['train_loss', ...validated]
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

/** Whether there are validation data; what a module gives is not known before it is run. */
function validates(data: unknown): boolean {
  if (!isFields(data) || data['format'] === 'module') return true
  const { val_file: file, split } = data
  if (typeof file === 'string') return true
  return isFields(split) && (split['by'] !== 'fraction' || Number(split['val'] ?? 0) > 0)
}

/** Inputs and target of a table are columns with a role. */
function columns({ data }: Fields): Mistake[] {
  if (!isFields(data) || !isFields(data['columns'])) return []
  const lookups = listOf(data['lookups']).map((lookup) => (isFields(lookup) ? lookup['columns'] : undefined))
  const known = [data['columns'], ...lookups].flatMap((each) => (isFields(each) ? Object.keys(each) : []))
  const { target, inputs } = data
  const named: [unknown, ConfigPath][] = [
    ...[target].flat().map((name): [unknown, ConfigPath] => [name, ['data', 'target']]),
    ...listOf(inputs).flatMap((input, index) =>
      [input].flat().map((name): [unknown, ConfigPath] => [name, ['data', 'inputs', index]]),
    ),
  ]
  return named.flatMap(([name, path]) => {
    if (typeof name !== 'string' || known.includes(name)) return []
    return [
      {
        path,
        message: `should be a column of data.columns (${shortList(known, 20)}), but is ${JSON.stringify(name)}`,
        ...meant(name, known),
      },
    ]
  })
}

/** The files that the configuration names exist. */
function files(config: Fields, folder: string): Mistake[] {
  const named: [unknown, ConfigPath][] = [
    ...filesIn(config['model'], ['model']),
    ...filesIn(config['loss'], ['loss']),
    ...listOf(config['metrics']).flatMap((metric, index) => filesIn(metric, ['metrics', index])),
    ...filesIn(config['data'], ['data']),
  ]
  return named.flatMap(([file, path]) => {
    if (typeof file !== 'string' || file === '' || existsSync(resolve(folder, file))) return []
    return [{ path, message: `names ${file}, but there is no such file in ${folder}` }]
  })
}

/** Keys under which data and what modules export name files. Their `options` are their own. */
const fileKeys = ['file', 'val_file', 'test_file']
const filesIn = (part: unknown, path: ConfigPath): [unknown, ConfigPath][] => {
  if (Array.isArray(part)) return part.flatMap((item, index) => filesIn(item, [...path, index]))
  if (!isFields(part)) return []
  return Object.entries(part).flatMap(([key, value]) => {
    if (fileKeys.includes(key)) return [[value, [...path, key]] as [unknown, ConfigPath]]
    return key === 'options' ? [] : filesIn(value, [...path, key])
  })
}
