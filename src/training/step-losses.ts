/** The loss of each optimizer step, out of the losses of batches. */
import type { StepEvent } from './events.js'
import { settlePhase } from './phase-config.js'
import type { LoggedRun } from './run-logs.js'

/** Follows a run through its `step` events. Where several batches make a step, the step's loss is the mean of theirs. */
export class StepLosses {
  /** The last step that was done. */
  #step: number
  /** Batches of a step, by phase. */
  readonly #accumulate: readonly number[]
  #open = new Mean()

  constructor({ trainingConfig, globalStep }: LoggedRun) {
    this.#step = globalStep
    this.#accumulate = trainingConfig.phases.map((phase) => settlePhase(trainingConfig, phase).accumulateGradBatches)
  }

  /**
   * The steps that the chunk made, and their losses. Where batches were passed over and nothing tells which of them made which step, one point for the chunk: the mean loss at its last step.
   */
  of({ phase, losses, batch: batchesDone, batches, step }: StepEvent): [step: number, loss: number][] {
    const accumulate = this.#accumulate[phase - 1] ?? 1
    const [ended, chunk] = [[] as number[], new Mean()]
    for (const [index, loss] of losses.entries()) {
      this.#open.add(loss)
      chunk.add(loss)
      const batch = batchesDone - losses.length + index + 1
      if (batch % accumulate !== 0 && batch !== batches) continue
      if (!Number.isNaN(this.#open.value)) ended.push(this.#open.value)
      this.#open = new Mean()
    }
    const first = this.#step + 1
    this.#step = step
    if (ended.length === step - first + 1) return ended.map((loss, index) => [first + index, loss])
    return step < first ? [] : [[step, chunk.value]]
  }
}

/** Of finite numbers; the others belong to batches that were passed over. */
class Mean {
  #sum = 0
  #count = 0

  add(value: number): void {
    if (!Number.isFinite(value)) return
    this.#sum += value
    this.#count++
  }

  /** NaN without a number. */
  get value(): number {
    return this.#sum / this.#count
  }
}
