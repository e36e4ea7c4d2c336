/** Checks of schedulers' options, made before any rate changes. */
import { TorchkeepError } from '../../src/format/errors.js'

/** Refuses an option that is not as expected. */
export function checkOption(scheduler: string, name: string, value: unknown, expected: string, isFine: boolean): void {
  if (isFine) return
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `${scheduler}: ${name} is ${value === undefined ? 'missing' : String(value)}, expected ${expected}`,
  )
}

/** Refuses what is no integer of at least `smallest`. */
export function checkInteger(scheduler: string, name: string, value: number, smallest: number): void {
  const isFine = Number.isSafeInteger(value) && value >= smallest
  checkOption(scheduler, name, value, `an integer of at least ${smallest}`, isFine)
}

/** Refuses what is no finite number, or is out of range. */
export function checkNumber(
  scheduler: string,
  name: string,
  value: number,
  expected = 'a finite number',
  accepts: (value: number) => boolean = () => true,
): void {
  checkOption(scheduler, name, value, expected, Number.isFinite(value) && accepts(value))
}

/** One value for each of `count` groups: a number for all, or one each. */
export function perGroup(scheduler: string, name: string, value: number | readonly number[], count: number): number[] {
  if (typeof value === 'number') return Array.from({ length: count }, () => value)
  checkOption(scheduler, name, value, `a number or ${count} numbers, one a parameter group`, value?.length === count)
  return [...value]
}
