/** The one place that calls the handlers of a trainer's events: what they do wrong must not harm the run. */
import type { EventEmitter } from 'node:events'
import type { TrainerEvents, WarningEvent } from './events.js'

/** Takes every event before its handlers, warnings included, and never throws. */
interface Recorder {
  record<Name extends keyof TrainerEvents>(name: Name, event: TrainerEvents[Name][0]): void
}

type Handler = (...event: unknown[]) => unknown

export class Emission {
  /** The messages of all warnings so far, for the run's summary. */
  readonly notes: string[] = []
  /** Handlers whose failure was told: one that fails at every step is told of once. */
  readonly #reported = new WeakSet<object>()
  readonly #emitter: EventEmitter
  #recorder: Recorder | null = null
  /** Warnings from before there was a recorder. */
  readonly #early: WarningEvent[] = []

  constructor(emitter: EventEmitter<TrainerEvents>) {
    this.#emitter = emitter as unknown as EventEmitter
  }

  /** Hands all further events to something that keeps them, and the warnings from before. */
  recordIn(recorder: Recorder): void {
    this.#recorder = recorder
    for (const warning of this.#early.splice(0)) recorder.record('warning', warning)
  }

  /** Calls the handlers of an event, with a copy: what they write into it must not get into the run. One that throws, or whose promise is rejected, is reported as a warning; the others are called all the same. */
  emit<Name extends keyof TrainerEvents>(name: Name, event: TrainerEvents[Name][0]): void {
    this.#recorder?.record(name, event)
    const handlers = this.#emitter.rawListeners(name)
    if (handlers.length === 0) return
    const copy = structuredClone(event)
    for (const handler of handlers) this.#call(name, handler as Handler, [copy])
  }

  /** Emits a warning; without a handler it goes to `process.emitWarning`. */
  warn(id: string, message: string): void {
    this.notes.push(message)
    if (this.#recorder === null) this.#early.push({ id, message })
    this.emit('warning', { id, message })
    if (this.#emitter.listenerCount('warning') === 0) warnProcess(id, message)
  }

  #call(name: keyof TrainerEvents, handler: Handler, event: readonly unknown[]): void {
    try {
      const result = handler.apply(this.#emitter, [...event])
      if (result instanceof Promise) result.catch((error: unknown) => this.#report(name, handler, error))
    } catch (error) {
      this.#report(name, handler, error)
    }
  }

  #report(name: keyof TrainerEvents, handler: Handler, error: unknown): void {
    // `once` wraps its handler anew each time, the handler itself stays the same.
    const own = (handler as { listener?: object }).listener ?? handler
    if (this.#reported.has(own)) return
    this.#reported.add(own)
    const reason = error instanceof Error ? (error.stack ?? error.message) : String(error)
    const message = `a handler of '${name}' threw, which the run does not mind: ${reason}`
    if (name === 'warning') warnProcess('handler', message)
    else this.warn('handler', message)
  }
}

function warnProcess(id: string, message: string): void {
  process.emitWarning(message, { type: 'TorchkeepWarning', code: id })
}
