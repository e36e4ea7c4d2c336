import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { configHash, decidingConfig, keysOutsideHash } from '../../src/checkpoint/index.js'
import { packageRoot } from '../../src/libtorch/index.js'
import { canonicalJson } from '../../src/checkpoint/config-hash.js'
import { NumpyScalar, PyFloat, Tuple } from '../../src/format/index.js'

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

describe('the hash of a configuration', () => {
  it('is the SHA-256 of canonical JSON', () => {
    assert.equal(
      configHash({ b: 1, a: [true, null, 'x"é'], c: { z: 0.1, y: -2 } }),
      sha256('{"a":[true,null,"x\\"é"],"b":1,"c":{"y":-2,"z":0.1}}'),
    )
    assert.equal(configHash(null), sha256('null'))
  })

  it('prints numbers by value alone', () => {
    const texts: [number | bigint, string][] = [
      [1, '1'],
      [-0, '0'],
      [1e20, '100000000000000000000'],
      [10n ** 20n, '100000000000000000000'],
      [1e22, '10000000000000000000000'],
      [0.1, '0.1'],
      [1e-7, '1e-7'],
      [NaN, 'NaN'],
      [-Infinity, '-Infinity'],
    ]
    for (const [value, text] of texts) assert.equal(canonicalJson(value), text)
  })

  it('is equal for what Python and JavaScript write differently', () => {
    const fromPython = new Map<string, unknown>([
      ['sizes', new Tuple([1, 2])],
      ['rate', new PyFloat(2)],
      ['scale', new NumpyScalar('<f4', new Uint8Array(4), 0.5)],
    ])
    assert.equal(configHash(fromPython), configHash({ rate: 2, scale: 0.5, sizes: [1, 2] }))
  })

  it('leaves out what does not decide the model, at any depth and however it is spelt', () => {
    const model = { encoder: 'cnn', sizes: [1, 2], inner: { width: 4 } }
    const noise = {
      ...model,
      learning_rate_phase1: 1e-3,
      numEpochsPhase2: 9,
      batchSize: 4,
      data_config: { anything: 1 },
      seed: 42,
      inner: { width: 4, device: 'cuda:0', earlyStoppingPatience: 3 },
      list: undefined,
    }
    const { list: _list, ...other } = noise
    assert.deepEqual(decidingConfig(other), model)
    assert.equal(configHash(other), configHash(model))
    for (const key of keysOutsideHash) assert.equal(configHash({ ...model, [key]: 1 }), configHash(model), key)
    for (const changed of [
      { ...model, encoder: 'esm' },
      { ...model, dropout: 0 },
      { ...model, inner: { width: 5 } },
      { ...model, sizes: [2, 1] },
    ]) {
      assert.notEqual(configHash(changed), configHash(model))
    }
  })

  it('leaves out the very keys that docs/compare.md lists', () => {
    const text = readFileSync(join(packageRoot, 'docs', 'compare.md'), 'utf8')
    const list = text.slice(text.indexOf('- how it is trained: '))
    const documented = [...list.matchAll(/`(\w+)`/g)].map(([, key]) => key)
    assert.deepEqual(documented.sort(), [...keysOutsideHash].sort())
  })

  it('takes keys that mean something to JavaScript as any other', () => {
    const odd = new Map([['__proto__', new Map([['width', 1]])]])
    assert.equal(configHash(odd), sha256('{"__proto__":{"width":1}}'))
  })

  it('refuses a value that is endless written out', () => {
    let bomb: unknown[] = [1]
    for (let level = 0; level < 40; level++) bomb = [bomb, bomb]
    assert.throws(() => configHash(bomb), { code: 'ERR_CHECKPOINT_UNSAFE', message: /million/ })
  })
})
