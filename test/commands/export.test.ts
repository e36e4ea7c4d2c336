/** `torchkeep export` where there is no LibTorch; with it, test/docs/export.test.ts runs it. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExportResult } from '../../src/export/index.js'
import { OrderedDict } from '../../src/format/index.js'
import { checkpointValue, float32, writeCheckpointFolder, writeValue } from './checkpoints.js'
import { runCommand, type CommandResult } from './run-command.js'
import { checkedJson } from './schema.js'
import { matchSnapshot } from './snapshot.js'

describe('export', function () {
  this.timeout(60_000)
  let folder: string
  let exportDir: string
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-export-command-'))
    exportDir = join(folder, 'exports')
    await writeCheckpointFolder(join(folder, 'checkpoints'))
  })
  after(() => rmSync(folder, { recursive: true }))
  beforeEach(() => rmSync(exportDir, { recursive: true, force: true }))

  const run = (...args: string[]): Promise<CommandResult> =>
    runCommand(['export', '--checkpoint-dir', join(folder, 'checkpoints'), '--export-dir', exportDir, ...args])

  it('inference: tells folder, files, archive and what is missing', async () => {
    const { stdout, stderr, status } = await run('best', 'inference', 'affinity')
    assert.deepEqual([status, stderr], [0, ''])
    matchSnapshot('export-inference', stdout, [
      [folder, '.'],
      [/affinity_\d+/g, 'affinity_<unix time>'],
      [/^( {2}\S+) +[\d.]+ (B|KiB)$/gm, '$1  <size>'],
    ])
  })

  it('sharing: tells what was taken out and what is left to do', async () => {
    const value = checkpointValue({ epoch: 2, phase: 1, valLoss: 0.5, timestamp: 1_755_400_000 })
    ;(value.get('config') as Map<string, unknown>).set('data', '/home/ada/affinity')
    const path = join(folder, 'private.pth')
    await writeValue(path, value)
    const args = [path, 'sharing', 'affinity', '--license', 'mit', '--compress', 'none'] as const
    const { stdout, stderr, status } = await run(...args)
    assert.deepEqual([status, stderr], [0, ''])
    assert.match(stdout, /^removed: 1 text that may name people, machines or secrets\n {2}config\.data: posix_path$/m)
    assert.match(stdout, /^note: Intended use and limitations are to be filled in\.$/m)
    const [made = '', ...others] = readdirSync(exportDir)
    assert.match(made, /^affinity_shared_\d+$/)
    assert.deepEqual(others, [])

    const kept = checkedJson('export', (await run(...args, '--allow', 'config.data', '--json')).stdout) as ExportResult
    assert.deepEqual(kept.removals, [])
    const asked = ['--no-anonymize', '--include-training-state', '--format', 'pth', '--json']
    const whole = checkedJson('export', (await run(...args, ...asked)).stdout) as ExportResult
    assert.ok(whole.files.some(({ name }) => name === 'model.pth'))
    assert.deepEqual([whole.kind, whole.archive, whole.removals], ['sharing', null, []])
  })

  it('sharing: ends with 1 where something private is left, and leaves nothing', async () => {
    const value = checkpointValue({ epoch: 2, phase: 1, valLoss: 0.5, timestamp: 1_755_400_000 })
    value.set('model_state_dict', new OrderedDict([['of.ada.lovelace@example.org', float32([1], [1])]]))
    const path = join(folder, 'named.pth')
    await writeValue(path, value)
    const { stdout, status } = await run(path, 'sharing', 'x', '--license', 'mit', '--json')
    const { error } = checkedJson('export', stdout) as { error: { code: string; message: string } }
    assert.deepEqual([status, error.code], [1, 'ERR_EXPORT_SECRET'])
    assert.doesNotMatch(stdout, /lovelace/, 'the secret itself is not told')
    assert.deepEqual(existsSync(exportDir) ? readdirSync(exportDir) : [], [])
  })

  const misuse: [title: string, args: string[], message: RegExp][] = [
    [
      'flags of the other kind',
      ['inference', 'x', '--license', 'mit', '--no-anonymize'],
      /^--no-anonymize and --license are for an export of the kind sharing/,
    ],
    ['the other way round', ['sharing', 'x', '--sample', 'x.pth'], /^--sample is for an export of the kind inference/],
    ['an unknown format', ['inference', 'x', '--format', 'pth,safetensor'], /^there is no format 'safetensor'/],
    [
      'options of a model that are no JSON',
      ['inference', 'x', '--model', 'm.mjs', '--model-options', '{'],
      /^--model-options is no JSON/,
    ],
    ['a name that is none', ['inference', '../x'], /^the name of an export should have .* found "\.\.\/x"/],
  ]
  for (const [title, args, message] of misuse)
    it(`ends with 2 for ${title}, and writes nothing`, async () => {
      const { stdout, status } = await run('best', ...args, '--json')
      const { error } = checkedJson('export', stdout) as { error: { message: string } }
      assert.equal(status, 2, stdout)
      assert.match(error.message, message)
      assert.equal(existsSync(exportDir), false)
    })

  it('ends with 3 for a checkpoint that is not there or whose model is asked for but not in it', async () => {
    const absent = await run('checkpoints/absent.pth', 'inference', 'x', '--json')
    const { error } = checkedJson('export', absent.stdout) as { error: { code: string } }
    assert.deepEqual([absent.status, error.code], [3, 'ERR_CHECKPOINT_MISSING'])
    const { stderr, status } = await run('best', 'inference', 'x', '--format', 'pt2')
    assert.equal(status, 3)
    assert.match(stderr.replaceAll(/\s+/g, ' '), /ERR_CHECKPOINT_UNSUPPORTED.*--model FILE gives the model/)
  })
})
