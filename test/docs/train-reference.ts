/** The reference of configuration keys for docs/training.md, made from the published JSON Schema. */
import { trainFileJsonSchema } from '../../src/train-config/schema.js'

interface Schema {
  type?: string | string[]
  description?: string
  properties?: Record<string, Schema>
  required?: string[]
  anyOf?: Schema[]
  oneOf?: Schema[]
  items?: Schema
  prefixItems?: Schema[]
  additionalProperties?: Schema | boolean
  enum?: unknown[]
  const?: unknown
  minimum?: number
  exclusiveMinimum?: number
  $ref?: string
}

/** Sections of the reference: heading, and the path of the schema whose keys it lists. */
export function reference(): string {
  const root = trainFileJsonSchema() as Schema
  const top = Object.entries(root.properties ?? {})
  const sections = [
    section('The file', { ...root, properties: Object.fromEntries(top) }),
    ...formsOf(top, 'model').map((form) => section(`model: ${titleOf(form)}`, form)),
    ...formsOf(top, 'data').map((form) => section(`data: ${titleOf(form)}`, form)),
    ...columnForms(top).map((form) => section(`data.columns.NAME: ${titleOf(form)}`, form)),
    ...formsOf(columnsOf(top), 'split').map((form) => section(`data.split: ${titleOf(form)}`, form)),
    section('data.lookups[]', itemsOf(field(columnsOf(top), 'lookups'))),
    section('phases[]', itemsOf(field(top, 'phases'))),
    ...formsOf(top, 'optimizer').map((form) => section(`optimizer: ${titleOf(form)}`, form)),
    section(
      'phases[].groups[]',
      itemsOf(field(Object.entries(itemsOf(field(top, 'phases')).properties ?? {}), 'groups')),
    ),
    ...formsOf(top, 'scheduler').map((form) => section(`scheduler: ${titleOf(form)}`, form)),
    ...formsOf(top, 'early_stopping').map((form) => section('early_stopping', form)),
    section('checkpoint', field(top, 'checkpoint')),
    section('checkpoint.best[]', itemsOf(field(Object.entries(field(top, 'checkpoint').properties ?? {}), 'best'))),
    ...formsOf(top, 'logs').map((form) => section('logs', form)),
  ]
  return sections.join('\n')
}

type Fields = [string, Schema][]

const field = (fields: Fields, key: string): Schema => fields.find(([name]) => name === key)?.[1] ?? {}
const itemsOf = (schema: Schema): Schema => schema.items ?? {}
/** The forms of a value that have keys. */
const forms = (schema: Schema): Schema[] =>
  schema.properties !== undefined ? [schema] : [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])].flatMap(forms)
const formsOf = (fields: Fields, key: string): Schema[] => forms(field(fields, key))
const columnsOf = (top: Fields): Fields => Object.entries(formsOf(top, 'data')[0]?.properties ?? {})
const columnForms = (top: Fields): Schema[] => forms(field(columnsOf(top), 'columns').additionalProperties as Schema)

/** By what one tells a form: its fixed words. */
function titleOf({ properties = {} }: Schema): string {
  const words = Object.entries(properties).filter(([, { const: word }]) => typeof word === 'string')
  return words.length === 0
    ? 'file'
    : words
        .slice(0, 1)
        .map(([key, { const: word }]) => `${key} ${String(word)}`)
        .join('')
}

function section(title: string, { properties = {}, required = [] }: Schema): string {
  const rows = Object.entries(properties).map(
    ([key, schema]) =>
      `| \`${key}\` | ${kindOf(schema)} | ${required.includes(key) ? 'yes' : ''} | ${cell(schema.description)} |`,
  )
  return [
    `### \`${title}\``,
    '',
    '| key | value | needed | what it is |',
    '| --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n')
}

const cell = (text = ''): string => text.replaceAll('|', '\\|')

/** What may stand there, in a few words. */
function kindOf(schema: Schema): string {
  if (schema.const !== undefined) return `\`${String(schema.const)}\``
  if (schema.enum !== undefined) return schema.enum.map((word) => `\`${String(word)}\``).join(', ')
  const some = [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])]
  if (schema.properties === undefined && some.length > 0) return [...new Set(some.map(kindOf))].join(', ')
  if (schema.type === 'array') return `list of ${kindOf(schema.items ?? schema.prefixItems?.[0] ?? {})}`
  if (schema.type === 'string') return 'text'
  if (schema.type === 'boolean') return 'true or false'
  if (schema.type === 'null') return 'null'
  if (schema.type === 'integer') return `integer${limitOf(schema)}`
  if (schema.type === 'number') return `number${limitOf(schema)}`
  return 'keys and values'
}

function limitOf({ minimum, exclusiveMinimum }: Schema): string {
  if (exclusiveMinimum !== undefined) return ` above ${exclusiveMinimum}`
  return minimum === undefined || Math.abs(minimum) > 1e9 ? '' : ` of at least ${minimum}`
}
