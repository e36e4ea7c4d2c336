/** Calls of one model, run one after another in the order in which they came. */
import { TorchkeepError } from '../format/errors.js'

/** What runs the calls. */
export interface Runner<Result> {
  /** Null where {@link stop} ended it. */
  run(): Promise<Result | null>
  /** Ends it soon: {@link run} then gives null, or its result if that was there already. */
  stop(): void
  /** Frees what belongs to the call, when it has been run or will not be. */
  free(): void
  /** Frees a result that nobody gets. */
  drop(result: Result): void
}

interface Call<Result> {
  runner: Runner<Result>
  signal: AbortSignal | undefined
  onAbort: () => void
  resolve: (result: Result) => void
  reject: (error: unknown) => void
}

/** One call runs, the others wait; whatever becomes of one is nothing to the others. */
export class CallQueue<Result> {
  readonly #waiting: Call<Result>[] = []
  #running: Call<Result> | null = null
  #closed: (() => void) | null = null

  /** @param onEmpty called once, when {@link close} has been called and no call is under way any more. */
  constructor(private readonly onEmpty: () => void) {}

  /** Whether a new call would have to wait. */
  get busy(): boolean {
    return this.#running !== null
  }

  get closed(): boolean {
    return this.#closed !== null
  }

  /** Runs the call at once, or after those before it. */
  add(runner: Runner<Result>, signal: AbortSignal | undefined): Promise<Result> {
    return new Promise((resolve, reject) => {
      const call: Call<Result> = { runner, signal, onAbort: () => this.#abort(call), resolve, reject }
      signal?.addEventListener('abort', call.onAbort, { once: true })
      this.#waiting.push(call)
      if (this.#running === null) void this.#runAll()
    })
  }

  /** Rejects the calls that wait, ends the one that runs. */
  close(): void {
    if (this.#closed !== null) return
    this.#closed = this.onEmpty
    for (const call of this.#waiting.splice(0)) this.#leave(call, () => call.reject(disposed()))
    if (this.#running === null) this.onEmpty()
    else this.#running.runner.stop()
  }

  async #runAll(): Promise<void> {
    for (let call = this.#waiting.shift(); call !== undefined; call = this.#waiting.shift()) {
      this.#running = call
      await this.#run(call)
      this.#running = null
    }
    if (this.#closed !== null) this.onEmpty()
  }

  async #run(call: Call<Result>): Promise<void> {
    const { runner, signal, resolve, reject } = call
    let settle: () => void
    try {
      const result = await runner.run()
      if (result !== null && signal?.aborted !== true) settle = () => resolve(result)
      else {
        if (result !== null) runner.drop(result)
        settle = () => reject(signal?.aborted === true ? aborted(signal) : disposed())
      }
    } catch (error) {
      settle = () => reject(error)
    }
    this.#leave(call, settle)
  }

  #abort(call: Call<Result>): void {
    const place = this.#waiting.indexOf(call)
    if (place < 0) call.runner.stop()
    else {
      this.#waiting.splice(place, 1)
      this.#leave(call, () => call.reject(aborted(call.signal)))
    }
  }

  #leave(call: Call<Result>, settle: () => void): void {
    call.signal?.removeEventListener('abort', call.onAbort)
    call.runner.free()
    settle()
  }
}

/** What a call on a model that was disposed of rejects with. */
export const disposed = (): TorchkeepError => new TorchkeepError('ERR_DISPOSED', 'the model has been disposed')

/** What an aborted call rejects with. */
export const aborted = (signal: AbortSignal | undefined): TorchkeepError =>
  new TorchkeepError('ERR_ABORTED', 'the call was aborted', { cause: signal?.reason })
