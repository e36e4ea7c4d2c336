/** Takes the fields of a JSON object that a file should have, naming those that are missing or of the wrong type. */
import { fault, quoted } from './fault.js'
import type { FormatFindingId } from './findings.js'
import type { JsonObject, JsonValue } from './json-text.js'

/** Where the object is, for messages. */
export interface JsonPlace {
  path: string
  /** The record or part, and the place in it: `models/model.json: graph_module`. */
  name: string
  /** Of a field that is missing or wrong. */
  finding: FormatFindingId
}

/** One object. */
export class JsonFields {
  readonly #object: JsonObject
  readonly #place: JsonPlace

  constructor(value: JsonValue | undefined, place: JsonPlace) {
    this.#place = place
    this.#object = value instanceof Map ? value : this.#wrong('', 'an object', value)
  }

  /** The keys and values as they are. */
  get entries(): JsonObject {
    return this.#object
  }

  at(key: string): JsonValue | undefined {
    return this.#object.get(key)
  }

  object(key: string): JsonFields {
    return new JsonFields(this.at(key), { ...this.#place, name: `${this.#place.name}: ${quoted(key)}` })
  }

  list(key: string): JsonValue[] {
    const value = this.at(key)
    return Array.isArray(value) ? value : this.#wrong(key, 'a list', value)
  }

  /** A list of objects. */
  objects(key: string): JsonFields[] {
    const place = { ...this.#place, name: `${this.#place.name}: ${quoted(key)}` }
    return this.list(key).map((item) => new JsonFields(item, place))
  }

  text(key: string): string {
    const value = this.at(key)
    return typeof value === 'string' ? value : this.#wrong(key, 'a text', value)
  }

  boolean(key: string): boolean {
    const value = this.at(key)
    return typeof value === 'boolean' ? value : this.#wrong(key, 'true or false', value)
  }

  /** An integer from 0 to 2^53 - 1. */
  size(key: string): number {
    const value = this.at(key)
    return isSize(value) ? value : this.#wrong(key, 'an integer of at least 0', value)
  }

  #wrong(key: string, expected: string, found: JsonValue | undefined): never {
    const { path, name, finding } = this.#place
    const what = found === undefined ? 'it is missing' : `found ${typeOf(found)}`
    const field = key === '' ? '' : `: ${quoted(key)}`
    return fault(
      path,
      { finding, subject: name.split(': ')[0] ?? null },
      `${name}${field}: expected ${expected}, ${what}`,
    )
  }
}

/** Whether a value is an integer from 0 to 2^53 - 1. */
export function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function typeOf(value: JsonValue): string {
  if (value === null) return 'null'
  if (value instanceof Map) return 'an object'
  return Array.isArray(value) ? 'a list' : `${typeof value} ${String(value).slice(0, 40)}`
}
