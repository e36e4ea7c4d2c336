import assert from 'node:assert/strict'
import type { TensorHandle } from '../../lib/contract.js'
import { addon } from '../../lib/native.js'
import { needPython, runPython } from '../python.js'
import { runChild } from './child.js'
import { call, callTensor } from './fixtures.js'

/** Draws of every kind: uniform, normal (whose second half is cached in the state), integers, permutation, dropout's mask. */
function draw(): string[] {
  const draws = [
    callTensor('rand', [[5]]),
    callTensor('randn', [[3]]),
    callTensor('normal_', [callTensor('empty.memory_format', [[1]]), 0, 1]),
    callTensor('randint.low', [0, 1000, [4]]),
    callTensor('randperm', [7]),
    callTensor('dropout', [callTensor('ones', [[20]]), 0.5, true]),
  ]
  return draws.map((tensor) => Buffer.from(addon().tensorToData({ tensor })).toString('hex'))
}

const drawInPython = `
def draw():
    draws = [torch.rand(5), torch.randn(3), torch.empty(1).normal_(0, 1), torch.randint(0, 1000, (4,)), torch.randperm(7),
             torch.nn.functional.dropout(torch.ones(20), 0.5, True)]
    return [t.numpy().tobytes().hex() for t in draws]
`

const generator = () => addon().defaultGenerator()
const state = () => addon().getGeneratorState({ generator: generator() })

describe('random state', () => {
  it('draws what Python draws for a seed, and the states afterwards are equal', async function () {
    needPython(this)
    const seeds = ['0', '42', '-1', '18446744073709551615']
    const program = `${drawInPython}
def run(seed):
    torch.manual_seed(int(seed))
    return [draw(), draw(), torch.get_rng_state().numpy().tobytes().hex()]
print(json.dumps([run(seed) for seed in sys.argv[1:]]))`
    const expected = JSON.parse(await runPython(program, seeds)) as unknown
    const found = seeds.map((seed) => {
      addon().manualSeed({ generator: generator(), seed: BigInt(seed) })
      return [draw(), draw(), Buffer.from(state()).toString('hex')]
    })
    assert.deepEqual(found, expected)
  })

  it("continues from Python's state", async function () {
    needPython(this)
    const program = `${drawInPython}
torch.manual_seed(7); draw()
state = torch.get_rng_state().numpy().tobytes().hex()
print(json.dumps([state, draw()]))`
    const [bytes, expected] = JSON.parse(await runPython(program)) as [string, string[]]
    addon().setGeneratorState({ generator: generator(), state: Buffer.from(bytes, 'hex') })
    assert.deepEqual(draw(), expected)
  })

  it('has 5,056 bytes and comes back from them', () => {
    addon().manualSeed({ generator: generator(), seed: 3n })
    draw()
    const saved = state()
    assert.equal(saved.byteLength, 5056)
    const expected = draw()
    addon().setGeneratorState({ generator: generator(), state: saved })
    assert.deepEqual(draw(), expected)
  })

  it('of a generator of its own leaves the default one alone', async function () {
    needPython(this)
    const own = addon().createGenerator({ seed: 5n })
    const before = state()
    const drawn = callTensor('rand.generator', [[4]], { kwargs: { generator: own } })
    assert.deepEqual(state(), before)
    const program = `g = torch.Generator().manual_seed(5); print(torch.rand(4, generator=g).numpy().tobytes().hex(), g.get_state().numpy().tobytes().hex())`
    const expected = (await runPython(program)).trim().split(' ')
    assert.equal(Buffer.from(addon().tensorToData({ tensor: drawn })).toString('hex'), expected[0])
    assert.equal(Buffer.from(addon().getGeneratorState({ generator: own })).toString('hex'), expected[1])
  })

  it('advances when the default generator is given by name or as null', () => {
    const bytes = (tensor: TensorHandle) => Buffer.from(addon().tensorToData({ tensor })).toString('hex')
    const runs = [generator(), null].map((given) => {
      addon().manualSeed({ generator: generator(), seed: 11n })
      const pair = [0, 1].map(() => bytes(callTensor('rand.generator', [[4]], { kwargs: { generator: given } })))
      return [...pair, Buffer.from(state()).toString('hex')]
    })
    assert.deepEqual(runs[0], runs[1])
    assert.notEqual(runs[0]?.[0], runs[0]?.[1])
  })

  it('starts unpredictably', async () => {
    const program = `console.log(Buffer.from(addon.getGeneratorState({ generator: addon.defaultGenerator() })).toString('hex'))`
    const [a, b] = await Promise.all([runChild(program), runChild(program)])
    assert.deepEqual([a.code, b.code], [0, 0])
    assert.notEqual(a.stdout, b.stdout)
  })

  it('refuses bytes that are no state', () => {
    const before = state()
    const set = (bytes: Uint8Array) => addon().setGeneratorState({ generator: generator(), state: bytes })
    assert.throws(() => set(new Uint8Array(5055)), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /expected 5056 bytes, found 5055/,
    })
    assert.throws(() => set(new Uint8Array(5056)), { code: 'ERR_INVALID_ARGUMENT', message: /^generator state: / })
    assert.deepEqual(state(), before)
    assert.throws(() => addon().manualSeed({ generator: generator(), seed: 0.5 as unknown as bigint }), {
      code: 'ERR_INVALID_ARGUMENT',
    })
    assert.throws(() => call('rand.generator', [[1]], { kwargs: { generator: callTensor('ones', [[1]]) } }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /'generator' \(Generator\?\): expected a generator, found a tensor/,
    })
  })
})
