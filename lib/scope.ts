/** Deterministic release of tensors: what is made inside a scope and not returned is disposed at its end. */
import { addon } from './native.js'
import { refusePromise } from './grad-mode.js'

/** What a scope owns: anything with `dispose()`. */
interface Disposable {
  dispose(): void
}

const scopes: Set<Disposable>[] = []

/** Puts a new tensor into the innermost scope, if there is one. Called by the Tensor constructor. */
export function track(tensor: Disposable): void {
  scopes.at(-1)?.add(tensor)
}

/** Takes a tensor out of every scope, so that it lives until it is disposed or collected. Returns it. */
export function keep<T extends Disposable>(tensor: T): T {
  for (const scope of scopes) scope.delete(tensor)
  return tensor
}

/**
 * Runs `fn` and disposes every tensor made inside except those in its result (searched through arrays, Maps and plain
 * objects) and those given to {@link keep}. Parameters and buffers of modules are always kept. `fn` must be
 * synchronous.
 */
export function scope<T>(fn: () => T): T {
  const owned = new Set<Disposable>()
  scopes.push(owned)
  let result: T
  try {
    result = fn()
    refusePromise(result, 'scope')
  } catch (error) {
    release(owned)
    throw error
  }
  const returned = new Set<Disposable>()
  collect(result, owned, returned, new Set())
  for (const tensor of returned) owned.delete(tensor)
  release(owned)
  for (const tensor of returned) track(tensor)
  return result
}

/** Tensors of this environment that are neither disposed nor collected. */
export function liveTensors(): number {
  return addon().memoryStats({ device: 'cpu' }).liveTensors
}

function release(owned: Set<Disposable>): void {
  scopes.splice(scopes.indexOf(owned), 1)
  for (const tensor of owned) tensor.dispose()
}

function collect(value: unknown, owned: Set<Disposable>, found: Set<Disposable>, seen: Set<unknown>): void {
  if (typeof value !== 'object' || value === null || seen.has(value)) return
  seen.add(value)
  if (owned.has(value as Disposable)) {
    found.add(value as Disposable)
    return
  }
  if (ArrayBuffer.isView(value)) return
  const items =
    value instanceof Map
      ? value.values()
      : Symbol.iterator in value
        ? (value as Iterable<unknown>)
        : Object.values(value)
  for (const item of items) collect(item, owned, found, seen)
}
