/** The loss of each optimizer step, out of the losses of batches. */
import { settlePhase } from './phase-config.js'
import type { StepEvent } from './events.js'
import type { LoggedRun } from './run-logs.js'

/** Follows a run through its `step` events. Where several batches make a step, the step's loss is the mean of theirs. */
export class StepLosses {
  /** The last step that was done. */
  step: number
  /** Batches of a step, by phase. */
  readonly #accumulate: readonly number[]
  #sum = 0
  #count = 0

  constructor({ trainingConfig, globalStep }: LoggedRun) {
    this.step = globalStep
    this.#accumulate = trainingConfig.phases.map((phase) => settlePhase(trainingConfig, phase).accumulateGradBatches)
  }

  /** The steps that the chunk's batches end, and their losses. */
  of({ phase, losses, batch: batchesDone, batches, step: lastStep }: StepEvent): [step: number, loss: number][] {
    const accumulate = this.#accumulate[phase - 1] ?? 1
    const ended: [number, number][] = []
    for (const [index, loss] of losses.entries()) {
      this.#sum += loss
      this.#count++
      const batch = batchesDone - losses.length + index + 1
      if (batch % accumulate !== 0 && batch !== batches) continue
      ended.push([this.step + ended.length + 1, this.#sum / this.#count])
      this.#sum = this.#count = 0
    }
    this.step = lastStep
    return ended
  }
}
