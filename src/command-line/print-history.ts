/** How `history` shows runs: charts, or one table as CSV. */
import { basename, resolve } from 'node:path'
import type { RunHistory } from '../checkpoint/history.js'
import { type Chart, chartLines } from './chart.js'
import { csvText } from '../format/csv.js'
import { plural, printable } from './text.js'

/** Names of runs for legends: the last part of the path, or the whole path where two would be the same. */
function runLabels(runs: readonly RunHistory[]): string[] {
  const short = runs.map(({ path }) => basename(resolve(path)))
  return runs.map(({ path }, index) =>
    short.indexOf(short[index] ?? '') === short.lastIndexOf(short[index] ?? '') ? (short[index] ?? path) : path,
  )
}

/** Metrics shown unless the user names some: the losses, else the first metric. */
export function usualMetrics(runs: readonly RunHistory[]): string[] {
  const all = [...new Set(runs.flatMap(({ metrics }) => metrics))]
  const losses = ['train_loss', 'val_loss', 'loss'].filter((name) => all.includes(name))
  return losses.length > 0 ? losses : all.slice(0, 1)
}

/** Charts of the metrics: one for each, with a curve a run; of a single run all in one where the user named none. */
export function historyLines(runs: readonly RunHistory[], metrics: readonly string[], together: boolean): string[] {
  const labels = runLabels(runs)
  const borders = runs.length === 1 ? (runs[0]?.phaseBorders ?? []) : []
  const curve = (run: RunHistory, metric: string, label: string) => ({
    label,
    points: run.rows.flatMap(({ runEpoch, metrics }) =>
      Object.hasOwn(metrics, metric) ? [[runEpoch, metrics[metric] ?? NaN] as const] : [],
    ),
  })
  const charts: Chart[] = together
    ? runs.map((run, index) => ({
        title: labels[index] ?? run.path,
        xLabel: 'epoch',
        curves: metrics.map((name) => curve(run, name, name)),
      }))
    : metrics.map((name) => ({
        title: name,
        xLabel: 'epoch',
        curves: runs.map((run, index) => curve(run, name, labels[index] ?? run.path)),
      }))
  // Between two epochs, so that a line covers no point.
  const at = borders.map(({ runEpoch }) => runEpoch - 0.5)
  return [
    ...charts.flatMap((chart) => [...chartLines({ ...chart, borders: at }), '']),
    ...runs.map(({ rows, phaseBorders }, index) => {
      const phases = phaseBorders.map(({ phase, runEpoch }) => `phase ${phase} from epoch ${runEpoch}`)
      return [`${labels[index]}: ${plural(rows.length, 'epoch')}`, ...phases].join(', ')
    }),
  ]
}

/** One row an epoch and run, one column a metric. */
export function historyCsv(runs: readonly RunHistory[], metrics: readonly string[]): string {
  const labels = runLabels(runs)
  const rows = runs.flatMap((run, index) =>
    run.rows.map((row) => [
      printable(labels[index] ?? run.path),
      row.runEpoch,
      row.epoch,
      row.phase,
      ...metrics.map((name) => (Object.hasOwn(row.metrics, name) ? (row.metrics[name] ?? null) : null)),
    ]),
  )
  return csvText([['run', 'run_epoch', 'epoch', 'phase', ...metrics.map(printable)], ...rows])
}
