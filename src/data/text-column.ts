/** A column of texts: a row of letter indices, cut or padded to one length. */
import { type Tensor, tensor } from '../../lib/index.js'
import { type Column, type ColumnPlace, refuseField } from './column.js'
import { GrowingArray } from './growing-array.js'
import type { TextRecipe } from './recipe.js'

export class TextColumn implements Column<TextRecipe> {
  readonly recipe: TextRecipe
  readonly indices: number
  readonly #place: ColumnPlace
  readonly #letters: ReadonlyMap<string, number>
  /** One byte a letter where that is enough: eight times less than the model's int64. */
  readonly #growing: GrowingArray<Uint8Array> | GrowingArray<Int32Array>
  #values: Uint8Array | Int32Array = new Uint8Array(0)
  #rows = 0
  #cut = 0
  #longest = 0
  #unknown = 0

  constructor(recipe: TextRecipe, file: string) {
    this.recipe = recipe
    this.#place = { file, column: recipe.column }
    this.#letters = new Map(recipe.letters)
    this.indices = 1 + Math.max(recipe.padding, recipe.unknown ?? 0, ...recipe.letters.map(([, index]) => index))
    this.#growing =
      this.indices <= 256 ? new GrowingArray(Uint8Array, recipe.length) : new GrowingArray(Int32Array, recipe.length)
  }

  add(text: string, line: number): boolean {
    const { missing, length, padding, pad, too_long: tooLong } = this.recipe
    if (text === '' && missing === 'refuse')
      refuseField(this.#place, line, 'a text', text, ['missing: empty or drop says what an empty field means'])
    // Letters beyond U+FFFF are two UTF-16 units.
    const letters = surrogate.test(text) ? Array.from(text) : text
    if (letters.length > length) {
      if (tooLong === 'refuse') refuseField(this.#place, line, `a text of at most ${length} letters`, text)
      this.#cut++
    }
    this.#longest = Math.max(this.#longest, letters.length)
    const kept = Math.min(letters.length, length)
    const start = pad === 'left' ? length - kept : 0
    const row = this.#growing.row()
    if (padding !== 0) row.fill(padding)
    for (let at = 0; at < kept; at++) {
      const letter = letters[at] as string
      row[start + at] = this.#letters.get(letter) ?? this.#unknownIndex(letter, at, text, line)
    }
    this.#rows++
    return text !== '' || missing !== 'drop'
  }

  finish(): void {
    this.#values = this.#growing.release()
  }

  fit(): void {
    // Its alphabet is given.
  }

  adopt(): void {
    // As little is there to take over.
  }

  report(): string[] {
    const { name, length } = this.recipe
    const sentences: string[] = []
    if (this.#cut > 0)
      sentences.push(
        `column '${name}': ${this.#cut} of ${this.#rows} texts were cut to ${length} letters (the longest has ${this.#longest})`,
      )
    if (this.#unknown > 0)
      sentences.push(
        `column '${name}': ${this.#unknown} letters are not in the alphabet, and have the index of the unknown`,
      )
    return sentences
  }

  compact(): Tensor {
    const whole = tensor(this.#values).reshape([this.#rows, this.recipe.length])
    this.#values = new Uint8Array(0)
    return whole
  }

  expand(rows: Tensor): Tensor {
    return rows.to('int64')
  }

  width(): number {
    return this.recipe.length
  }

  #unknownIndex(letter: string, at: number, text: string, line: number): number {
    const { unknown } = this.recipe
    if (unknown === null)
      refuseField(
        this.#place,
        line,
        `letters of its alphabet (${JSON.stringify(letter)} at letter ${at + 1} is none)`,
        text,
        ['unknown: an index for letters that the alphabet does not have'],
      )
    this.#unknown++
    return unknown
  }
}

const surrogate = /[\uD800-\uDFFF]/
