/** Shows a run on the terminal. */
import { SingleBar, type Options } from 'cli-progress'
import { printable } from '../command-line/text.js'
import type { EpochEvent, PhaseEvent, StepEvent, StopEvent, TrainerEvents } from './events.js'
import type { ProgressiveTrainer } from './trainer.js'

/**
 * Live progress of a trainer: on a terminal a bar for the epoch with loss, samples a second and time left, elsewhere (a file, a pipe, a CI log) one plain
 * line an epoch. Warnings are lines as well, and so are phases that end before their epochs are done, or with the weights of an earlier epoch.
 */
export class ProgressReporter {
  readonly #output: NodeJS.WriteStream
  #bar: SingleBar | null = null
  /** The last validation's metric, for the bar. */
  #metric = ''

  /** Starts listening. `output` defaults to standard error, so that standard output stays for results. */
  constructor(trainer: ProgressiveTrainer, output: NodeJS.WriteStream = process.stderr) {
    this.#output = output
    const handlers: { [Name in keyof TrainerEvents]?: (...event: TrainerEvents[Name]) => void } = {
      phase: (event) => this.#phase(event),
      epoch: (event) => this.#epoch(event),
      stop: (event) => this.#stopped(event),
      warning: ({ message }) => this.#line(`warning: ${message}`),
      ...(output.isTTY ? { step: (event: StepEvent) => this.#step(event) } : {}),
    }
    for (const [name, handler] of Object.entries(handlers))
      trainer.on(name as 'phase', handler as (event: PhaseEvent) => void)
  }

  /** Leaves the terminal as it was; call it when the run is over, however it ended. */
  stop(): void {
    this.#bar?.stop()
    this.#bar = null
  }

  #phase({ phase, phases, name, epochs, trained, frozen }: PhaseEvent): void {
    const length = epochs === null ? 'steps limit it' : `${epochs} epochs`
    this.#line(
      `phase ${phase}/${phases} '${name}': ${length}, ${trained.length} tensors trained, ${frozen.length} frozen`,
    )
  }

  #step({ epoch, epochs, batch, batches, meanLoss, samplesPerSecond }: StepEvent): void {
    const values = {
      epoch: ofMost(epoch, epochs),
      loss: meanLoss.toFixed(4),
      metric: this.#metric,
      rate: Math.round(samplesPerSecond),
    }
    if (this.#bar === null) {
      const format = batches === null ? barOptions.endless : barOptions.counted
      this.#bar = new SingleBar({ ...barOptions.look, format, stream: this.#output })
      this.#bar.start(batches ?? batch, batch, values)
    } else {
      this.#bar.update(batch, values)
    }
  }

  #epoch(event: EpochEvent): void {
    const valLoss = event.valLoss === null ? [] : [`  val_loss ${event.valLoss.toFixed(4)}`]
    const metrics = Object.entries(event.valMetrics).map(([name, value]) => `  val_${name} ${value.toFixed(4)}`)
    this.#metric = [...valLoss, ...metrics].at(-1) ?? ''
    const skipped = event.skippedBatches ? `  ${event.skippedBatches} batches passed over` : ''
    this.#line(
      `epoch ${ofMost(event.epoch, event.epochs)}  loss ${event.trainLoss.toFixed(4)}${[...valLoss, ...metrics].join('')}  ` +
        `${event.trainingTime.toFixed(1)} s${event.isBest ? '  best' : ''}${skipped}`,
    )
  }

  #stopped({ of, reason, message, phaseName, restoredEpoch }: StopEvent): void {
    const restored = restoredEpoch === null ? '' : `the weights of epoch ${restoredEpoch}, its best, are back`
    const why = reason === 'epochs' || reason === 'steps' || of === 'run' ? '' : message
    const said = [why, restored].filter((text) => text !== '').join('; ')
    if (said !== '') this.#line(`end of phase '${phaseName}': ${said}`)
  }

  /** Prints a line above the bar, which comes back with the next step. */
  #line(text: string): void {
    this.stop()
    this.#output.write(`${text.split('\n').map(printable).join('\n')}\n`)
  }
}

const ofMost = (epoch: number, epochs: number | null): string => (epochs === null ? `${epoch}` : `${epoch}/${epochs}`)

const rates = 'loss {loss}{metric}  {rate} samples/s'
const barOptions = {
  counted: `epoch {epoch} [{bar}] {value}/{total}  ${rates}  {eta_formatted} left`,
  /** Where nobody knows how many batches there are. */
  endless: `epoch {epoch}  batch {value}  ${rates}`,
  look: { barCompleteChar: '=', barIncompleteChar: ' ', clearOnComplete: true, hideCursor: true },
} as const satisfies Record<string, string | Options>
