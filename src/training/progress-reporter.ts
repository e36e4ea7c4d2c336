/** Shows a run on the terminal. */
import { SingleBar, type Options } from 'cli-progress'
import type { EpochEvent, PhaseEvent, StepEvent, TrainerEvents } from './events.js'
import type { ProgressiveTrainer } from './trainer.js'

/**
 * Live progress of a trainer: on a terminal a bar for the epoch with loss, samples a second and time left, elsewhere (a file, a pipe, a CI log) one plain
 * line an epoch.
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
    this.#line(
      `phase ${phase}/${phases} '${name}': ${epochs} epochs, ${trained.length} tensors trained, ${frozen.length} frozen`,
    )
  }

  #step({ epoch, epochs, batch, batches, meanLoss, samplesPerSecond }: StepEvent): void {
    const values = {
      epoch,
      epochs,
      loss: meanLoss.toFixed(4),
      metric: this.#metric,
      rate: Math.round(samplesPerSecond),
    }
    if (this.#bar === null) {
      this.#bar = new SingleBar({ ...barOptions, stream: this.#output })
      this.#bar.start(batches ?? batch, batch, values)
    } else {
      this.#bar.update(batch, values)
    }
  }

  #epoch(event: EpochEvent): void {
    this.stop()
    const valLoss = event.valLoss === null ? [] : [`  val_loss ${event.valLoss.toFixed(4)}`]
    const metrics = Object.entries(event.valMetrics).map(([name, value]) => `  val_${name} ${value.toFixed(4)}`)
    this.#metric = [...valLoss, ...metrics].at(-1) ?? ''
    this.#line(
      `epoch ${event.epoch}/${event.epochs}  loss ${event.trainLoss.toFixed(4)}${[...valLoss, ...metrics].join('')}  ` +
        `${event.trainingTime.toFixed(1)} s${event.isBest ? '  best' : ''}`,
    )
  }

  #line(text: string): void {
    this.#output.write(`${text}\n`)
  }
}

const barOptions: Options = {
  format: 'epoch {epoch}/{epochs} [{bar}] {value}/{total}  loss {loss}{metric}  {rate} samples/s  {eta_formatted} left',
  barCompleteChar: '=',
  barIncompleteChar: ' ',
  clearOnComplete: true,
  hideCursor: true,
}
