/** How `watch` shows a run. */
import type { EventFields, RunState, RunStatus } from '../checkpoint/run-picture.js'
import { type Chart, chartLines } from './chart.js'
import { factLines } from './table.js'
import { formatAge, formatCount, formatNumber, plural, printable, style } from './text.js'

const statusTexts: Readonly<Record<RunStatus, string>> = {
  running: 'running',
  elsewhere: 'running as far as the file says (on another machine)',
  finished: 'finished',
  interrupted: 'interrupted',
  failed: 'failed',
  lost: 'lost: its process is gone and did not say why',
  none: 'not begun',
}

/** The facts about a run. */
export function stateLines(state: RunState, nowMs = Date.now()): string[] {
  const { run, current, best, checkpoint, history, stop } = state
  const age = (time: string): string => `${formatAge(Date.parse(time), nowMs)} ago`
  const last = history.at(-1)
  return [
    ...factLines([
      ['run', run && `${run.modelType}, process ${run.pid} on ${run.host}, begun ${age(run.startedAt)}`],
      ['resumed', state.resumedFrom && `from ${state.resumedFrom}`],
      ['status', statusTexts[state.status]],
      ['phase', state.phase > 0 ? `${ofMost(state.phase, state.phases.length || null)} '${state.phaseName}'` : null],
      [
        'epoch',
        `${ofMost(state.epoch, state.epochs)}${current ? `, batch ${ofMost(current.batch, current.batches)}` : ''}`,
      ],
      ['step', formatCount(state.step)],
      ['rate', current && `${formatCount(Math.round(current.samplesPerSecond))} samples/s`],
      [
        'loss',
        current && `${formatNumber(current.meanLoss)} in this epoch, ${formatNumber(current.loss)} in the last batch`,
      ],
      ['last epoch', last ? metricTexts(last.metrics) : null],
      ['best', best && `${best.monitor} ${formatNumber(best.score)} in epoch ${best.epoch}`],
      [
        'checkpoint',
        checkpoint &&
          `${checkpoint.path} (epoch ${checkpoint.epoch}, step ${formatCount(checkpoint.step)}), ${age(checkpoint.time)}`,
      ],
      ['left', state.remainingSeconds === null ? null : `about ${duration(state.remainingSeconds)}`],
      ['stopped', stop && `${stop.of === 'run' ? 'the run' : 'the phase'}: ${stop.message || stop.reason}`],
      ['last event', state.lastEventAt && age(state.lastEventAt)],
      ['unreadable', state.unreadableLines > 0 ? plural(state.unreadableLines, 'line') : null],
    ]),
    ...state.warnings.map(({ message }) => style.warning(`warning: ${printable(message)}`)),
  ]
}

/** The losses over epochs; nothing before the second. */
export function lossChart({ history }: RunState, width?: number): string[] {
  if (history.length < 2) return []
  const curve = (label: string) => ({
    label,
    points: history.map(({ epoch, metrics }) => [epoch, metrics[label] ?? NaN] as const),
  })
  const curves = [curve('train_loss'), curve('val_loss')].filter(({ points }) =>
    points.some(([, y]) => !Number.isNaN(y)),
  )
  const borders = history.flatMap(({ epoch, phase }, index) =>
    index > 0 && phase !== history[index - 1]?.phase ? [epoch - 0.5] : [],
  )
  const chart: Chart = { title: 'loss', xLabel: 'epoch', curves, borders }
  return ['', ...chartLines(chart, width)]
}

/** One event as a line of a log; null for those that are not worth one. */
export function eventLine(line: EventFields): string | null {
  const field = (name: string): string => shown(line[name])
  switch (line['event']) {
    case 'run':
      return `run of ${field('model_type')} begins, process ${field('pid')} on ${field('host')}`
    case 'resume':
      return `run of ${field('model_type')} goes on from ${field('resumed_from')}, process ${field('pid')} on ${field('host')}`
    case 'phase':
      return `phase ${field('phase')} of ${field('phases')} '${field('name')}'`
    case 'step':
      return `epoch ${field('epoch')}  batch ${field('batch')} of ${field('batches')}  step ${field('step')}  loss ${field('mean_loss')}  ${field('samples_per_second')} samples/s`
    case 'epoch':
      return `epoch ${field('epoch')} of ${field('epochs')}  ${metricTexts(line)}${line['is_best'] === true ? '  best' : ''}`
    case 'checkpoint':
      return `checkpoint ${field('path')}`
    case 'stop':
      return `${line['of'] === 'run' ? 'run' : `phase '${field('phase_name')}'`} ended (${field('reason')}): ${field('message')}`
    case 'warning':
      return `warning: ${field('message')}`
    default:
      return null
  }
}

const ofMost = (done: number, most: number | null): string =>
  most === null ? formatCount(done) : `${formatCount(done)} of ${formatCount(most)}`

/** The losses and what else the validation measured. */
function metricTexts(fields: Readonly<Record<string, unknown>>): string {
  return Object.entries(fields)
    .filter(([name, value]) => (name === 'train_loss' || name.startsWith('val_')) && value !== null)
    .map(([name, value]) => `${name} ${shown(value)}`)
    .join('  ')
}

/** A value of a line as text on one line. */
function shown(value: unknown): string {
  if (typeof value === 'number') return formatNumber(value)
  return typeof value === 'string'
    ? printable(value)
    : value === null || value === undefined
      ? '?'
      : JSON.stringify(value)
}

/** A duration in the unit that fits. */
const duration = (seconds: number): string => formatAge(0, seconds * 1000)
