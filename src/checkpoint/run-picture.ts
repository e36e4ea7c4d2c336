/** Where a run stands, gathered from the lines of its `events.jsonl`. Nobody vouches for what is in them. */
import { hostname } from 'node:os'
import { remainingSeconds } from './run-eta.js'
import { sidecarNumber } from './sidecar.js'
import { processStart } from './store.js'

/** A line, parsed. */
export type EventFields = Readonly<Record<string, unknown>>

/**
 * How a run is: `running` on this machine; `elsewhere`, on another machine, so that nothing here tells whether it lives; `finished` as it should, by an early stop too; `interrupted` after a durable
 * checkpoint; `failed` with an error; `lost` without a word, since its process was killed or the machine went down; `none` where no run has begun.
 */
export type RunStatus = 'running' | 'elsewhere' | 'finished' | 'interrupted' | 'failed' | 'lost' | 'none'

/** One finished epoch. */
export interface RunEpoch {
  epoch: number
  phase: number
  step: number | null
  isBest: boolean
  /** All numbers of the line: losses, metrics, rates, times. */
  metrics: Readonly<Record<string, number>>
}

/** A phase as configured: of epochs and steps one is null. */
export interface PlannedPhase {
  name: string
  epochs: number | null
  steps: number | null
}

/** What a run's file says. */
export interface RunState {
  status: RunStatus
  /** The process that began or resumed it last. */
  run: { pid: number; host: string; modelType: string; torchkeepVersion: string; startedAt: string } | null
  resumedFrom: string | null
  phases: PlannedPhase[]
  /** From 1; 0 before the first. */
  phase: number
  phaseName: string
  /** Epoch of the whole run that is trained or was trained last; 0 before the first. */
  epoch: number
  /** Of the whole run; null where that is not known before. */
  epochs: number | null
  step: number
  /** The epoch that is trained; null between epochs. */
  current: {
    batch: number
    batches: number | null
    loss: number
    meanLoss: number
    samplesPerSecond: number
    /** Since this epoch was told of first; null at its first telling. */
    batchesPerSecond: number | null
  } | null
  best: { monitor: string; epoch: number; score: number } | null
  checkpoint: { path: string; epoch: number; step: number; time: string } | null
  /** The last ones. */
  warnings: { id: string; message: string; time: string }[]
  stop: { of: 'phase' | 'run'; reason: string; message: string } | null
  /** Until the end of the run; null where nothing tells. */
  remainingSeconds: number | null
  lastEventAt: string | null
  /** Lines that are no events, such as one that a crash cut off. */
  unreadableLines: number
  history: RunEpoch[]
}

/** As many warnings as one looks at. */
const mostWarnings = 5

/** Takes a run's lines one by one. */
export class RunPicture {
  #begin: EventFields = {}
  #phase: EventFields = {}
  #step: EventFields | null = null
  /** The first step of the epoch that was told of. */
  #firstStep: EventFields | null = null
  #checkpoint: EventFields | null = null
  #stop: EventFields | null = null
  #warnings: EventFields[] = []
  #history: RunEpoch[] = []
  #lastEventAt: string | null = null
  #unreadable = 0

