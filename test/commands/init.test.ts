import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { packageRoot } from '../../src/libtorch/index.js'
import { readTrainConfig } from '../../src/train-config/read-config.js'
import { runCommand } from './run-command.js'
import { checkedJson } from './schema.js'
import { matchSnapshot } from './snapshot.js'

describe('init', () => {
  let folder: string
  beforeEach(() => (folder = realpathSync(mkdtempSync(join(tmpdir(), 'torchkeep-init-')))))
  afterEach(() => rmSync(folder, { recursive: true }))

  const run = (...args: string[]) => runCommand(['init', ...args])
  /** The schema that the first line of a configuration names, as an absolute path. */
  const schemaOf = (config: string): string => {
    const path = /^# yaml-language-server: \$schema=(.*)\n/.exec(readFileSync(config, 'utf8'))?.[1]
    assert.ok(path !== undefined)
    return resolve(dirname(config), path)
  }

  it('writes a configuration that is valid as it is, and the table that it names', async () => {
    const { stdout, stderr, status } = await run(join(folder, 'new', 'flowers'), '--example')
    assert.deepEqual([status, stderr], [0, ''])
    matchSnapshot('init', stdout, [[folder, '<folder>']])
    const config = join(folder, 'new', 'flowers', 'train.yaml')
    matchSnapshot('init-config', readFileSync(config, 'utf8'), [[/\$schema=.*/g, '$schema=<schema>']])
    const { settings } = await readTrainConfig(config)
    assert.equal(settings.data.format, 'csv')
    const [header] = readFileSync(join(folder, 'new', 'flowers', 'example.csv'), 'utf8').split('\n')
    for (const column of Object.keys((settings.data as { columns: object }).columns))
      assert.ok((header as string).split(',').includes(column), column)
  })

  it('names a schema that is there: in this package, or in the node_modules above', async () => {
    assert.equal((await run(folder)).status, 0)
    assert.equal(schemaOf(join(folder, 'train.yaml')), join(realpathSync(packageRoot), 'schemas', 'train-config.json'))
    const installed = join(folder, 'node_modules', 'torchkeep', 'schemas', 'train-config.json')
    mkdirSync(dirname(installed), { recursive: true })
    writeFileSync(installed, '{}')
    mkdirSync(join(folder, 'runs'))
    const { stdout } = await run(join(folder, 'runs', 'a.yml'), '--json')
    const result = checkedJson('init', stdout) as { config: string; data: string | null }
    assert.deepEqual(result, { config: join(folder, 'runs', 'a.yml'), data: null })
    assert.equal(schemaOf(result.config), installed)
    assert.match(readFileSync(result.config, 'utf8'), /\$schema=\.\.\/node_modules\/torchkeep\//)
  })

  it('never writes over a file', async () => {
    const [config, table] = [join(folder, 'train.yaml'), join(folder, 'example.csv')]
    writeFileSync(table, 'mine')
    const refused = await run(folder, '--example', '--json')
    assert.equal(refused.status, 2)
    const { error } = checkedJson('init', refused.stdout) as { error: { message: string } }
    assert.equal(error.message, `${table} is there already; nothing was written`)
    assert.ok(!existsSync(config))
    assert.equal((await run(folder)).status, 0)
    const written = readFileSync(config)
    assert.equal((await run(folder)).status, 2)
    assert.deepEqual([readFileSync(config), readFileSync(table, 'utf8')], [written, 'mine'])
  })
})
