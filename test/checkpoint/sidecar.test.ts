import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, relative } from 'node:path'
import { parseExactJson } from '../../src/checkpoint/recovery-sidecar.js'
import {
  parseLenientJson,
  readSidecar,
  runFolder,
  sidecarNames,
  sidecarNumber,
  sidecarsOf,
  strictJson,
} from '../../src/checkpoint/sidecar.js'
import { PyFloat, type TorchkeepError } from '../../src/format/index.js'

describe('sidecars', () => {
  it('are read with bare NaN and Infinity, of which words in strings are told apart', () => {
    const text =
      '{"NaN": NaN, "a": [Infinity, -Infinity, 1.5e-3], "b": "NaN, \\"-Infinity\\" \\\\", "c": {"d": -NaN}, "e": "x\\\\"}'
    assert.deepEqual(parseLenientJson(text), {
      NaN: 'NaN',
      a: ['Infinity', '-Infinity', 0.0015],
      b: 'NaN, "-Infinity" \\',
      c: { d: '-NaN' },
      e: 'x\\',
    })
    for (const wrong of ['{', 'NaNx', 'nan', '{"a": Infinit}', '"NaN', ''])
      assert.throws(() => parseLenientJson(wrong), SyntaxError)
  })

  it('take no minutes where a string of escaped quotes never ends', () => {
    const text = `{"a": "${'\\"'.repeat(200_000)}`
    const before = performance.now()
    for (const parse of [parseLenientJson, parseExactJson]) assert.throws(() => parse(text), SyntaxError)
    assert.ok(performance.now() - before < 4000)
  })

  it('give numbers, also where they are texts', () => {
    const cases: [unknown, number | null][] = [
      ...([
        [0.5, 0.5],
        [NaN, NaN],
        ['0.25', 0.25],
        ['-1e-05', -1e-5],
        [' 3 ', 3],
        ['.5', 0.5],
        ['5.', 5],
      ] as [unknown, number][]),
      ...([
        ['nan', NaN],
        ['NaN', NaN],
        ['inf', Infinity],
        ['-inf', -Infinity],
        ['Infinity', Infinity],
        ['-Infinity', -Infinity],
      ] as [unknown, number][]),
      ...['', 'x', '1 2', '0x10', '1,5', 'None', 'True', null, true, [], {}].map((value): [unknown, null] => [
        value,
        null,
      ]),
    ]
    for (const [value, number] of cases) assert.deepEqual(sidecarNumber(value), number, JSON.stringify(value))
  })

  it('are named by the moment of their checkpoint, additions for taken names included', () => {
    const own = (path: string, timestamp: number | null) =>
      [...sidecarNames(path, timestamp)].filter((name) => name.includes('metrics_')).map((name) => basename(name))
    assert.deepEqual(own('run/regular/checkpoint_epoch_3_phase_1_77-2.pth', null), [
      'metrics_epoch_3_phase_1_77-2.json',
    ])
    assert.deepEqual(own('run/best/best_model_epoch_3_phase_1-2.pth', 77), ['metrics_epoch_3_phase_1_77.json'])
    assert.deepEqual(own('run/best/best_model_epoch_3_phase_1.pth', null), [])
    assert.deepEqual(own('run/latest.pth', 77), [])
  })

  it('are strict JSON, in which floats stay floats', () => {
    const value = new Map<string, unknown>([
      ['float', [new PyFloat(1), new PyFloat(-0), new PyFloat(0.5), new PyFloat(1e21), new PyFloat(NaN)]],
      ['number', [1, -Infinity, 2n ** 63n]],
      ['text', 'Infinity "quoted"\n'],
      ['empty', { list: [], dict: {} }],
      ['none', null],
    ])
    const text = strictJson(value)
    assert.equal(
      text.replace(/\s+/g, ' '),
      '{ "float": [ 1.0, -0.0, 0.5, 1e+21, "NaN" ], "number": [ 1, "-Infinity", 9223372036854775808 ], "text": "Infinity \\"quoted\\"\\n", "empty": { "list": [], "dict": {} }, "none": null }',
    )
    assert.equal((JSON.parse(text) as { text: string }).text, 'Infinity "quoted"\n')
  })

  describe('on the disk', () => {
    let folder: string
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'torchkeep-sidecar-'))
      for (const name of ['metrics', 'regular', 'best']) mkdirSync(join(folder, name))
    })
    afterEach(() => rmSync(folder, { recursive: true }))

    const found = async (checkpoint: string, timestamp: number | null): Promise<string[]> =>
      (await sidecarsOf(join(folder, checkpoint), timestamp)).map((path) => relative(folder, path)).sort()

    it('belong to a checkpoint by its name, or by its epoch, phase and moment', async () => {
      const names = [
        'metrics/metrics_epoch_3_phase_1_77.json',
        'metrics/metrics_epoch_3_phase_1_77_step_5.json',
        'metrics/metrics_epoch_3_phase_1_78.json',
        'metrics/latest.json',
        'regular/checkpoint_epoch_3_phase_1_77.json',
        'best/best_model_epoch_3_phase_1.pth.config.json',
      ]
      for (const name of names) writeFileSync(join(folder, name), '{}')
      assert.deepEqual(await found('regular/checkpoint_epoch_3_phase_1_77.pth', null), [names[0], names[4]])
      assert.deepEqual(await found('regular/checkpoint_epoch_3_phase_1_77_step_5.pth', null), [names[1]])
      assert.deepEqual(await found('best/best_model_epoch_3_phase_1.pth', 77), [names[5], names[0]])
      assert.deepEqual(await found('best/best_model_epoch_3_phase_1.pth', null), [names[5]])
      assert.deepEqual(await found('latest.pth', 77), [names[3]])
      assert.deepEqual(await found('regular/checkpoint_epoch_4_phase_1_77.pth', 77), [])
    })

    it('are refused where they are no JSON, too large, or not readable', async () => {
      const code = (path: string): Promise<string> =>
        readSidecar(path).then(
          () => 'read',
          (error: TorchkeepError) => error.code,
        )
      const path = join(folder, 'a.json')
      writeFileSync(path, '{"a": ')
      assert.equal(await code(path), 'ERR_CHECKPOINT_CORRUPT')
      truncateSync(path, 2 ** 32)
      assert.equal(await code(path), 'ERR_CHECKPOINT_UNSUPPORTED')
      assert.equal(await code(folder), 'ERR_CHECKPOINT_UNREADABLE')
      assert.equal(await code(join(folder, 'missing.json')), 'ERR_CHECKPOINT_UNREADABLE')
    })
  })

  it('belong to the folder of the run', () => {
    assert.equal(runFolder('a/b/x.pth'), 'a/b')
    for (const inner of ['regular', 'best', 'phases', 'metrics']) assert.equal(runFolder(`a/b/${inner}/x.pth`), 'a/b')
  })
})