  /** Takes one line of text; gives it parsed, or null where it is no event. */
  add(text: string): EventFields | null {
    const line = parsedEvent(text)
    if (line === null) {
      this.#unreadable++
      return null
    }
    this.#lastEventAt = textOf(line, 'time')
    const event = textOf(line, 'event')
    if (Object.hasOwn(this.#takers, event)) this.#takers[event]?.(line)
    return line
  }

  /** What is known now, whether the process lives included. */
  state(): RunState {
    const [begin, phase, step, checkpoint] = [this.#begin, this.#phase, this.#step, this.#checkpoint]
    const last = this.#history.at(-1)
    const status = this.#status()
    const state: RunState = {
      status,
      run:
        status === 'none'
          ? null
          : {
              pid: countOf(begin, 'pid') ?? 0,
              host: textOf(begin, 'host'),
              modelType: textOf(begin, 'model_type'),
              torchkeepVersion: textOf(begin, 'torchkeep_version'),
              startedAt: textOf(begin, 'time'),
            },
      resumedFrom: textOf(begin, 'resumed_from') || null,
      phases: plannedPhases(begin['phases']),
      phase: countOf(phase, 'phase') ?? 0,
      phaseName: textOf(phase, 'name'),
      epoch: (step && countOf(step, 'epoch')) ?? last?.epoch ?? countOf(begin, 'epochs_done') ?? 0,
      epochs: countOf(begin, 'epochs'),
      step: (step && countOf(step, 'step')) ?? last?.step ?? countOf(begin, 'step') ?? 0,
      current: step && {
        batch: countOf(step, 'batch') ?? 0,
        batches: countOf(step, 'batches'),
        loss: numberOf(step, 'loss') ?? NaN,
        meanLoss: numberOf(step, 'mean_loss') ?? NaN,
        samplesPerSecond: numberOf(step, 'samples_per_second') ?? NaN,
        batchesPerSecond: this.#batchesPerSecond(step),
      },
      best: this.#best(),
      checkpoint: checkpoint && {
        path: textOf(checkpoint, 'path'),
        epoch: countOf(checkpoint, 'epoch') ?? 0,
        step: countOf(checkpoint, 'step') ?? 0,
        time: textOf(checkpoint, 'time'),
      },
      warnings: this.#warnings.map((line) => ({
        id: textOf(line, 'id'),
        message: textOf(line, 'message'),
        time: textOf(line, 'time'),
      })),
      stop: this.#stop && {
        of: this.#stop['of'] === 'run' ? 'run' : 'phase',
        reason: textOf(this.#stop, 'reason'),
        message: textOf(this.#stop, 'message'),
      },
      remainingSeconds: null,
      lastEventAt: this.#lastEventAt,
      unreadableLines: this.#unreadable,
      history: this.#history,
    }
    if (status === 'running' || status === 'elsewhere') state.remainingSeconds = remainingSeconds(state)
    return state
  }

  readonly #takers: Readonly<Record<string, (line: EventFields) => void>> = {
    run: (line) => this.#beginRun(line, 0),
    resume: (line) => this.#beginRun(line, countOf(line, 'epochs_done') ?? 0),
    phase: (line) => {
      this.#phase = line
      this.#stop = null
    },
    step: (line) => {
      this.#step = line
      this.#firstStep ??= line
    },
    epoch: (line) => {
      this.#step = this.#firstStep = null
      this.#history.push(epochOf(line))
    },
    checkpoint: (line) => (this.#checkpoint = line),
    stop: (line) => (this.#stop = line),
    warning: (line) => (this.#warnings = [...this.#warnings, line].slice(-mostWarnings)),
  }

  /** A process begins: epochs after those that it goes on from did not count. */
  #beginRun(line: EventFields, epochsDone: number): void {
    this.#begin = line
    this.#phase = {}
    this.#step = this.#firstStep = this.#stop = null
    this.#warnings = []
    this.#history = this.#history.filter(({ epoch }) => epoch <= epochsDone)
    if (line['event'] === 'run') this.#checkpoint = null
  }

  #best(): RunState['best'] {
    const monitor = textOf(this.#begin, 'monitor')
    const row = this.#history.findLast(({ isBest }) => isBest)
    if (row === undefined) return null
    const score = Object.hasOwn(row.metrics, monitor) ? row.metrics[monitor] : undefined
    return { monitor, epoch: row.epoch, score: score ?? NaN }
  }

  #batchesPerSecond(step: EventFields): number | null {
    const first = this.#firstStep ?? step
    const difference = (name: string): number => (numberOf(step, name) ?? NaN) - (numberOf(first, name) ?? NaN)
    const rate = difference('batch') / difference('seconds')
    return Number.isFinite(rate) ? rate : null
  }

  #status(): RunStatus {
    if (this.#begin['event'] === undefined) return 'none'
    if (this.#stop?.['of'] === 'run') {
      const reason = this.#stop['reason']
      return reason === 'finished' ? 'finished' : reason === 'aborted' ? 'interrupted' : 'failed'
    }
    if (this.#begin['host'] !== hostname()) return 'elsewhere'
    return processStart(numberOf(this.#begin, 'pid') ?? 0) === this.#begin['process_start'] ? 'running' : 'lost'
  }
}

function parsedEvent(text: string): EventFields | null {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return null // Counted: the rest of a line that a crash cut off looks like this.
  }
  return typeof value === 'object' && value !== null && typeof (value as EventFields)['event'] === 'string'
    ? (value as EventFields)
    : null
}

function epochOf(line: EventFields): RunEpoch {
  const numbers = Object.entries(line)
    .filter(([name]) => !['event', 'time', 'seconds', 'epochs', 'phase_name', 'is_best'].includes(name))
    .flatMap(([name, value]) => {
      const number = sidecarNumber(value)
      return number === null ? [] : [[name, number] as const]
    })
  return {
    epoch: countOf(line, 'epoch') ?? 0,
    phase: countOf(line, 'phase') ?? 0,
    step: countOf(line, 'step'),
    isBest: line['is_best'] === true,
    metrics: Object.fromEntries(numbers),
  }
}

function plannedPhases(value: unknown): PlannedPhase[] {
  return (Array.isArray(value) ? (value as unknown[]) : []).map((phase) => {
    const fields = typeof phase === 'object' && phase !== null ? (phase as EventFields) : {}
    return { name: textOf(fields, 'name'), epochs: countOf(fields, 'epochs'), steps: countOf(fields, 'steps') }
  })
}

function textOf(line: EventFields, name: string): string {
  const value = Object.hasOwn(line, name) ? line[name] : undefined
  return typeof value === 'string' ? value : ''
}

/** The number of a field, one of those that JSON does not have included; null for anything else. */
function numberOf(line: EventFields, name: string): number | null {
  return Object.hasOwn(line, name) ? sidecarNumber(line[name]) : null
}

/** The same where it must be a number that JSON has. */
function countOf(line: EventFields, name: string): number | null {
  const number = numberOf(line, name)
  return number !== null && Number.isFinite(number) ? number : null
}
