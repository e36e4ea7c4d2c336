/** `torch.autocast` for operators called on this JavaScript thread. Sessions have their own (`SessionOptions.autocast`). */
import { TorchkeepError } from '../src/format/errors.js'
import type { CallOptions } from './contract.js'
import { refusePromise } from './grad-mode.js'
import { activeRecorder } from './recording.js'

type Autocast = NonNullable<CallOptions['autocast']>

let active: Autocast | null = null

/** What the next operator is called under. */
export function activeAutocast(): Autocast | null {
  return active
}

/**
 * Runs `fn` as inside `with torch.autocast(device_type, dtype):`: operators that gain by it take float32 tensors of this
 * device in bfloat16, others in float32, and results have the dtypes that follow. Weights are cast anew at each use, as
 * with `cache_enabled=False`. `fn` must be synchronous. Inside a model's forward it is refused, since a graph cannot hold
 * it; around {@link trace} it gives the dtypes that forward meets in a session with autocast.
 *
 * @param device a kind of device such as `cpu`; a number after it is ignored.
 * @param dtype null: without autocast, as `enabled=False`.
 */
export function autocast<T>(device: string, dtype: 'bfloat16' | null, fn: () => T): T {
  if (activeRecorder() !== null) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      'A change of autocast inside forward() cannot be recorded in a graph',
      { suggestions: ['Turn it on for the whole phase with its option autocast.'] },
    )
  }
  const before = active
  active = dtype === null ? null : { device, dtype }
  try {
    const result = fn()
    refusePromise(result, 'autocast')
    return result
  } finally {
    active = before
  }
}
