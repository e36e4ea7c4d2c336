import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ValidationRun } from '../../src/checkpoint/index.js'
import { checkpoint, dict, fileOf, float32, stateDict } from '../checkpoint/judged.js'
import { runCommand, type CommandResult } from './run-command.js'
import { checkedJson } from './schema.js'
import { matchSnapshot } from './snapshot.js'

describe('validate', () => {
  let folder: string
  const at = (...names: string[]): string => join(folder, ...names)
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-validate-'))
    for (const name of ['run/best', 'run/trash', 'empty']) mkdirSync(at(name), { recursive: true })
    writeFileSync(at('run/good.pth'), fileOf(checkpoint()))
    writeFileSync(at('run/odd.pth'), fileOf(checkpoint({ timestamp: undefined, notes: 'x', more: 1 })))
    const model = stateDict({
      'first.weight': float32([3, 2], 1, NaN),
      'norm.running_var': float32([3], Infinity, 1, 1),
      'last.weight': float32([1, 3], Infinity),
    })
    writeFileSync(at('run/nan.pth'), fileOf(checkpoint({ model_state_dict: model })))
    const flipped = fileOf(checkpoint())
    flipped[flipped.indexOf(new Uint8Array(new Float32Array([1, 2, 3]).buffer)) + 2]! ^= 1
    writeFileSync(at('run/flipped.pth'), flipped)
    copyFileSync(at('run/good.pth'), at('run/best/cut.pth'))
    truncateSync(at('run/best/cut.pth'), 2000)
    writeFileSync(at('run/trash/old.pth'), 'broken')
    writeFileSync(at('run/data.bin'), 'a file of another program')
    const many = Array.from({ length: 30 }, (_none, index) => [`layer${index}.weight`, float32([2], NaN)] as const)
    writeFileSync(
      at('many.pth'),
      fileOf(checkpoint({ model_state_dict: new Map(many), optimizer_state_dict: undefined })),
    )
    writeFileSync(
      at('strange.pth'),
      fileOf(dict({ model_state_dict: new Map([['a<&"\u0001\n\u001b[31m\ud800', float32([1], NaN)]]) })),
    )
  })
  after(() => rmSync(folder, { recursive: true }))

  const validate = (...args: string[]): Promise<CommandResult> => runCommand(['validate', ...args])
  const json = async (...args: string[]): Promise<{ status: number | null; run: ValidationRun }> => {
    const { status, stdout } = await validate(...args, '--json')
    return { status, run: checkedJson('validate', stdout) as ValidationRun }
  }

  it('says of a pipe that it cannot be read, and does not judge it', async () => {
    const pipe = at('pipe.pth')
    execFileSync('mkfifo', [pipe])
    const { status, stderr } = await validate(pipe)
    assert.equal(status, 3)
    assert.match(stderr, /pipe\.pth: it is not a\s+regular\s+file/)
    rmSync(pipe)
  })

  it('prints one file in full', async () => {
    const { status, stdout, stderr } = await validate(at('run/nan.pth'))
    assert.equal(stderr, '')
    assert.equal(status, 1)
    matchSnapshot('validate-one', stdout, [[folder, '<folder>']])
  })

  it('walks folders: verdicts, what is wrong, counts', async () => {
    const { status, stdout } = await validate(at('run'))
    assert.equal(status, 1)
    matchSnapshot('validate-folder', stdout, [[folder, '<folder>']])
  })

  it('ends with 0 for what is valid, with 1 for warnings where they count', async () => {
    assert.equal((await validate(at('run/good.pth'))).status, 0)
    assert.equal((await validate(at('run/odd.pth'))).status, 0)
    assert.equal((await validate(at('run/odd.pth'), '--strict')).status, 1)
    assert.equal((await validate(at('empty'))).status, 0)
  })

  it('reads no bytes of tensors with --fast', async () => {
    const { status, run } = await json(at('run'), '--fast')
    assert.equal(status, 1)
    assert.deepEqual(
      run.files.filter(({ valid }) => !valid).map(({ path }) => path),
      [at('run/best/cut.pth')],
    )
  })

  it('gives everything as JSON under its schema', async () => {
    const { status, run } = await json(at('run'))
    assert.equal(status, 1)
    assert.deepEqual(run.summary, { total: 5, valid: 2, invalid: 3, incompatible: 0, unreadable: 0, withWarnings: 2 })
    assert.deepEqual(run.skipped, [at('run/data.bin')])
    const ids = Object.fromEntries(
      run.files.map(({ path, errors }) => [path.slice(folder.length + 5), errors.map(({ id }) => id)]),
    )
    assert.deepEqual(ids['flipped.pth'], ['record.crc'])
    assert.deepEqual(ids['nan.pth'], ['tensor.nonfinite', 'tensor.nonfinite'])
    assert.equal(ids['best/cut.pth']?.length, 1)
  })

  it('bounds what it prints of one kind, not what it gives as JSON', async () => {
    const { stdout } = await validate(at('many.pth'))
    assert.match(stdout, /tensor\.nonfinite {2}\.\.\. and 20 more/)
    assert.equal((await json(at('many.pth'))).run.files[0]?.errors.length, 30)
  })

  it('prints nothing of a file that could move the cursor', async () => {
    const { stdout } = await validate(at('strange.pth'))
    assert.ok(!stdout.includes('\u001b') && !stdout.includes('\u0001'))
  })

  it('ends with 3 for what cannot be read, with 1 where another file is invalid', async () => {
    symlinkSync('loop.pth', at('loop.pth'))
    const missing = await validate(at('none.pth'), '--json')
    assert.equal(missing.status, 3)
    assert.equal(
      (checkedJson('validate', missing.stdout) as { error: { code: string } }).error.code,
      'ERR_CHECKPOINT_MISSING',
    )
    assert.equal((await validate(at('loop.pth'))).status, 3)
    const mixed = await json(at('run/good.pth'), at('loop.pth'), at('none.pth'))
    assert.equal(mixed.status, 3)
    assert.deepEqual(
      mixed.run.unreadable.map(({ code }) => code),
      ['ERR_CHECKPOINT_UNREADABLE', 'ERR_CHECKPOINT_MISSING'],
    )
    assert.equal((await validate(at('run/nan.pth'), at('none.pth'))).status, 1)
    assert.equal((await validate()).status, 2)
  })

  it('compares with a configuration', async () => {
    writeFileSync(at('same.json'), '{"hidden": 3, "learning_rate": 1}')
    writeFileSync(at('other.json'), '{"hidden": 4}')
    writeFileSync(at('broken.json'), '{')
    const good = at('run/good.pth')
    assert.equal((await validate(good, '--config', at('same.json'))).status, 0)
    const { status, stdout } = await validate(good, '--config', at('other.json'))
    assert.equal(status, 1)
    assert.match(stdout, /Compatible: ✗\n {2}Incompatible hidden: checkpoint=3, target=4\n/)
    assert.equal((await validate(good, '--config', at('broken.json'))).status, 2)
    assert.equal((await validate(good, '--config', at('absent.json'))).status, 2)
  })

  it('compares with another checkpoint', async () => {
    writeFileSync(at('wide.pth'), fileOf(stateDict({ 'first.bias': float32([4], 1) })))
    assert.equal((await validate(at('run/good.pth'), '--with', at('run/odd.pth'))).status, 0)
    const { status, run } = await json(at('run/good.pth'), '--with', at('wide.pth'))
    assert.equal(status, 1)
    assert.deepEqual(run.files[0]?.compatibility?.issues, ['Incompatible first.bias: checkpoint=[3], target=[4]'])
    assert.equal((await validate(at('run/good.pth'), '--with', at('none.pth'))).status, 3)
  })

  it('finds latest and names in the checkpoint folder', async () => {
    mkdirSync(at('checkpoints'))
    copyFileSync(at('run/good.pth'), at('checkpoints/latest.pth'))
    assert.equal((await validate('latest', '--checkpoint-dir', at('checkpoints'))).status, 0)
    assert.equal((await validate('latest.pth', '--checkpoint-dir', at('checkpoints'))).status, 0)
  })

  it('writes JUnit XML', async () => {
    const report = at('report.xml')
    const { status } = await validate(at('run'), at('strange.pth'), at('none.pth'), '--junit', report)
    assert.equal(status, 1)
    const xml = readFileSync(report, 'utf8')
    assert.match(xml, /^<\?xml version="1\.0" encoding="UTF-8"\?>\n<testsuites tests="7" failures="4" errors="1">/)
    assert.ok(xml.includes('a&lt;&amp;&quot;\ufffd'))
    assert.ok(!/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ud800-\udfff]/.test(xml))
    matchSnapshot('validate-junit', xml, [[folder, '<folder>']])
  })
})
