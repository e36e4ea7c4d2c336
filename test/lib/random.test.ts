import assert from 'node:assert/strict'
import {
  devices,
  Generator,
  getNumThreads,
  getRngState,
  manualSeed,
  memoryStats,
  ones,
  preserveRngState,
  rand,
  setNumThreads,
  setRngState,
  versions,
  zeros,
} from '../../lib/index.js'
import { digest } from './digest.js'

const refused = { name: 'TorchkeepError', code: 'ERR_INVALID_ARGUMENT' }

describe('random state', () => {
  it('goes on from where it was saved', () => {
    manualSeed(1)
    const state = getRngState()
    assert.deepEqual([state.dtype, state.shape], ['uint8', [5056]])
    const drawn = digest(rand([3]))
    setRngState(state)
    assert.equal(digest(rand([3])), drawn)
    const generator = new Generator().setState(state)
    assert.equal(digest(rand([3], { generator })), drawn)
    assert.equal(generator.initialSeed(), 1n)
  })

  it('is put back by preserveRngState, also after a failure', () => {
    const before = digest(getRngState())
    const fail = (): void => {
      rand([3])
      throw new Error('inside')
    }
    assert.throws(() => preserveRngState(fail), /inside/)
    assert.equal(digest(getRngState()), before)
  })

  it('takes seeds as Python does', () => {
    assert.equal(new Generator(2n ** 64n - 1n).initialSeed(), 2n ** 64n - 1n)
    assert.equal(new Generator(-1).initialSeed(), 2n ** 64n - 1n)
    for (const seed of [1.5, NaN, 2 ** 60, 2n ** 64n]) assert.throws(() => manualSeed(seed), refused, String(seed))
  })

  it('refuses a state that is none', () => {
    assert.throws(() => setRngState(ones([5056])), refused)
    assert.throws(() => setRngState(zeros([10], { dtype: 'uint8' })), refused)
  })
})

describe('devices and memory', () => {
  it('are told', () => {
    assert.equal(devices().devices[0]?.device, 'cpu')
    assert.match(versions().libtorchRuntime, /^2\./)
    const before = memoryStats()
    using large = zeros([1 << 20])
    assert.ok(memoryStats().liveTensorBytes >= before.liveTensorBytes + large.numel() * 4)
    assert.equal(memoryStats().liveTensors, before.liveTensors + 1)
  })

  it('count threads', () => {
    const before = getNumThreads()
    setNumThreads(1)
    assert.equal(getNumThreads(), 1)
    setNumThreads(before)
    assert.throws(() => setNumThreads(0), refused)
  })
})
