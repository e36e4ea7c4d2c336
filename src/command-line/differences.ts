/** Readable differences: what was taken away in red behind `-`, what came in green behind `+`. */
import { printable, style } from './text.js'

/** One thing that differs between two sides; undefined where a side does not have it. */
export interface Difference {
  /** Where, such as `config.protein_config.output_dim`. */
  path: string
  before: unknown
  after: unknown
}

/**
 * The lines of a diff, each difference under its path:
 *
 * ```
 * learning_rate
 *   - 0.001
 *   + 0.0001
 * ```
 */
export function differenceLines(differences: readonly Difference[]): string[] {
  const side = (sign: '-' | '+', value: unknown, paint: (text: string) => string) =>
    value === undefined ? [] : [paint(`  ${sign} ${printable(plainText(value))}`)]
  return differences.flatMap(({ path, before, after }) => [
    printable(path),
    ...side('-', before, style.bad),
    ...side('+', after, style.good),
  ])
}

/** A plain value on one line. Strings are quoted, so that '1' and 1 differ. */
function plainText(value: unknown): string {
  if (typeof value === 'bigint' || (typeof value === 'number' && !Number.isFinite(value))) return String(value)
  return JSON.stringify(value, (_key, item: unknown) =>
    typeof item === 'bigint' || (typeof item === 'number' && !Number.isFinite(item)) ? String(item) : item,
  )
}
