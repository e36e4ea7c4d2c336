/** Whether operators called on this JavaScript thread are recorded by autograd. */
import { TorchkeepError } from '../src/format/errors.js'
import { activeRecorder } from './recording.js'

let gradEnabled = true

/** `torch.is_grad_enabled()`. */
export function isGradEnabled(): boolean {
  return gradEnabled
}

/**
 * Runs `fn` without recording gradients, as `with torch.no_grad():` does. `fn` must be synchronous: the mode belongs to
 * the thread, not to a promise.
 */
export function noGrad<T>(fn: () => T): T {
  return withGradMode(false, fn)
}

/** Runs `fn` with gradients recorded again inside {@link noGrad}, as `with torch.enable_grad():` does. */
export function enableGrad<T>(fn: () => T): T {
  return withGradMode(true, fn)
}

function withGradMode<T>(enabled: boolean, fn: () => T): T {
  if (activeRecorder() !== null) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      'A change of the gradient mode inside forward() cannot be recorded in a graph',
      {
        suggestions: ['Use detach() to stop gradients.'],
      },
    )
  }
  const before = gradEnabled
  gradEnabled = enabled
  try {
    const result = fn()
    refusePromise(result, enabled ? 'enableGrad' : 'noGrad')
    return result
  } finally {
    gradEnabled = before
  }
}

/** A mode that ends when `fn` returns cannot cover what an async function does later. */
export function refusePromise(result: unknown, name: string): void {
  if (result instanceof Promise) {
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `${name}() takes a synchronous function, but this one returned a promise`,
      {
        suggestions: [`Call ${name}() around the synchronous parts.`],
      },
    )
  }
}
