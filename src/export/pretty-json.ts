/** The JSON of exports: strict, indented, a line feed at the end. */

/** Numbers that JSON does not have become the strings "NaN", "Infinity" and "-Infinity", bigints strings of digits. */
export function prettyJson(value: unknown): string {
  const strict = (_key: string, item: unknown): unknown =>
    typeof item === 'bigint' || (typeof item === 'number' && !Number.isFinite(item)) ? String(item) : item
  return `${JSON.stringify(value, strict, 2)}\n`
}
