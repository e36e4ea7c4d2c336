import { Tensor } from '../../lib/index.js'

/** Disposes the tensors in a value that was read from a file, or those of them that `isUnused`. */
export function disposeTensors(value: unknown, isUnused: (tensor: Tensor) => boolean = () => true): void {
  if (value instanceof Tensor) {
    if (isUnused(value)) value.dispose()
    return
  }
  if (typeof value !== 'object' || value === null) return
  const items: Iterable<unknown> = value instanceof Map ? value.values() : Object.values(value)
  for (const item of items) disposeTensors(item, isUnused)
}
