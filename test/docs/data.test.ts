/** docs/data.md: every file, description and program on it is as printed. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { parse } from 'yaml'
import type { DataLoader } from '../../lib/index.js'
import { type Tensor } from '../../lib/index.js'
import { openData, type OpenedData, type TensorDescription } from '../../src/data/open-data.js'
import type { DataSpec } from '../../src/data/spec.js'
import { packageRoot } from '../../src/libtorch/index.js'

interface Block {
  language: string
  text: string
  /** The name in the line before: of a file. */
  name: string | undefined
}

/** The fenced blocks of a page, in order. */
function blocks(page: string): Block[] {
  return [...page.matchAll(/(?:`([\w.]+)`:\n\n)?```(\w+)\n([\s\S]*?)```\n/g)].map(
    ([, name, language = '', text = '']) => ({
      name,
      language,
      text,
    }),
  )
}

/** What a page says of opened data. */
function shown(data: OpenedData, folder: string): string {
  const tensor = (what: string, { name, dtype, shape }: TensorDescription): string =>
    `${what} ${name}: ${dtype} [${['n', ...shape].join(', ')}]`
  const samples = (name: string, part: unknown): string[] => {
    if (part === null) return []
    const { dataset } = part as DataLoader
    const batches = Array.from({ length: dataset.length }, (_, index) => dataset.get(index))
    const values = (sample: Tensor): string => `[${Array.from(sample.data() as Float32Array, Number).join(',')}]`
    const inputs = batches.map((sample) => sample.slice(0, -1).map(values).join(' '))
    return [`${name}: ${inputs.join(', ')} -> ${batches.map((sample) => values(sample.at(-1) as Tensor)).join(', ')}`]
  }
  const lines = [
    ...data.report,
    ...data.inputs.map((input) => tensor('input', input)),
    tensor('target', data.target),
    ...samples('train', data.train),
    ...samples('val', data.val),
  ]
  return lines.join('\n').replaceAll(`${folder}/`, './') + '\n'
}

describe('docs/data.md', function () {
  this.timeout(60_000)
  const all = blocks(readFileSync(join(packageRoot, 'docs/data.md'), 'utf8'))
  const outputAfter = (block: Block): string => {
    const next = all[all.indexOf(block) + 1]
    assert.equal(next?.language, 'text', `no output follows ${block.text}`)
    return next?.text ?? ''
  }
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-docs-data-'))
    for (const { name, text } of all) if (name !== undefined) writeFileSync(join(folder, name), text)
    assert.ok(all.filter(({ language }) => ['yaml', 'js'].includes(language)).length >= 7)
  })
  after(() => rmSync(folder, { recursive: true }))

  for (const block of all.filter(({ language }) => language === 'yaml'))
    it(`opens what is described: ${block.text.split('\n')[1]}`, async () => {
      const data = await openData(parse(block.text) as DataSpec, { baseFolder: folder })
      assert.equal(shown(data, folder), outputAfter(block))
    })

  for (const [index, block] of all.filter(({ language }) => language === 'js').entries())
    it(`prints what the page says: program ${index + 1}`, async () => {
      const entry = pathToFileURL(resolve(packageRoot, 'dist/src/index.js')).href
      const path = join(folder, `program-${index}.mjs`)
      writeFileSync(path, block.text.replace("'torchkeep'", `'${entry}'`))
      const { stdout } = await promisify(execFile)(process.execPath, [path], { cwd: folder })
      assert.equal(stdout.replaceAll(`${folder}/`, './'), outputAfter(block))
    })
})
