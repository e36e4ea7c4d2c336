/** JSON that every parser reads and that loses nothing without saying so. */

/**
 * JSON text, indented by two unless told (0: on one line). Numbers that JSON does not have become the strings "NaN", "Infinity" and "-Infinity", bigints strings of digits; keys whose value is undefined are left out.
 * @throws Error for what JSON would drop or empty without a word: maps, sets, functions, symbols, byte arrays. That is a mistake of the command.
 */
export function strictJson(value: unknown, indent = 2): string {
  return JSON.stringify(
    value,
    (key, item: unknown) => {
      if (typeof item === 'bigint') return String(item)
      if (typeof item === 'number' && !Number.isFinite(item)) return String(item)
      if (typeof item === 'function' || typeof item === 'symbol' || isOpaqueToJson(item))
        throw new Error(`the value of '${key}' has no counterpart in JSON: ${Object.prototype.toString.call(item)}`)
      return item
    },
    indent,
  )
}

function isOpaqueToJson(item: unknown): boolean {
  return item instanceof Map || item instanceof Set || ArrayBuffer.isView(item)
}
