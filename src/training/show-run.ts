/** What `torchkeep train` says of a run while it goes on and when it is over. */
import { relative, resolve } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { lineOf } from './event-lines.js'
import type { CheckpointEvent, TrainerEvents, WarningEvent } from './events.js'
import { ProgressReporter } from './progress-reporter.js'
import type { ProgressiveTrainer, TrainingSummary } from './trainer.js'

/** How much is said. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug'

/** The last line of `--json`: what the run came to. */
export interface SummaryLine {
  event: 'summary'
  /** Finished epochs and optimizer steps of the whole run. */
  epochs: number
  steps: number
  /** Seconds in epochs. */
  training_time: number
  best: { monitor: string; mode: 'min' | 'max'; score: number; epoch: number; phase: number } | null
  best_checkpoint: string | null
  latest_checkpoint: string
}

/** Something that shows a run until it is stopped. */
interface Shown {
  stop(): void
}

type Listener = (event: never) => void

/** Gives every event as a line of JSON fields, the same as in `events.jsonl`; paths are as the command's other paths. */
export function asLines(trainer: ProgressiveTrainer, print: (line: object) => void): Shown {
  const began = performance.now()
  const listeners = (['phase', 'step', 'epoch', 'checkpoint', 'stop', 'warning'] as const).map((name) => {
    const listener = (event: TrainerEvents[typeof name][0]): void => {
      const seconds = (performance.now() - began) / 1000
      print({ event: name, time: new Date().toISOString(), seconds, ...lineOf(name, event as never, shownPath) })
    }
    return [name, listener as Listener] as const
  })
  return listen(trainer, listeners)
}

/** Shows progress and warnings, at `debug` every checkpoint too, on standard error; at `warn` warnings only. */
export function onTerminal(trainer: ProgressiveTrainer, level: LogLevel, output: NodeJS.WriteStream): Shown {
  const say = (line: string): void => void output.write(`${line}\n`)
  const warned = ({ message }: WarningEvent): void => say(`warning: ${message}`)
  const saved = ({ path, copies }: CheckpointEvent): void => say(`saved ${[path, ...copies].map(shownPath).join(', ')}`)
  // The reporter tells warnings itself. An error is the command's to tell; without a listener a warning would go to the process's.
  const reporter = level === 'info' || level === 'debug' ? new ProgressReporter(trainer, output) : null
  const shown = listen(trainer, [
    ...(reporter === null ? [['warning', (level === 'warn' ? warned : () => undefined) as Listener] as const] : []),
    ...(level === 'debug' ? [['checkpoint', saved as Listener] as const] : []),
  ])
  return {
    stop() {
      reporter?.stop()
      shown.stop()
    },
  }
}

function listen(trainer: ProgressiveTrainer, listeners: readonly (readonly [keyof TrainerEvents, Listener])[]): Shown {
  for (const [name, listener] of listeners) trainer.on(name as 'phase', listener as () => void)
  return {
    stop() {
      for (const [name, listener] of listeners) trainer.off(name as 'phase', listener as () => void)
    },
  }
}

/** As one would type it here: relative where it lies below. */
function shownPath(path: string): string {
  const below = relative('', resolve(path))
  return below.startsWith('..') ? resolve(path) : below
}

export function summaryLine(summary: TrainingSummary): SummaryLine {
  const { best, bestCheckpointPath, latestCheckpointPath } = summary
  return {
    event: 'summary',
    epochs: summary.totalEpochs,
    steps: summary.totalSteps,
    training_time: summary.totalTrainingTime,
    best:
      best === null
        ? null
        : { monitor: best.monitor, mode: best.mode, score: best.score, epoch: best.epoch, phase: best.phase },
    best_checkpoint: bestCheckpointPath === null ? null : shownPath(bestCheckpointPath),
    latest_checkpoint: shownPath(latestCheckpointPath),
  }
}

/** The same for people. */
export function summaryText(summary: SummaryLine): string[] {
  const { best, best_checkpoint: bestPath } = summary
  const where = bestPath === null ? '' : `: ${bestPath}`
  return [
    `finished: ${summary.epochs} epochs, ${summary.steps} steps, ${summary.training_time.toFixed(1)} s`,
    ...(best === null ? [] : [`best: epoch ${best.epoch}, ${best.monitor} ${best.score.toPrecision(5)}${where}`]),
    `latest: ${summary.latest_checkpoint}`,
  ]
}

/** What to type to go on from the newest checkpoint: the command as it was typed, since folder and changes have to be the same. */
function resumeCommand(argv: readonly string[]): string {
  const isResume = (word: string | undefined): boolean => word === '--resume'
  const others = argv.filter(
    (word, index) => !isResume(word) && !isResume(argv[index - 1]) && !word.startsWith('--resume='),
  )
  const quoted = others.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`))
  return `torchkeep train ${quoted.join(' ')} --resume latest`
}

/** The error of a run that a signal ended, with what to type next and the exit code for the signal; any other error as it is. */
export function asInterruption(error: unknown, exitCode: number, argv: readonly string[]): unknown {
  if (!(error instanceof TorchkeepError) || error.code !== 'ERR_ABORTED') return error
  const suggestions = [`${resumeCommand(argv)} goes on with the same bits`]
  return Object.assign(new TorchkeepError(error.code, error.message, { suggestions }), { exitCode })
}
