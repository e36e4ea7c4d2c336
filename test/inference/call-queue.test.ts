/** The queue of calls by itself, over work whose pace the test sets. */
import assert from 'node:assert/strict'
import { CallQueue, type Work } from '../../src/inference/call-queue.js'
import { TorchkeepError } from '../../src/format/errors.js'

/** Work that runs when the test says so: as many calls of a run as it says. Calls below 0 fail. */
class SteppedWork implements Work<number, string> {
  readonly runs: (readonly number[])[] = []
  readonly freed: number[] = []
  readonly dropped: string[] = []
  stops = 0
  ended = 0
  #finish: (outcomes: (string | TorchkeepError)[]) => void = () => assert.fail('nothing runs')

  run(calls: readonly number[]): Promise<(string | TorchkeepError)[]> {
    this.runs.push(calls)
    return new Promise((resolve) => (this.#finish = resolve))
  }

  /** Ends the run, with its first calls done. */
  async finish(count = this.runs.at(-1)?.length ?? 0): Promise<void> {
    const failure = (call: number): TorchkeepError => new TorchkeepError('ERR_DATA', `${call}`)
    const done = (this.runs.at(-1) ?? []).slice(0, count)
    this.#finish(done.map((call) => (call < 0 ? failure(call) : `result ${call}`)))
    await new Promise(setImmediate)
  }

  stop(): void {
    this.stops++
  }
  free(call: number): void {
    this.freed.push(call)
  }
  drop(result: string): void {
    this.dropped.push(result)
  }
  end(): void {
    this.ended++
  }
}

describe('the queue of calls', () => {
  let work: SteppedWork
  let queue: CallQueue<number, string>
  /** What became of the calls, in the order of their ends. */
  let ends: string[]
  beforeEach(() => {
    work = new SteppedWork()
    queue = new CallQueue(work)
    ends = []
  })

  function add(call: number, signal?: AbortSignal): void {
    queue.add(call, signal).then(
      (result) => ends.push(result),
      (error: TorchkeepError) => ends.push(`${call} ${error.code}`),
    )
  }

  it('runs the first call at once and those that came meanwhile together, in order', async () => {
    for (const call of [1, 2, 3]) add(call)
    assert.deepEqual(work.runs, [[1]])
    await work.finish()
    assert.deepEqual(work.runs, [[1], [2, 3]])
    add(4)
    await work.finish()
    await work.finish()
    assert.deepEqual(work.runs.at(-1), [4])
    assert.deepEqual(ends, ['result 1', 'result 2', 'result 3', 'result 4'])
    assert.deepEqual(work.freed, [1, 2, 3, 4])
    assert.equal(queue.busy, false)
  })

  it('puts those that a run did not reach before all others', async () => {
    for (const call of [1, 2, 3, 4]) add(call)
    await work.finish()
    add(5)
    await work.finish(1)
    assert.deepEqual(work.runs, [[1], [2, 3, 4], [3, 4, 5]])
    await work.finish()
    assert.deepEqual(ends, ['result 1', 'result 2', 'result 3', 'result 4', 'result 5'])
  })

  it('gives each its own failure', async () => {
    for (const call of [1, -2, 3, -4]) add(call)
    await work.finish()
    await work.finish()
    assert.deepEqual(ends, ['result 1', '-2 ERR_DATA', 'result 3', '-4 ERR_DATA'])
  })

  it('stops a run for the first of its calls only: another that is aborted must not cost the first its progress', async () => {
    const aborts = [1, 2, 3, 4].map(() => new AbortController())
    for (const call of [1, 2, 3, 4]) add(call, aborts[call - 1]?.signal)
    await work.finish()
    aborts[2]?.abort()
    assert.equal(work.stops, 0)
    aborts[1]?.abort()
    assert.equal(work.stops, 1)
    await work.finish(0)
    assert.deepEqual(work.runs.at(-1), [4])
    await work.finish()
    assert.deepEqual(ends, ['result 1', '3 ERR_ABORTED', '2 ERR_ABORTED', 'result 4'])
    assert.deepEqual(work.freed, [1, 3, 2, 4])
  })

  it('frees results that were there when their call had left', async () => {
    const abort = new AbortController()
    add(1, abort.signal)
    abort.abort()
    await work.finish()
    assert.deepEqual([ends, work.dropped, work.freed], [['1 ERR_ABORTED'], ['result 1'], [1]])
  })

  it('closes: every call rejects now, and the work is ended once, when nothing runs', async () => {
    for (const call of [1, 2]) add(call)
    queue.close()
    queue.close()
    await new Promise(setImmediate)
    assert.deepEqual(ends, ['1 ERR_DISPOSED', '2 ERR_DISPOSED'])
    assert.deepEqual([work.stops, work.ended], [1, 0])
    await work.finish()
    assert.deepEqual([work.dropped, work.ended], [['result 1'], 1])
  })

  it('closes at once where nothing runs', () => {
    queue.close()
    assert.deepEqual([work.stops, work.ended, queue.closed], [0, 1, true])
  })
})
