/** How `compare` shows two checkpoints: the verdict, each part on a line, then what differs in it. */
import type {
  Comparison,
  ComparedFile,
  HistoryComparison,
  LayerComparison,
  PartComparison,
  PartName,
  TensorComparison,
  TensorFigures,
  ValueDifference,
} from '../checkpoint/index.js'
import { differenceLines } from './differences.js'
import { tableLines, type Column } from './table.js'
import { formatBytes, formatNumber, plural, printable, style } from './text.js'

const partTitles: Readonly<Record<PartName, string>> = {
  model: 'model',
  optimizer: 'optimizer',
  scheduler: 'scheduler',
  config: 'config',
  trainingConfig: 'training config',
  history: 'history',
  rest: 'everything else',
}

/** @param most rows of layers, tensors, names and values that are listed of each part. */
export function comparisonLines(comparison: Comparison, most: number): string[] {
  const { a, b, same, tolerance, differentParts } = comparison
  const limits = tolerance === null ? '' : ` within rtol ${tolerance.rtol}, atol ${tolerance.atol}`
  const verdict = same
    ? style.good(tolerance === null ? 'same' : `same${limits}`)
    : `${style.bad('different')}${limits}: ${differentParts.map((name) => partTitles[name]).join(', ')}`
  return [
    ...tableLines([a, b], fileColumns(a)),
    '',
    verdict,
    '',
    ...tableLines(partRows(comparison), [
      { title: 'part', text: ({ name }) => name },
      { title: '', text: ({ verdict }) => verdict, style: (text) => (text === 'different' ? style.bad(text) : text) },
      { title: '', text: ({ detail }) => detail },
    ]),
    ...detailLines(comparison, most),
  ]
}

function fileColumns(a: ComparedFile): Column<ComparedFile>[] {
  return [
    { title: '', text: (file) => (file === a ? 'A' : 'B') },
    { title: 'kind', text: ({ kind }) => kind },
    { title: 'layout', text: ({ layout }) => layout },
    { title: 'epoch', text: ({ epoch }) => (epoch === null ? null : String(epoch)), align: 'right' },
    { title: 'phase', text: ({ phase }) => (phase === null ? null : String(phase)), align: 'right' },
    { title: 'val_loss', text: (file) => formatNumber(file.validationLoss), align: 'right' },
    { title: 'size', text: ({ fileSizeMb }) => formatBytes(fileSizeMb * 2 ** 20), align: 'right' },
    { title: 'path', text: ({ path }) => path },
  ]
}

interface PartRow {
  name: string
  verdict: string
  detail: string
}

function partRows(comparison: Comparison): PartRow[] {
  const { differentParts, history, config, metadata, keysOnlyInA, keysOnlyInB } = comparison
  const rows: PartRow[] = []
  for (const name of Object.keys(partTitles) as PartName[]) {
    const different = differentParts.includes(name)
    if (name === 'history') {
      if (history.rowsA === null && history.rowsB === null) continue
      rows.push({ name: partTitles[name], verdict: verdictOf(different, history), detail: historyText(history) })
      continue
    }
    const part = comparison[name]
    if (!part.inA && !part.inB) continue
    const detail = [partText(part), name === 'config' ? hashText(config) : ''].filter((text) => text !== '').join('; ')
    rows.push({ name: partTitles[name], verdict: verdictOf(different, part), detail })
  }
  if (metadata.length > 0)
    rows.push({
      name: 'metadata',
      verdict: 'ignored',
      detail: plural(metadata.length, 'value differs', 'values differ'),
    })
  for (const [side, keys] of [
    ['A', keysOnlyInA],
    ['B', keysOnlyInB],
  ] as const)
    if (keys.length > 0) rows.push({ name: `keys only in ${side}`, verdict: '', detail: keys.join(', ') })
  return rows
}

function verdictOf(different: boolean, part: PartComparison | HistoryComparison): string {
  const [inA, inB] = 'inA' in part ? [part.inA, part.inB] : [part.rowsA !== null, part.rowsB !== null]
  if (inA !== inB) return `only in ${inA ? 'A' : 'B'}`
  return different ? 'different' : 'same'
}

