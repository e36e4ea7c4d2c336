/** Tables for the terminal: columns without borders, aligned by what characters take on the screen, so that other programs can cut them too. */
import stringWidth from 'string-width'
import { printable, style } from './text.js'

/** One column of a table of rows. */
export interface Column<Row> {
  title: string
  /** The cell's text; null is a dash. It is made safe for terminals here. */
  text: (row: Row) => string | null
  /** Numbers stand right. Left unless told. */
  align?: 'left' | 'right'
  /** Colour of a cell, from `style`. */
  style?: (text: string, row: Row) => string
}

const gap = '  '
// Loading and asking string-width is slow beside its answer for plain ASCII.
const widthOf = (text: string): number => (/^[\x20-\x7e]*$/.test(text) ? text.length : stringWidth(text))

/** The lines of a table with a heading, none for no rows. Columns in which no row says anything are left out unless `keepEmpty`. */
export function tableLines<Row>(rows: readonly Row[], columns: readonly Column<Row>[], keepEmpty = false): string[] {
  if (rows.length === 0) return []
  const cells = columns.map(({ text }) => rows.map((row) => text(row)))
  const shown = columns.flatMap((column, index) => {
    const texts = cells[index] ?? []
    return keepEmpty || texts.some((text) => text !== null && text !== '')
      ? [{ column, texts: texts.map((text) => printable(text ?? '-')) }]
      : []
  })
  const widths = shown.map(({ column, texts }) =>
    texts.reduce((most, text) => Math.max(most, widthOf(text)), widthOf(column.title)),
  )
  const line = (cellOf: (index: number) => string, styleOf: (index: number) => (text: string) => string) =>
    shown
      .map(({ column }, index) => {
        const text = cellOf(index)
        const padding = ' '.repeat(Math.max(0, (widths[index] ?? 0) - widthOf(text)))
        const last = index === shown.length - 1
        return column.align === 'right' ? padding + styleOf(index)(text) : styleOf(index)(text) + (last ? '' : padding)
      })
      .join(gap)
      .trimEnd()
  const heading = line(
    (index) => shown[index]?.column.title ?? '',
    () => style.bold,
  )
  const body = rows.map((row, number) =>
    line(
      (index) => shown[index]?.texts[number] ?? '',
      (index) => (text) => shown[index]?.column.style?.(text, row) ?? text,
    ),
  )
  return [heading, ...body]
}

/** Lines of names and values, the values aligned: for the facts of one thing. Values of null are left out. */
export function factLines(facts: readonly (readonly [name: string, value: string | null])[]): string[] {
  const said = facts.filter((fact): fact is readonly [string, string] => fact[1] !== null)
  const width = Math.max(0, ...said.map(([name]) => widthOf(name)))
  return said.map(([name, value]) => `${style.bold(name)}${' '.repeat(width - widthOf(name))}${gap}${printable(value)}`)
}
