/** Reads a CSV file as RFC 4180 describes it, a piece at a time: what is no such file is refused by line. */
import { CsvError, parse } from 'csv-parse'
import { createReadStream } from 'node:fs'
import { extname } from 'node:path'
import { Transform, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { TorchkeepError } from '../format/errors.js'

export interface CsvOptions {
  delimiter?: string | undefined
  header?: boolean | undefined
}

export interface CsvHandler {
  /** The names of the columns, before the first row. */
  columns(names: readonly string[]): void
  /** A row with as many fields as there are columns. `line`: where it begins, from 1; `row`: from 0. */
  row(fields: readonly string[], line: number, row: number): void
}

export interface CsvCounts {
  rows: number
  /** Empty lines, which are no rows in a file of more than one column. */
  emptyLines: number
}

/** Longest row: beyond it a quote was most likely not closed, and the rest of the file would be taken for one field. */
const maxRowSizeBytes = 64 * 2 ** 20

/** Read at once: small, so that the event loop has a turn every few milliseconds. */
const pieceSizeBytes = 32 * 2 ** 10

/**
 * Reads the rows of a file. A byte order mark, CR, LF and CRLF as ends of lines, quoted fields (with delimiters, line ends and doubled quotes inside) are as in RFC 4180; spaces belong to a field.
 *
 * @throws TorchkeepError `ERR_DATA` with file and line: rows with another number of fields than columns, quotes in the wrong place, names of columns that are empty or twice there, text
 *   that is not UTF-8, a file that cannot be read; and what `handler` throws.
 */
export async function readCsv(path: string, options: CsvOptions, handler: CsvHandler): Promise<CsvCounts> {
  const reader = new RowReader(path, options, handler)
  const parser = parse({
    bom: true,
    delimiter: options.delimiter ?? delimiterOf(path),
    record_delimiter: ['\r\n', '\n', '\r'],
    max_record_size: maxRowSizeBytes,
    relax_column_count: true,
    on_record: (fields: string[]) => {
      reader.take(fields)
      return null
    },
  })
  try {
    // Nothing comes out of the parser: on_record has seen it.
    const end = new Writable({ objectMode: true, write: (_record, _encoding, done) => done() })
    await pipeline(createReadStream(path, { highWaterMark: pieceSizeBytes }), checkUtf8(path), parser, end)
  } catch (error) {
    throw reader.explained(error)
  }
  reader.finish()
  return reader.counts
}

/** Turns parsed records into the header and checked rows, and counts lines. */
class RowReader {
  readonly counts: CsvCounts = { rows: 0, emptyLines: 0 }
  readonly #path: string
  readonly #hasHeader: boolean
  readonly #handler: CsvHandler
  #columns: readonly string[] | null = null
  #line = 1

  constructor(path: string, { header = true }: CsvOptions, handler: CsvHandler) {
    this.#path = path
    this.#hasHeader = header
    this.#handler = handler
  }

  take(fields: readonly string[]): void {
    const line = this.#line
    this.#line += 1 + innerLines(fields)
    if (this.#columns === null) {
      if (this.#hasHeader) return this.#begin(fields, line)
      this.#begin(
        fields.map((_, index) => String(index)),
        line,
      )
    }
    const columns = this.#columns ?? []
    if (fields.length === 1 && fields[0] === '' && columns.length > 1) {
      this.counts.emptyLines++
      return
    }
    if (fields.length !== columns.length)
      this.#fail(
        line,
        `should have ${columns.length} fields (${shortList(columns)}), but has ${fields.length}`,
        fields.length > columns.length ? ['a field that holds the delimiter has to stand in double quotes'] : [],
      )
    this.#handler.row(fields, line, this.counts.rows)
    this.counts.rows++
  }

  /** Without a line there were no columns either. */
  finish(): void {
    if (this.#columns === null) throw new TorchkeepError('ERR_DATA', `${this.#path} is empty`)
  }

  /** An error of the parser, with what and where. */
  explained(error: unknown): unknown {
    if (error instanceof TorchkeepError) return error
    if (error instanceof CsvError)
      return new TorchkeepError('ERR_DATA', `${this.#path}: line ${this.#line}: ${meaning(error.code)}`, {
        cause: error,
      })
    const { code, message } = error as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? 'there is no such file' : message
    return new TorchkeepError('ERR_DATA', `${this.#path} cannot be read: ${reason}`, { cause: error })
  }

  #begin(names: readonly string[], line: number): void {
    const empty = names.indexOf('')
    if (empty !== -1)
      this.#fail(line, `column ${empty + 1} has no name`, ['header: false, where the first line is no header'])
    const twice = names.find((name, index) => names.indexOf(name) !== index)
    if (twice !== undefined) this.#fail(line, `two columns are called '${twice}'`)
    this.#columns = names
    this.#handler.columns(names)
  }

  #fail(line: number, what: string, suggestions: string[] = []): never {
    throw new TorchkeepError('ERR_DATA', `${this.#path}: line ${line}: ${what}`, { suggestions })
  }
}