function partText({
  inA,
  inB,
  numTensors,
  numIdenticalTensors,
  tensorsOnlyInA,
  tensorsOnlyInB,
  numValueDifferences,
}: PartComparison): string {
  if (!inA || !inB) return ''
  return [
    numTensors > 0 ? `${numIdenticalTensors} of ${plural(numTensors, 'tensor')} identical` : '',
    tensorsOnlyInA.length > 0 ? `${tensorsOnlyInA.length} only in A` : '',
    tensorsOnlyInB.length > 0 ? `${tensorsOnlyInB.length} only in B` : '',
    numValueDifferences > 0 ? plural(numValueDifferences, 'value differs', 'values differ') : '',
  ]
    .filter((text) => text !== '')
    .join(', ')
}

function hashText({ sameHash, hashA, hashB }: Comparison['config']): string {
  if (sameHash === null) return ''
  const short = (hash: string | null): string => (hash ?? '').slice(0, 8)
  return sameHash ? `same model (hash ${short(hashA)})` : `model hash ${short(hashA)} -> ${short(hashB)}`
}

function historyText({ rowsA, rowsB, commonRows, divergesAt, continuedBy }: HistoryComparison): string {
  if (rowsA === null || rowsB === null) return plural(rowsA ?? rowsB ?? 0, 'epoch')
  const common = `${plural(commonRows, 'epoch')} in common`
  if (divergesAt !== null) return `${common}, then they part (A has ${rowsA}, B ${rowsB})`
  if (continuedBy === null) return common
  return `${common}, ${continuedBy.toUpperCase()} goes on for ${Math.abs(rowsA - rowsB)} more`
}

function detailLines(comparison: Comparison, most: number): string[] {
  const { model, optimizer, scheduler, config, trainingConfig, history, rest, metadata } = comparison
  const { divergesAt } = history
  const place =
    divergesAt === null
      ? ''
      : `row ${divergesAt.row + 1}${divergesAt.epoch === null ? '' : `, epoch ${divergesAt.epoch}`}`
  const matching = optimizer.matching === 'names' ? 'parameters by name' : 'parameters by number'
  return [
    ...section('Layers, most changed first (|a-b|, element by element)', layerLines(model.layers, most)),
    ...section('Tensors of the model', tensorLines(model, most)),
    ...section('Shared tensors', sharingLines(model)),
    ...section('Values of the model', valueLines(model.values, model.numValueDifferences, most)),
    ...section(`Tensors of the optimizer, ${matching}`, tensorLines(optimizer, most)),
    ...section('Optimizer', valueLines(optimizer.values, optimizer.numValueDifferences, most)),
    ...section('Scheduler', valueLines(scheduler.values, scheduler.numValueDifferences, most)),
    ...section('Config', valueLines(config.values, config.numValueDifferences, most)),
    ...section('Training config', valueLines(trainingConfig.values, trainingConfig.numValueDifferences, most)),
    ...section(
      `History, ${place}`,
      valueLines(divergesAt?.differences ?? [], divergesAt?.differences.length ?? 0, most),
    ),
    ...section('Everything else', [
      ...valueLines(rest.values, rest.numValueDifferences, most),
      ...tensorLines(rest, most),
    ]),
    ...section('Metadata', valueLines(metadata, metadata.length, most)),
  ]
}

