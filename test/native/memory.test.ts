import assert from 'node:assert/strict'
import { addon } from '../../lib/native.js'
import { runChild } from './child.js'
import { callTensor } from './fixtures.js'

const stats = () => addon().memoryStats({ device: 'cpu' })
const large = () => callTensor('empty.memory_format', [[1 << 20]]) // 4 MB of float32

describe('host memory', () => {
  it('counts live tensors and the storages they share', () => {
    const before = stats()
    const base = large()
    const view = callTensor('select.int', [base, 0, 0])
    assert.equal(stats().liveTensors - before.liveTensors, 2)
    assert.equal(stats().liveTensorBytes - before.liveTensorBytes, 4 << 20)
    base.dispose()
    assert.equal(stats().liveTensorBytes - before.liveTensorBytes, 4 << 20)
    view.dispose()
    assert.deepEqual([stats().liveTensors, stats().liveTensorBytes], [before.liveTensors, before.liveTensorBytes])
  })

  it('keeps freed blocks for tensors of the same size, until told otherwise', () => {
    addon().emptyCache({ device: 'cpu' })
    const before = stats()
    large().dispose()
    const cached = stats()
    assert.equal(cached.allocatedBytes, before.allocatedBytes)
    assert.ok(cached.reservedBytes - before.reservedBytes >= 4 << 20)
    const again = large()
    assert.equal(stats().reservedBytes, cached.reservedBytes, 'no new memory was taken')
    assert.equal(stats().allocatedBytes - before.allocatedBytes, 4 << 20)
    assert.ok(stats().peakAllocatedBytes >= before.allocatedBytes + (4 << 20))
    again.dispose()
    addon().emptyCache({ device: 'cpu' })
    assert.equal(stats().reservedBytes, before.reservedBytes)
  })

  it('never caches more than its limit', async () => {
    const { stdout } = await runChild(
      `
const make = (n) => addon.call({ op: 'aten::empty', overload: 'memory_format', args: [[n]], gradEnabled: false })
for (let n = 1 << 17; n < 1 << 20; n += 9973) make(n).dispose()
const { allocatedBytes, reservedBytes } = addon.memoryStats({ device: 'cpu' })
console.log(reservedBytes - allocatedBytes)`,
      { TORCHKEEP_HOST_CACHE_BYTES: '10000000' },
    )
    assert.ok(Number(stdout) > 5_000_000 && Number(stdout) <= 10_000_000, stdout)
  })

  it('runs out with ERR_OUT_OF_MEMORY, and goes on afterwards', async () => {
    const { stdout, stderr, code } = await runChild(
      `
const ones = (n) => addon.call({ op: 'aten::ones', args: [[n]], gradEnabled: false })
for (const n of [3e6, 100]) {
  try { ones(n).dispose(); console.log('fine') } catch (error) { console.log(error.code, error.message) }
}`,
      { TORCHKEEP_HOST_LIMIT_BYTES: '10000000' },
    )
    assert.equal(code, 0, stderr)
    const message = 'aten::ones: the host is out of memory: no room for a tensor of 12000000 bytes'
    assert.match(
      stdout,
      new RegExp(
        `^ERR_OUT_OF_MEMORY ${message}; tensors hold \\d+ bytes \\(TORCHKEEP_HOST_LIMIT_BYTES is 10000000\\)\nfine\n$`,
      ),
    )
  })

  it('refuses a size that no machine has', () => {
    assert.throws(() => callTensor('empty.memory_format', [[2 ** 50]]), {
      code: 'ERR_OUT_OF_MEMORY',
      message: /no room for a tensor of 4503599627370496 bytes/,
    })
  })

  it('gives back the tensors that JavaScript dropped', async () => {
    const { stdout, stderr, code } = await runChild(
      `
const live = () => addon.memoryStats({ device: 'cpu' }).liveTensors
for (let round = 0; round < 20; round++) {
  for (let i = 0; i < 100; i++) addon.call({ op: 'aten::ones', args: [[100000]], gradEnabled: false })
  await new Promise((resolve) => setImmediate(resolve))
}
// 800 MB have gone through; V8 knows of them, so it collects without being told to.
console.log(live() < 2000)`,
    )
    assert.deepEqual([code, stdout], [0, 'true\n'], stderr)
  })

  it('is told of per device, and unknown devices are refused', () => {
    assert.throws(() => addon().memoryStats({ device: 'meta' }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /meta has no memory of its own/,
    })
    assert.throws(() => addon().emptyCache({ device: 'x' }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /expected a device/,
    })
    const { devices } = addon().devices()
    assert.equal(devices[0]?.device, 'cpu')
  })

  it('has a thread count of this thread', () => {
    const threads = addon().getNumThreads()
    try {
      addon().setNumThreads({ threads: 1 })
      assert.equal(addon().getNumThreads(), 1)
    } finally {
      addon().setNumThreads({ threads })
    }
    assert.throws(() => addon().setNumThreads({ threads: 0 }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /threads: expected a number from 1/,
    })
  })
})