/** Line ends inside quoted fields. */
function innerLines(fields: readonly string[]): number {
  let count = 0
  for (const field of fields)
    if (field.includes('\n') || field.includes('\r')) count += field.split(/\r\n|\n|\r/).length - 1
  return count
}

function delimiterOf(path: string): string {
  return ['.tsv', '.tab'].includes(extname(path).toLowerCase()) ? '\t' : ','
}

/** What the parser found in the row that begins at a line. */
function meaning(code: string): string {
  const meanings: Readonly<Record<string, string>> = {
    INVALID_OPENING_QUOTE:
      'a double quote stands inside a field that did not begin with one (a field with quotes has to be quoted, and its quotes doubled)',
    CSV_INVALID_CLOSING_QUOTE:
      'after the closing quote of a field comes something else than the delimiter (quotes inside a quoted field have to be doubled)',
    CSV_QUOTE_NOT_CLOSED: 'a quoted field is not closed before the file ends',
    CSV_MAX_RECORD_SIZE: `a row is longer than ${maxRowSizeBytes} bytes: probably a quote is not closed`,
  }
  return meanings[code] ?? `is not CSV (${code})`
}

/** Passes bytes on that are UTF-8. */
function checkUtf8(path: string): Transform {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let line = 1
  let last: Buffer = Buffer.alloc(0)
  const check = (chunk: Buffer | undefined): TorchkeepError | null => {
    try {
      decoder.decode(chunk, { stream: chunk !== undefined })
      return null
    } catch {
      const at = line + lineEnds(untilNotUtf8(last, chunk ?? last.subarray(0, 0)), last.at(-1))
      return new TorchkeepError('ERR_DATA', `${path}: line ${at}: should be UTF-8, but is not`, {
        suggestions: ['saving the file as UTF-8, in the program that it comes from, lets it be read'],
      })
    }
  }
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const error = check(chunk)
      line += lineEnds(chunk, last.at(-1))
      last = chunk
      done(error, chunk)
    },
    flush: (done) => done(check(undefined)),
  })
}

/** Ends of lines in bytes, of which `before` is the one before: CR, LF and CRLF each once. */
function lineEnds(bytes: Buffer, before: number | undefined): number {
  const [lf, cr] = [10, 13]
  let count = 0
  let previous = before
  for (const byte of bytes) {
    if (byte === cr || (byte === lf && previous !== cr)) count++
    previous = byte
  }
  return count
}

/** What of a piece comes before the first byte at which it is no UTF-8; `last` is the piece before, in whose end a letter may have begun. */
function untilNotUtf8(last: Buffer, piece: Buffer): Buffer {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const isBegin = (byte: number): boolean => (byte & 0xc0) !== 0x80
  const end = last.subarray(-3)
  decoder.decode(end.subarray(Math.max(0, end.findLastIndex(isBegin))), { stream: true })
  const at = piece.findIndex((_, index) => {
    try {
      decoder.decode(piece.subarray(index, index + 1), { stream: true })
      return false
    } catch {
      return true
    }
  })
  return at === -1 ? piece : piece.subarray(0, at)
}

/** The first few names. */
export function shortList(names: readonly string[], count = 5): string {
  const shown = names.slice(0, count).join(', ')
  return names.length > count ? `${shown}, ... (${names.length})` : shown
}
