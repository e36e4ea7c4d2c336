/** Calls of one model, run one after another in the order in which they came. */
import { TorchkeepError } from '../format/errors.js'

/** What runs the calls. */
export interface Work<Input, Result> {
  /** Runs calls in order; gives the results of the first of them, or what each failed with. They are all unless {@link stop} was called or it takes long. */
  run(calls: readonly Input[]): Promise<readonly (Result | TorchkeepError)[]>
  /** Ends a run soon. */
  stop(): void
  /** Frees what belongs to a call, when it has been run or will not be. */
  free(call: Input): void
  /** Frees a result that nobody gets. */
  drop(result: Result): void
  /** When the queue is closed and nothing runs any more. */
  end(): void
}

interface Call<Input, Result> {
  input: Input
  signal: AbortSignal | undefined
  onAbort: () => void
  resolve: (result: Result) => void
  reject: (error: unknown) => void
  left: boolean
}

/** So many calls are handed over at once at most. */
const maxCallsOfRun = 64

/** Some calls run, the others wait; whatever becomes of one is nothing to the others. */
export class CallQueue<Input, Result> {
  readonly #waiting: Call<Input, Result>[] = []
  #running: readonly Call<Input, Result>[] = []
  #closed = false

  constructor(private readonly work: Work<Input, Result>) {}

  /** Whether a new call would have to wait. */
  get busy(): boolean {
    return this.#running.length > 0
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Runs the call at once, or after those before it. */
  add(input: Input, signal: AbortSignal | undefined): Promise<Result> {
    return new Promise((resolve, reject) => {
      const call: Call<Input, Result> = {
        input,
        signal,
        onAbort: () => this.#abort(call),
        resolve,
        reject,
        left: false,
      }
      signal?.addEventListener('abort', call.onAbort, { once: true })
      this.#waiting.push(call)
      if (!this.busy) void this.#runAll()
    })
  }

  /** Rejects all calls now and ends what runs. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const call of [...this.#running, ...this.#waiting.splice(0)]) this.#leave(call, () => call.reject(disposed()))
    if (this.busy) this.work.stop()
    else this.work.end()
  }

  async #runAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const calls = this.#waiting.splice(0, maxCallsOfRun)
      this.#running = calls
      try {
        this.#settle(calls, await this.work.run(calls.map(({ input }) => input)))
      } catch (error) {
        for (const call of calls) this.#leave(call, () => call.reject(error))
      }
      this.#running = []
    }
    if (this.#closed) this.work.end()
  }

  /** Those that were not reached wait again, before all others. */
  #settle(calls: readonly Call<Input, Result>[], outcomes: readonly (Result | TorchkeepError)[]): void {
    for (const [index, outcome] of outcomes.entries()) {
      const call = calls[index] as Call<Input, Result>
      if (outcome instanceof TorchkeepError) this.#leave(call, () => call.reject(outcome))
      else if (call.left) this.work.drop(outcome)
      else this.#leave(call, () => call.resolve(outcome))
    }
    this.#waiting.unshift(...calls.slice(outcomes.length).filter(({ left }) => !left))
  }

  #abort(call: Call<Input, Result>): void {
    const place = this.#waiting.indexOf(call)
    if (place >= 0) this.#waiting.splice(place, 1)
    // A stopped call begins again: one further back must not take the progress of those before it.
    else if (this.#running.find(({ left }) => !left) === call) this.work.stop()
    this.#leave(call, () => call.reject(aborted(call.signal)))
  }

  #leave(call: Call<Input, Result>, settle: () => void): void {
    if (call.left) return
    call.left = true
    call.signal?.removeEventListener('abort', call.onAbort)
    this.work.free(call.input)
    settle()
  }
}

/** What a call on a model that was disposed of rejects with. */
export const disposed = (): TorchkeepError => new TorchkeepError('ERR_DISPOSED', 'the model has been disposed')

/** What an aborted call rejects with. */
export const aborted = (signal: AbortSignal | undefined): TorchkeepError =>
  new TorchkeepError('ERR_ABORTED', 'the call was aborted', { cause: signal?.reason })