const section = (title: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : ['', style.bold(title), ...lines]

/** Columns of figures; names come after them, so that long ones do not push numbers away. */
function figureColumns<Row>(figuresOf: (row: Row) => TensorFigures | null): Column<Row>[] {
  const figure = (title: string, pick: (figures: TensorFigures) => number | null, digits = 3): Column<Row> => ({
    title,
    text: (row) => {
      const figures = figuresOf(row)
      return figures === null ? null : shortNumber(pick(figures), digits)
    },
    align: 'right',
  })
  return [
    figure('|a-b|/|a|', ({ relativeNorm }) => relativeNorm),
    figure('max', ({ maxAbs }) => maxAbs),
    figure('mean', ({ meanAbs }) => meanAbs),
    figure('cosine', ({ cosine }) => cosine, 5),
  ]
}

/** Figures are for a look: few digits, so that a line fits. `--json` has all. */
function shortNumber(value: number | null, digits: number): string {
  if (value === null) return '-'
  if (value === 0 || !Number.isFinite(value)) return String(value)
  const size = Math.abs(value)
  return size < 1e-3 || size >= 1e5 ? value.toExponential(digits - 2) : String(Number(value.toPrecision(digits)))
}

function layerLines(layers: readonly LayerComparison[], most: number): string[] {
  const lines = tableLines(layers.slice(0, most), [
    ...figureColumns<LayerComparison>(({ figures }) => figures),
    { title: 'differ', text: ({ differing, tensors }) => `${differing} of ${tensors}`, align: 'right' },
    { title: 'layer', text: ({ name }) => (name === '' ? '(top level)' : name) },
    { title: 'besides', text: ({ incomparable }) => (incomparable === 0 ? '' : `${incomparable} of another shape`) },
  ])
  return [...lines, ...moreLine(layers.length, most, 'layer')]
}

function tensorLines({ tensors, tensorsOnlyInA, tensorsOnlyInB }: PartComparison, most: number): string[] {
  const names = (side: string, all: readonly string[]): string[] => [
    ...all.slice(0, most).map((name) => `only in ${side}: ${printable(name)}`),
    ...moreLine(all.length, most, 'tensor'),
  ]
  const lines = tableLines(tensors.slice(0, most), [
    ...figureColumns<TensorComparison>(({ figures }) => figures),
    { title: 'differ', text: differingText, align: 'right' },
    { title: 'tensor', text: ({ name }) => name },
    { title: 'besides', text: besidesText },
  ])
  return [
    ...lines,
    ...moreLine(tensors.length, most, 'tensor'),
    ...names('A', tensorsOnlyInA),
    ...names('B', tensorsOnlyInB),
  ]
}

/** The share of the elements that differ: of a tolerance, of those beyond it. */
function differingText({ figures, numElements }: TensorComparison): string | null {
  if (figures === null) return null
  const share = (100 * (figures.outside ?? figures.differing)) / numElements
  if (share === 0 || share === 100) return share === 0 ? 'none' : 'all'
  return share < 0.1 ? '<0.1 %' : `${Math.min(share, 99.9).toFixed(1)} %`
}

/** Shapes, dtypes, and what is not finite. */
function besidesText({ difference, dtypeA, dtypeB, shapeA, shapeB, figures }: TensorComparison): string {
  const { nanInBoth = 0, nanOnlyInA = 0, nanOnlyInB = 0, infinityMismatches = 0 } = figures ?? {}
  return [
    difference === 'bits' ? 'only bits: signs of zeros, kinds of NaN' : '',
    difference === 'layout' ? `${dtypeA} -> ${dtypeB}` : dtypeA === dtypeB ? '' : `${dtypeA} -> ${dtypeB}`,
    difference === 'shape' ? `[${shapeA.join(', ')}] -> [${shapeB.join(', ')}]` : '',
    nanOnlyInA > 0 ? `${nanOnlyInA} NaN in A` : '',
    nanOnlyInB > 0 ? `${nanOnlyInB} NaN in B` : '',
    nanInBoth > 0 ? `${nanInBoth} NaN in both` : '',
    infinityMismatches > 0 ? `${infinityMismatches} infinite` : '',
  ]
    .filter((text) => text !== '')
    .join(', ')
}

function sharingLines({ sharedOnlyInA, sharedOnlyInB }: Comparison['model']): string[] {
  const lines = (side: string, groups: readonly string[][]): string[] =>
    groups.map((names) => `one tensor in ${side} only: ${names.map(printable).join(', ')}`)
  return [...lines('A', sharedOnlyInA), ...lines('B', sharedOnlyInB)]
}

function valueLines(values: readonly ValueDifference[], total: number, most: number): string[] {
  const shown = values.slice(0, most).map(({ path, before, after }) => ({ path, before, after }))
  return [...differenceLines(shown), ...moreLine(total, most, 'value')]
}

const moreLine = (total: number, most: number, what: string): string[] =>
  total > most ? [style.dim(`... and ${plural(total - most, `more ${what}`)} (--top shows more)`)] : []
