/** Where `watch` shows a run: on a terminal as a picture that is drawn anew, elsewhere as lines, for programs as the events themselves. */
import { clearScreenDown, moveCursor } from 'node:readline'
import stringWidth from 'string-width'
import type { EventFields, RunState } from '../checkpoint/run-picture.js'
import { eventLine, lossChart, stateLines } from './print-watch.js'
import { printableJson, printableLines } from './text.js'

/** Takes what was read: the events one by one, then the state that they add up to. */
export interface WatchView {
  event(line: EventFields): void
  state(state: RunState): void
}

const waitingLine = (path: string): string => `waiting for ${path}: no run has begun`

/** The picture. It stays on the screen when the watching ends. */
export class ScreenView implements WatchView {
  readonly #output: NodeJS.WriteStream
  readonly #path: string
  #drawn: string[] = []

  constructor(output: NodeJS.WriteStream, path: string) {
    this.#output = output
    this.#path = path
  }

  event(): void {}

  state(state: RunState): void {
    const lines = (state.status === 'none' ? [waitingLine(this.#path)] : this.#picture(state)).map(printableLines)
    const former = this.#height(this.#drawn) // With the width of now: the terminal has wrapped them anew.
    if (former > 0) moveCursor(this.#output, 0, -former)
    this.#output.cursorTo(0)
    clearScreenDown(this.#output)
    this.#output.write(lines.map((line) => `${line}\n`).join(''))
    this.#drawn = lines
  }

  /** As much as the terminal has room for: nothing above its first line could be drawn anew. */
  #picture(state: RunState): string[] {
    const facts = stateLines(state)
    const all = [...facts, ...lossChart(state, this.#output.columns)]
    const most = (this.#output.rows || 24) - 1
    if (this.#height(all) <= most) return all
    while (facts.length > 1 && this.#height(facts) > most) facts.pop()
    return facts
  }

  #height(lines: readonly string[]): number {
    const columns = this.#output.columns || 80
    return lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(stringWidth(line) / columns)), 0)
  }
}

/** Seconds between two lines about steps: an epoch may take hours. */
const stepLineSeconds = 10

/** Lines: first how the run stands, then what comes. */
export class LineView implements WatchView {
  readonly #log: (line: string) => void
  readonly #path: string
  #shown: 'nothing' | 'waiting' | 'state' = 'nothing'
  #lastLineMs = 0

  constructor(log: (line: string) => void, path: string) {
    this.#log = log
    this.#path = path
  }

  event(line: EventFields): void {
    if (this.#shown === 'nothing') return // Part of the state that comes.
    const now = performance.now()
    if (line['event'] === 'step' && now - this.#lastLineMs < stepLineSeconds * 1000) return
    const text = eventLine(line)
    if (text !== null) this.#log(text)
    this.#lastLineMs = now
  }

  state(state: RunState): void {
    if (this.#shown !== 'nothing') return
    if (state.status === 'none') this.#log(waitingLine(this.#path))
    else for (const line of [...stateLines(state), ...lossChart(state)]) this.#log(line)
    this.#shown = state.status === 'none' ? 'waiting' : 'state'
  }
}

/** The events, one a line, as they are in the file. */
export class JsonView implements WatchView {
  readonly #output: NodeJS.WritableStream

  constructor(output: NodeJS.WritableStream) {
    this.#output = output
  }

  event(line: EventFields): void {
    this.#output.write(`${printableJson(JSON.stringify(line))}\n`)
  }

  state(): void {}
}
