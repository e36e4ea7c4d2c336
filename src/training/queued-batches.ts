/** Training and evaluating on batches from a {@link BatchQueue}, while the next ones are made. */
import { cat, type Session, type Tensor } from '../../lib/index.js'
import { type Batch, type BatchQueue, dispose, maxBatchesAhead } from './batch-queue.js'
import type { FeedEvaluation, FeedRunOptions, FeedRunResult } from './feed.js'

/** How a feed hands its queue to sessions. */
export class QueuedBatches {
  /** Batches that one chunk has time for. */
  #affordable = 1

  /** @param inputs how many leading tensors of a batch go to the model. */
  constructor(readonly inputs: number) {}

  /**
   * Trains on at most `count` batches of the queue, in whole groups of accumulation. Those that the time did not suffice for go back into the queue.
   *
   * @param inStep whether batches must not be made ahead, since making them draws from the generator that training draws from.
   * @param onDone is told the batches that were trained on, before they are disposed.
   */
  async train(
    queue: BatchQueue,
    session: Session,
    {
      count,
      maxDurationMs,
      options,
      inStep,
    }: { count: number; maxDurationMs: number; options: FeedRunOptions; inStep: boolean },
    onDone: (batches: readonly Batch[]) => void,
  ): Promise<FeedRunResult> {
    const batches = queue.take(await this.#fill(queue, count, options, inStep))
    if (!inStep) queue.goOn(Math.min(maxBatchesAhead, Math.max(2, this.#affordable)))
    let done = 0
    try {
      const start = performance.now()
      const source = { batches: batches.map(({ tensors }) => tensors), inputs: this.inputs }
      const result = await session.run({ ...options, ...source, maxDurationMs })
      const durationMs = performance.now() - start
      this.#affordable = Math.max(1, Math.round((result.batches * maxDurationMs) / durationMs))
      done = result.batches
      onDone(batches.slice(0, done))
      return { ...result, rows: batches.slice(0, result.losses.length).map(({ rows }) => rows) }
    } finally {
      dispose(batches.slice(0, done))
      queue.putBack(batches.slice(done))
    }
  }

  /** How many batches to take: whole groups as far as they are at hand, and at least the first group. */
  async #fill(queue: BatchQueue, count: number, options: FeedRunOptions, inStep: boolean): Promise<number> {
    if (inStep) return queue.fill(1)
    const { accumulate = 1, accumulated = 0 } = options
    const firstGroup = Math.min(count, accumulate - accumulated)
    const atHand = Math.max(
      await queue.fill(firstGroup),
      Math.min(queue.length, count, maxBatchesAhead, this.#affordable),
    )
    return atHand <= firstGroup ? atHand : firstGroup + Math.floor((atHand - firstGroup) / accumulate) * accumulate
  }

  /**
   * Evaluates what the queue gives, a batch at a time: the sum of losses is then the same however quickly batches come.
   *
   * @param wait ends the waiting for a batch: resolves with null where the signal fired.
   */
  async evaluate(
    queue: BatchQueue,
    session: Session,
    {
      keep,
      inStep,
      wait,
    }: { keep: boolean; inStep: boolean; wait: (filled: Promise<number>) => Promise<number | null> },
    onDone: (batches: readonly Batch[]) => void,
  ): Promise<FeedEvaluation> {
    const parts: { outputs: Tensor[][]; targets: Tensor[] } = { outputs: [], targets: [] }
    let [samples, lossSum] = [0, 0]
    const finish = (reason: FeedEvaluation['reason']): FeedEvaluation => ({
      samples,
      loss: lossSum / samples,
      ...(keep && reason === 'end' ? joined(parts) : { outputs: [], targets: null }),
      reason,
    })
    try {
      for (;;) {
        const filled = await wait(queue.fill(1))
        if (filled === null) return finish('paused')
        const [batch] = queue.take(1)
        if (batch === undefined) return finish('end')
        if (!inStep) queue.goOn(2)
        const result = await session.evaluate({ batches: [batch.tensors], inputs: this.inputs })
        if (keep) {
          parts.outputs.push(result.outputs)
          parts.targets.push(...batch.tensors.slice(this.inputs))
        } else for (const output of result.outputs) output.dispose()
        dispose([{ ...batch, tensors: batch.tensors.slice(0, keep ? this.inputs : undefined) }])
        if (result.reason !== 'end') return finish(result.reason)
        onDone([batch])
        samples += result.samples
        lossSum += result.loss * result.samples
      }
    } finally {
      for (const tensor of [...parts.outputs.flat(), ...parts.targets]) tensor.dispose()
    }
  }
}

function joined({ outputs, targets }: { outputs: Tensor[][]; targets: Tensor[] }): {
  outputs: Tensor[]
  targets: Tensor
} {
  const count = outputs[0]?.length ?? 0
  return {
    outputs: Array.from({ length: count }, (_, index) => cat(outputs.map((batch) => batch[index] as Tensor))),
    targets: cat(targets),
  }
}
