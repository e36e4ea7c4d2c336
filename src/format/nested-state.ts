/** Nests a flattened state dict again. Source: `torch/distributed/checkpoint/_nested_dict.py` (2.13). */
import { fault, quoted } from './fault.js'

/** More steps than the state dict of any model has. The same long path, named again and again, would cost far more than the pickle that holds it once. */
const maxSteps = 100

type Container = Map<string, unknown> | unknown[]

/**
 * Puts each value at its path: names are keys of dicts, numbers indices of lists. Names without a path stay as they are.
 * @param path of the metadata file, for messages.
 */
export function nestState(
  path: string,
  flat: ReadonlyMap<string, unknown>,
  paths: ReadonlyMap<string, readonly (string | number)[]>,
): Map<string, unknown> {
  const root = new Map<string, unknown>()
  // Each place in a list is some value's, so that all lists together have no more places than there are values.
  let places = 0
  for (const [name, value] of flat) {
    const steps = paths.get(name) ?? [name]
    const broken = (): never => {
      const found = { finding: 'distributed.metadata', subject: name } as const
      return fault(path, found, `the path of ${quoted(name)} does not fit those of the others`)
    }
    if (steps.length > maxSteps) broken()
    let at: Container = root
    for (const [index, step] of steps.entries()) {
      if (typeof step === 'string' ? !(at instanceof Map) : !Array.isArray(at)) broken()
      if (Array.isArray(at)) places += Math.max((step as number) + 1 - at.length, 0)
      if (places > flat.size) broken()
      const next = steps[index + 1]
      const found = get(at, step)
      if (next === undefined) {
        if (found !== undefined && found !== null) broken()
        set(at, step, value)
      } else {
        if (found !== undefined && found !== null && !(found instanceof Map) && !Array.isArray(found)) broken()
        const container: Container =
          (found as Container | null | undefined) ?? (typeof next === 'string' ? new Map() : [])
        if (found === undefined || found === null) set(at, step, container)
        at = container
      }
    }
  }
  return root
}

function get(container: Container, step: string | number): unknown {
  return container instanceof Map ? container.get(step as string) : container[step as number]
}

function set(container: Container, step: string | number, value: unknown): void {
  if (container instanceof Map) container.set(step as string, value)
  else {
    while (container.length < (step as number)) container.push(null)
    container[step as number] = value
  }
}
