import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { format } from 'prettier'
import type * as z from 'zod'
import { type SchedulerName, schedulerTables } from '../../src/checkpoint/scheduler-config.js'
import type { DataSpec } from '../../src/data/spec.js'
import { packageRoot } from '../../src/libtorch/index.js'
import { exampleTable } from '../../src/train-config/example.js'
import { trainFileJsonSchema, type trainFile } from '../../src/train-config/schema.js'
import { schedulerShapes } from '../../src/train-config/schema-scheduler.js'
import { configTemplate } from '../../src/train-config/template.js'
import { parseSource } from '../../src/train-config/source.js'

/** Zod says "or undefined" of what may be absent, our types do not. */
type Settled<T> = T extends readonly (infer Item)[]
  ? readonly Settled<Item>[]
  : T extends object
    ? { [K in keyof T]: Settled<Exclude<T[K], undefined>> }
    : T
type InSchema = Settled<z.infer<typeof trainFile>['data']>

// The compiler holds the schema of `data` to the types of src/data, both ways.
const fromSchema = (data: InSchema): DataSpec => data
const toSchema = (data: Settled<DataSpec>): InSchema => data

describe('the schema of a configuration', () => {
  const path = join(packageRoot, 'schemas', 'train-config.json')

  it('is published as JSON Schema (TORCHKEEP_UPDATE_SNAPSHOTS=1 writes it anew)', async () => {
    const text = await format(JSON.stringify(trainFileJsonSchema()), { parser: 'json', printWidth: 120 })
    if (process.env['TORCHKEEP_UPDATE_SNAPSHOTS'] === '1') writeFileSync(path, text)
    assert.equal(readFileSync(path, 'utf8'), text)
  })

  it('takes what init writes, by the JSON Schema too', () => {
    const validate = new Ajv2020({ strict: false }).compile(trainFileJsonSchema())
    for (const example of [false, true]) {
      const text = configTemplate({ schema: './x.json', example })
      assert.equal(text.split('\n')[0], '# yaml-language-server: $schema=./x.json')
      assert.ok(validate(parseSource('x', text).value), JSON.stringify(validate.errors))
    }
    assert.ok(
      !validate({ ...(parseSource('x', configTemplate({ schema: '', example: true })).value as object), more: 1 }),
    )
  })

  it('has the data of src/data', () => {
    const data: DataSpec = { format: 'tensors', file: 'x.pth', inputs: ['x'], target: 'y' }
    assert.equal(fromSchema(toSchema(data)), data)
  })

  it('has every scheduler with the options of a checkpoint, and no others', () => {
    assert.deepEqual(Object.keys(schedulerShapes).sort(), Object.keys(schedulerTables).sort())
    for (const [name, shape] of Object.entries(schedulerShapes)) {
      const table: object = schedulerTables[name as SchedulerName]
      const known = Object.values(table).map(([inFile]: [string]) => inFile)
      assert.deepEqual(Object.keys(shape).sort(), known.sort(), name)
    }
  })

  it('comes with an example that is the same each time', () => {
    const rows = exampleTable().trimEnd().split('\n')
    assert.equal(rows.length, 601)
    assert.deepEqual(rows.slice(0, 2), [
      'id,petal_mm,stem_mm,weight_g,colour,species',
      'f001,15.1,44.7,2.1,white,lowland',
    ])
    assert.ok(rows.every((row) => row.split(',').length === 6))
  })
})
