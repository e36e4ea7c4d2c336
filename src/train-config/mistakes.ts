/** Mistakes of a configuration: what zod found and what was found besides, each with its path, its line and what may have been meant. */
import * as z from 'zod'
import { nearNames } from '../format/near-names.js'
import { TorchkeepError } from '../format/errors.js'
import { type ConfigPath, type ConfigSource, pathText } from './source.js'

/** One mistake. */
export interface Mistake {
  path: ConfigPath
  /** What is wrong, as the end of a sentence that begins with the path. */
  message: string
  /** What to write instead. */
  suggestion?: string
}

/** The issues of zod as mistakes, in the order of the file's schema. */
export function mistakesOf(schema: z.ZodType, value: unknown, issues: readonly z.core.$ZodIssue[]): Mistake[] {
  return issues.flatMap((issue) => fromIssue(schema, value, issue, []))
}

/** @throws TorchkeepError `ERR_INVALID_ARGUMENT` with all mistakes, one a line, where there are any. */
export function refuseMistakes(source: ConfigSource, mistakes: readonly Mistake[]): void {
  if (mistakes.length === 0) return
  const inOrder = [...mistakes].sort((a, b) => source.lineOf(a.path) - source.lineOf(b.path))
  const lines = inOrder.map(
    ({ path, message }) =>
      `  ${source.placeOf(path)}: ${path.length === 0 ? 'the configuration' : pathText(path)} ${message}`,
  )
  const count = mistakes.length === 1 ? '1 mistake' : `${mistakes.length} mistakes`
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${source.file} has ${count}:\n${lines.join('\n')}`, {
    suggestions: [...new Set(inOrder.flatMap(({ suggestion }) => suggestion ?? []))],
  })
}

/** What other programs call our keys. */
const calledElsewhere: Readonly<Record<string, string>> = {
  learning_rate: 'lr',
  base_lr: 'lr',
  max_epochs: 'epochs',
  num_epochs: 'epochs',
  max_steps: 'steps',
  criterion: 'loss',
  loss_fn: 'loss',
  optim: 'optimizer',
  lr_scheduler: 'scheduler',
  dataset: 'data',
  output_dir: 'checkpoint_dir',
  save_dir: 'checkpoint_dir',
  max_grad_norm: 'clip_grad_norm',
  gradient_clip_val: 'clip_grad_norm',
  gradient_accumulation_steps: 'accumulate_grad_batches',
  frozen: 'freeze',
  random_seed: 'seed',
  random_state: 'seed',
}

/** What `typed` may have meant, as a suggestion. */
export function meant(typed: unknown, known: readonly string[]): { suggestion?: string } {
  const elsewhere = calledElsewhere[String(typed)]
  const near = elsewhere !== undefined && known.includes(elsewhere) ? [elsewhere] : nearNames(String(typed), known, 2)
  return near.length === 0 ? {} : { suggestion: `${String(typed)} -> ${near.join(' or ')}` }
}

function fromIssue(schema: z.ZodType, root: unknown, issue: z.core.$ZodIssue, prefix: ConfigPath): Mistake[] {
  const path = [...prefix, ...issue.path.map((part) => (typeof part === 'number' ? part : String(part)))]
  const value = at(root, path)
  const known = keysAt(schema, root, path)
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey([...path, key], key, known))
    case 'invalid_value':
      return [{ path, message: expected(choices(issue.values), value), ...meant(value, issue.values.map(String)) }]
    case 'invalid_union': {
      if (issue.errors.length === 0) return [unknownName(issue, root, prefix)]
      return closest(issue.errors).flatMap((inner) => fromIssue(schema, root, inner, path))
    }
    case 'invalid_type':
      if (value === undefined) return [missing(path, issue.expected)]
      return [{ path, message: expected(kinds[issue.expected] ?? issue.expected, value) }]
    case 'too_small':
    case 'too_big':
      return [{ path, message: expected(limit(issue), value) }]
    case 'invalid_element':
    case 'invalid_key':
    case 'invalid_format':
    case 'not_multiple_of':
    case 'custom':
      return [{ path, message: issue.message }]
  }
}

/** All that is known is listed where nothing is near, or where it is short. */
function unknownKey(path: ConfigPath, key: string, known: readonly string[]): Mistake {
  const near = meant(key, known)
  const list = near.suggestion === undefined || known.length <= 10 ? ` (known: ${known.join(', ')})` : ''
  return { path, message: `is not known here${list}`, ...near }
}

const missing = (path: ConfigPath, kind: string): Mistake => ({
  path,
  message: `is missing (expected ${kinds[kind] ?? kind})`,
})

/** A discriminated union whose `name` is none of the known ones. */
function unknownName(issue: z.core.$ZodIssueInvalidUnion, root: unknown, prefix: ConfigPath): Mistake {
  const path = [...prefix, ...issue.path.map((part) => (typeof part === 'number' ? part : String(part)))]
  const value = at(root, path)
  const options = ((issue as { options?: readonly unknown[] }).options ?? []).map(String)
  if (value === undefined) return { path, message: `is missing (expected ${choices(options)})` }
  return { path, message: expected(choices(options), value), ...meant(value, options) }
}

/** Of several forms that a value may have, what is wrong with the one that it resembles most: whose issues lie deepest, then are fewest. */
function closest(forms: readonly (readonly z.core.$ZodIssue[])[]): readonly z.core.$ZodIssue[] {
  const weight = (issues: readonly z.core.$ZodIssue[]): number =>
    issues.reduce((sum, { code, path }) => sum + (path.length > 0 ? 1 : code === 'unrecognized_keys' ? 2 : 100), 0)
  return [...forms].sort((a, b) => weight(a) - weight(b))[0] ?? []
}

/** Keys that the schema knows at a path, through all forms that the value there may have. */
function keysAt(schema: z.ZodType, root: unknown, path: ConfigPath): string[] {
  let forms = [schema]
  let value = root
  for (const part of path) {
    forms = forms.flatMap((form) => formsOf(form, value)).flatMap((form) => child(form, part))
    value = at(value, [part])
  }
  return [
    ...new Set(
      forms.flatMap((form) => formsOf(form, value)).flatMap((form) => (isObject(form) ? Object.keys(form.shape) : [])),
    ),
  ]
}

const isObject = (schema: z.ZodType): schema is z.ZodObject => schema instanceof z.ZodObject

/** A schema without what wraps it; of a union the forms that the value's name picks, or with which it shares most keys. */
function formsOf(schema: z.ZodType, value: unknown): z.ZodType[] {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable)
    return formsOf(schema.unwrap() as z.ZodType, value)
  if (schema instanceof z.ZodLazy) return formsOf(schema.unwrap() as z.ZodType, value)
  if (!(schema instanceof z.ZodUnion)) return [schema]
  const forms = (schema.options as readonly z.ZodType[]).flatMap((form) => formsOf(form, value))
  const picked = forms.filter((form) => isObject(form) && isNamed(form, value))
  if (picked.length > 0) return picked
  const shared = (form: z.ZodType): number =>
    isObject(form) ? Object.keys(form.shape).filter((key) => at(value, [key]) !== undefined).length : 0
  const most = Math.max(...forms.map(shared))
  return most === 0 ? forms : forms.filter((form) => shared(form) === most)
}

/** Whether the value has the fixed word by which this form is told, such as `name: StepLR`. */
function isNamed(form: z.ZodObject, value: unknown): boolean {
  const words = Object.entries(form.shape).filter(([, field]) => field instanceof z.ZodLiteral)
  return words.length > 0 && words.every(([key, field]) => (field as z.ZodLiteral).safeParse(at(value, [key])).success)
}

function child(schema: z.ZodType, part: string | number): z.ZodType[] {
  if (isObject(schema)) return Object.hasOwn(schema.shape, part) ? [schema.shape[part] as z.ZodType] : []
  if (schema instanceof z.ZodArray) return [schema.element as z.ZodType]
  return schema instanceof z.ZodRecord ? [schema.valueType as z.ZodType] : []
}

/** The value at a path, undefined where there is none. */
function at(value: unknown, path: ConfigPath): unknown {
  return path.reduce<unknown>(
    (found, part) =>
      typeof found === 'object' && found !== null && Object.hasOwn(found, part)
        ? (found as Record<string | number, unknown>)[part]
        : undefined,
    value,
  )
}

const kinds: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  int: 'an integer',
  boolean: 'true or false',
  array: 'a list',
  object: 'keys and values',
  record: 'keys and values',
  null: 'null',
  nonoptional: 'a value',
}

const choices = (values: readonly unknown[]): string =>
  values.length === 1 ? String(values[0]) : `one of ${values.map(String).join(', ')}`

function limit(issue: z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig): string {
  const [bound, word] =
    issue.code === 'too_small'
      ? [issue.minimum, issue.inclusive === false ? 'more than' : 'at least']
      : [issue.maximum, issue.inclusive === false ? 'less than' : 'at most']
  if (issue.origin === 'string') return 'a text that is not empty'
  return issue.origin === 'array' ? `a list of ${word} ${bound}` : `a number of ${word} ${bound}`
}

const expected = (what: string, found: unknown): string => `should be ${what}, but is ${describe(found)}`

function describe(value: unknown): string {
  if (value === undefined) return 'missing'
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (typeof value === 'object' && value !== null) return `keys and values (${Object.keys(value).join(', ')})`
  if (typeof value !== 'string') return String(value)
  return `the text ${JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}...` : value)}`
}
