/**
 * The place where a recorder (nn/trace.ts) hooks into `call`. Apart from that file, nothing knows how a graph looks.
 */
import { TorchkeepError } from '../src/format/errors.js'
import type { Argument, Result } from './call.js'

/** Sees every operator called while it is active. */
export interface Recorder {
  /**
   * Runs the operator through `run` (with its own tensors in place of the caller's where they differ) and remembers it.
   */
  record(operator: RecordedCall, run: (args: readonly Argument[], kwargs: Kwargs) => Result): Result
  /** Runs a module's forward; what is recorded meanwhile belongs to the module. */
  within<T>(module: object, forward: () => T): T
}

export type Kwargs = Readonly<Record<string, Argument>>

export interface RecordedCall {
  /** With its namespace: `aten::linear`. */
  op: string
  overload: string
  args: readonly Argument[]
  kwargs: Kwargs
}

let active: Recorder | null = null

/** The recorder of this thread, or null in eager execution. */
export function activeRecorder(): Recorder | null {
  return active
}

/** Runs `fn` with a recorder; recordings do not nest. */
export function withRecorder<T>(recorder: Recorder, fn: () => T): T {
  if (active !== null)
    throw new TorchkeepError('ERR_BUSY', 'A graph is being recorded; a recording cannot start inside another')
  active = recorder
  try {
    return fn()
  } finally {
    active = null
  }
}

/** Runs `fn` outside of the active recording, for a recorder's own bookkeeping. */
export function withoutRecorder<T>(fn: () => T): T {
  const before = active
  active = null
  try {
    return fn()
  } finally {
    active = before
  }
}

/** Values are not known while a graph is recorded: a branch on one would be baked into the graph. */
export function refuseValueWhileRecording(what: string): void {
  if (active === null) return
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `${what} reads a tensor's values while forward() is recorded, so the graph would hold one example's values`,
    {
      suggestions: ['Compute with tensors instead, for example with where() in place of an if.'],
    },
  )
}
