/** A progress bar for work that takes longer than half a second, on a terminal only. */
import type { SingleBar } from 'cli-progress'
import { printable } from './text.js'

/** How far a piece of work is. */
export interface Progress {
  done: number
  total: number
  /** What is being worked on, such as a file's or a tensor's name. It is made safe for terminals here. */
  label?: string
}

/** Takes reports as they come; showing them is cheap and throttled. */
export type ReportProgress = (progress: Progress) => void

const patienceMs = 500

/**
 * Runs work that reports its progress. The bar is on standard error, appears when the work has taken half a second, and is gone when it ends, however it ends.
 * @param title what is done, such as `validating`.
 * @param output where to show it; null shows nothing (`--json`).
 */
export async function withProgress<Result>(
  title: string,
  output: NodeJS.WriteStream | null,
  work: (report: ReportProgress) => Promise<Result>,
): Promise<Result> {
  if (output === null || !output.isTTY) return work(() => undefined)
  const started = performance.now()
  let bar: SingleBar | null = null
  let loading = false
  const report: ReportProgress = ({ done, total, label = '' }) => {
    if (bar !== null) {
      bar.setTotal(total)
      bar.update(done, { label: printable(label) })
    } else if (!loading && performance.now() - started > patienceMs) {
      loading = true
      // Loaded only when it is needed: most commands are done before.
      void import('cli-progress').then(({ default: { SingleBar } }) => {
        if (!loading) return
        bar = new SingleBar({
          ...options,
          format: `${title} [{bar}] {percentage} %  {eta_formatted} left  {label}`,
          stream: output,
        })
        bar.start(total, done, { label: printable(label) })
      })
    }
  }
  try {
    return await work(report)
  } finally {
    loading = false
    ;(bar as SingleBar | null)?.stop()
  }
}

const options = {
  barCompleteChar: '=',
  barIncompleteChar: ' ',
  clearOnComplete: true,
  hideCursor: true,
  stopOnComplete: false,
  fps: 10,
}
