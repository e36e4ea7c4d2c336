/** Parses JSON texts of files that nobody vouches for: no key twice, nothing nested without end, no number that loses digits. `JSON.parse` takes the last of two equal keys without a word. */
import { fault, tooMuch } from './fault.js'

/** An object of a JSON text. A Map, so that no key means anything to JavaScript. */
export type JsonObject = Map<string, JsonValue>

/** Integers beyond 2^53 are bigints. */
export type JsonValue = null | boolean | number | bigint | string | JsonValue[] | JsonObject

/** Deeper nesting is refused: graphs of torch.export stay below 60. */
const maxDepth = 200

/**
 * Parses one JSON text, white space around it allowed.
 * @param path of the file, and @param name of the part of it that the text is, for messages.
 * @throws TorchkeepError ERR_CHECKPOINT_CORRUPT (`json.malformed`) with the place, ERR_CHECKPOINT_UNSAFE for nesting beyond 200.
 */
export function parseJson(path: string, name: string, bytes: Uint8Array): JsonValue {
  const parser = new JsonParser(path, name, decodeUtf8(path, name, bytes))
  const value = parser.value(0)
  parser.end()
  return value
}

/** {@link parseJson} of a text that must be an object. */
export function parseJsonObject(path: string, name: string, bytes: Uint8Array): JsonObject {
  const value = parseJson(path, name, bytes)
  if (value instanceof Map) return value
  return fault(path, { finding: 'json.malformed', subject: name }, `${name} is no JSON object`)
}

function decodeUtf8(path: string, name: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    return fault(path, { finding: 'json.malformed', subject: name }, `${name} is not UTF-8`)
  }
}

const numberToken = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?/y
const plainText = /[^"\\\u0000-\u001f]*/y
const words: Readonly<Record<string, boolean | null>> = { true: true, false: false, null: null }

class JsonParser {
  readonly #path: string
  readonly #name: string
  readonly #text: string
  #at = 0

  constructor(path: string, name: string, text: string) {
    this.#path = path
    this.#name = name
    this.#text = text
  }

  value(depth: number): JsonValue {
    if (depth > maxDepth) tooMuch(this.#path, this.#name, `${this.#name} is nested deeper than ${maxDepth} levels`)
    switch (this.#next()) {
      case '{':
        return this.#object(depth)
      case '[':
        return this.#array(depth)
      case '"':
        return this.#string()
      default:
        return this.#scalar()
    }
  }

  end(): void {
    if (this.#next() !== '') this.#fail('something follows the JSON text')
  }

  /** The next character that is no white space; empty at the end. It is not consumed. */
  #next(): string {
    for (;;) {
      const character = this.#text.charAt(this.#at)
      if (character !== ' ' && character !== '\n' && character !== '\r' && character !== '\t') return character
      this.#at++
    }
  }

  #take(character: string): void {
    if (this.#next() !== character) this.#fail(`expected ${character}`)
    this.#at++
  }

  #object(depth: number): JsonObject {
    const object: JsonObject = new Map()
    this.#take('{')
    if (this.#next() !== '}') {
      for (;;) {
        if (this.#next() !== '"') this.#fail('expected a key')
        const key = this.#string()
        if (object.has(key)) this.#fail(`the key ${JSON.stringify(key.slice(0, 80))} is there twice`)
        this.#take(':')
        object.set(key, this.value(depth + 1))
        if (this.#next() !== ',') break
        this.#at++
      }
    }
    this.#take('}')
    return object
  }

  #array(depth: number): JsonValue[] {
    const array: JsonValue[] = []
    this.#take('[')
    if (this.#next() !== ']') {
      for (;;) {
        array.push(this.value(depth + 1))
        if (this.#next() !== ',') break
        this.#at++
      }
    }
    this.#take(']')
    return array
  }

  #string(): string {
    const text = this.#text
    const begin = ++this.#at
    plainText.lastIndex = begin
    plainText.exec(text)
    this.#at = plainText.lastIndex
    if (text[this.#at] === '"') return text.slice(begin, this.#at++)
    while (text[this.#at] === '\\') {
      plainText.lastIndex = this.#at + 2
      plainText.exec(text)
      this.#at = plainText.lastIndex
    }
    if (text[this.#at] !== '"') this.#fail('a string that does not end, or holds a control character')
    const token = text.slice(begin - 1, ++this.#at)
    try {
      return JSON.parse(token) as string
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
      return this.#fail(`${token.slice(0, 80)} is no JSON string`)
    }
  }

  #scalar(): number | bigint | boolean | null {
    numberToken.lastIndex = this.#at
    const [token, fraction, exponent] = numberToken.exec(this.#text) ?? []
    if (token !== undefined) {
      this.#at += token.length
      const value = Number(token)
      const isExact = fraction !== undefined || exponent !== undefined || Number.isSafeInteger(value)
      if (!Number.isFinite(value)) this.#fail(`${token.slice(0, 40)} is beyond any number`)
      return isExact ? value : BigInt(token)
    }
    const word = Object.keys(words).find((each) => this.#text.startsWith(each, this.#at))
    if (word === undefined) return this.#fail('expected a value')
    this.#at += word.length
    return words[word] as boolean | null
  }

  #fail(reason: string): never {
    const found = { finding: 'json.malformed', subject: this.#name } as const
    return fault(this.#path, found, `${this.#name}, character ${this.#at}: ${reason}`)
  }
}
