/** How `inspect` prints what is in a checkpoint. */
import type {
  ContainerFacts,
  InspectedOptimizer,
  InspectedTensor,
  Inspection,
  ModuleNode,
  TensorStatistics,
  TreeNode,
} from '../checkpoint/index.js'
import { factLines, tableLines, type Column } from './table.js'
import { formatBytes, formatCount, formatMoment, formatNumber, plural, printable, style } from './text.js'

/** Children of one container that are printed; `--json` has all of them. */
const mostChildren = 40

/** Rows of the history that are printed, the last ones. */
const mostRows = 10

/** Everything but tensors. */
export function inspectionLines(inspection: Inspection): string[] {
  const { contents, optimizer, scheduler, config, trainingConfig, history, metadata, globals, findings } = inspection
  const part = (title: string, lines: readonly string[]): string[] =>
    lines.length === 0 ? [] : ['', style.bold(title), ...lines]
  return [
    ...factLines(factsOf(inspection)),
    ...part('contents', treeLines(contents)),
    ...part('model, kinds of layers guessed from names and shapes', modelLines(inspection.architecture)),
    ...part('optimizer', optimizer === null ? [] : optimizerLines(optimizer)),
    ...part('scheduler', plainLines(scheduler)),
    ...part('config', plainLines(config)),
    ...part('training config', plainLines(trainingConfig)),
    ...part('history', history === null ? [] : historyLines(history)),
    ...part('metadata', plainLines(metadata)),
    ...part('format', plainLines(inspection.container.details)),
    ...part('globals of the pickle', globalLines(globals)),
    ...part(
      'findings',
      findings.map(({ severity, id, message }) => `${severity}  ${id}  ${printable(message)}`),
    ),
  ]
}

/** The modules that have a guess, as far as there is room. */
function modelLines(root: ModuleNode | null): string[] {
  const lines: string[] = []
  const visit = (node: ModuleNode): void => {
    if (node.guess !== null) {
      const shared = node.tensors.flatMap(({ sameAs }) => (sameAs === null ? [] : [sameAs]))
      const also = shared.length === 0 ? '' : `, shares ${shared.join(', ')}`
      const count = node.numParameters === 0 && shared.length > 0 ? '' : `, ${plural(node.numParameters, 'parameter')}`
      lines.push(printable(`${node.path}: ${node.guess}${count}${also}`))
    }
    node.children.forEach(visit)
  }
  if (root !== null) visit(root)
  if (lines.length <= mostChildren) return lines
  return [...lines.slice(0, mostChildren), `... and ${formatCount(lines.length - mostChildren)} more`]
}

function factsOf(inspection: Inspection): (readonly [string, string | null])[] {
  const {
    kind,
    layout,
    version,
    newer,
    epoch,
    phase,
    validationLoss,
    timestamp,
    numParameters,
    container,
    weightsOnly,
  } = inspection
  const versionText = version === null ? '' : `, version ${version}${newer ? ' (newer than this Torchkeep)' : ''}`
  return [
    ['path', inspection.path],
    ['kind', `${kind}${layout === null ? '' : `, layout ${layout}`}${versionText}`],
    ['container', containerText(container)],
    ['epoch', epoch === null ? null : `${epoch}${phase === null ? '' : `, phase ${phase}`}`],
    ['val_loss', validationLoss === null ? null : formatNumber(validationLoss)],
    ['saved', timestamp === null ? null : formatMoment(timestamp * 1000)],
    ['parameters', numParameters === null ? null : formatCount(numParameters)],
    [
      'safe load',
      weightsOnly === null
        ? null
        : weightsOnly
          ? 'torch.load(weights_only=True) takes it'
          : 'torch.load(weights_only=True) refuses it',
    ],
  ]
}

function containerText(container: ContainerFacts): string {
  const { format, sizeBytes, records, storages, storageBytes, alignmentBytes, byteOrder, protection } = container
  const protections = {
    crc32: 'CRC-32 of every record',
    partial: 'CRC-32 of some records only',
    none: 'no checksums',
  } as const
  return [
    `${format}, ${formatBytes(sizeBytes)}`,
    ...(records > 0 ? [plural(records, 'record')] : []),
    `${plural(storages, 'storage')} of ${formatBytes(storageBytes)}`,
    ...(alignmentBytes === null ? [] : [`aligned to ${plural(alignmentBytes, 'byte')}`]),
    ...(byteOrder === 'big' ? ['big-endian'] : []),
    protections[protection],
  ].join(', ')
}

/** A tree, two blanks a level: `key: type (items) value`. */
function treeLines(node: TreeNode, indent = ''): string[] {
  const name = node.key === '' ? '' : `${printable(node.key)}: `
  const size = node.size === null ? '' : ` (${formatCount(node.size)})`
  const text =
    node.sameAs !== null ? ` same as ${printable(node.sameAs)}` : node.text === null ? '' : ` ${printable(node.text)}`
  const { children } = node
  const onOneLine = node.text !== null && node.sameAs === null
  const line = `${indent}${name}${style.dim(printable(node.type))}${size}${text}`
  if (children === null || (onOneLine && children.every((child) => child.children === null))) return [line]
  const more = children.length - mostChildren
  return [
    line,
    ...children.slice(0, mostChildren).flatMap((child) => treeLines(child, `${indent}  `)),
    ...(more > 0 ? [`${indent}  ... ${plural(more, 'more item')}`] : []),
  ]
}

/** Plain JSON values, a line each, indented by depth; nothing for null and empty ones. */
function plainLines(value: unknown, indent = ''): string[] {
  if (typeof value !== 'object' || value === null) return value === null ? [] : [`${indent}${plainText(value)}`]
  return Object.entries(value as Record<string, unknown>).flatMap(([key, item]) => {
    if (isShort(item)) return [`${indent}${printable(key)}: ${plainText(item)}`]
    return [`${indent}${printable(key)}:`, ...plainLines(item, `${indent}  `)]
  })
}

/** What stands on the line of its key: no container, an empty one, or a short list of plain values. */
function isShort(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true
  const items = Object.values(value)
  return (
    items.length === 0 ||
    (Array.isArray(value) && items.every((item) => typeof item !== 'object') && plainText(value).length <= 80)
  )
}

function plainText(value: unknown): string {
  if (typeof value === 'string') return printable(value)
  if (typeof value === 'number' || typeof value === 'bigint') return String(value)
  if (Array.isArray(value)) return `[${value.map(plainText).join(', ')}]`
  return printable(JSON.stringify(value))
}

function optimizerLines({ name, groups, states, stateKeys, steps }: InspectedOptimizer): string[] {
  const stepText =
    steps === null ? null : steps.least === steps.most ? String(steps.least) : `${steps.least} to ${steps.most}`
  return [
    ...factLines([
      ['name', name === null ? 'not known from its options' : `${name} (told from its options)`],
      ['steps', stepText],
      ['states', `${plural(states, 'parameter')}${stateKeys.length === 0 ? '' : ` with ${stateKeys.join(', ')}`}`],
    ]),
    ...groups.flatMap(({ options, parameters }, index) => [
      `group ${index}: ${plural(parameters, 'parameter')}`,
      ...plainLines(options, '  '),
    ]),
  ]
}

function historyLines(history: Inspection['history'] & object): string[] {
  const names = [...new Set(history.flatMap((row) => Object.keys(row)))]
  const columns = names.map((name): Column<Record<string, unknown>> => ({
    title: name,
    align: 'right',
    text: (row) => cellText(row[name]),
  }))
  const hidden = history.length - mostRows
  return [
    ...(hidden > 0 ? [`... ${plural(hidden, 'earlier row')}`] : []),
    ...tableLines(history.slice(-mostRows), columns),
  ]
}

function cellText(value: unknown): string | null {
  if (value === undefined || value === null) return null
  return typeof value === 'number' || typeof value === 'bigint' ? formatNumber(value) : plainText(value)
}

function globalLines(globals: Inspection['globals']): string[] {
  const refused = style.warning('refused by torch.load(weights_only=True)')
  return globals.map(({ name, weightsOnly }) => (weightsOnly ? printable(name) : `${printable(name)}  ${refused}`))
}

/** The table of tensors, and below it how many. */
export function tensorLines(tensors: readonly InspectedTensor[]): string[] {
  const figure = (title: string, of: (statistics: TensorStatistics) => number | null): Column<InspectedTensor> => ({
    title,
    align: 'right',
    text: ({ statistics }) => (statistics === null ? null : formatNumber(of(statistics))),
  })
  const infinite = (statistics: TensorStatistics): number => statistics.positiveInfinite + statistics.negativeInfinite
  const statistics = tensors.some((tensor) => tensor.statistics !== null)
  const sizeBytes = tensors.reduce((sum, tensor) => sum + tensor.sizeBytes, 0)
  return [
    ...tableLines(tensors, [
      { title: 'name', text: ({ name }) => (name === '' ? '(the file)' : name) },
      { title: 'dtype', text: ({ dtype, layout }) => (layout === 'strided' ? dtype : `${dtype} ${layout}`) },
      { title: 'shape', text: ({ shape }) => `[${shape.join(', ')}]` },
      { title: 'size', align: 'right', text: (tensor) => formatBytes(tensor.sizeBytes) },
      ...(statistics
        ? [
            figure('min', ({ min }) => min),
            figure('max', ({ max }) => max),
            figure('mean', ({ mean }) => mean),
            figure('zeros', ({ zeros }) => zeros),
            figure('nan', ({ nan }) => nan),
            figure('inf', infinite),
            {
              title: 'histogram',
              text: (tensor: InspectedTensor) => histogramText(tensor.statistics?.histogram ?? []),
            },
          ]
        : []),
      {
        title: 'view',
        text: ({ contiguous, strides }) => (contiguous === false ? `strides [${strides?.join(', ')}]` : null),
      },
      { title: 'shared with', text: ({ sharedWith }) => sharedText(sharedWith) },
    ]),
    `${plural(tensors.length, 'tensor')}, ${formatBytes(sizeBytes)}`,
  ]
}

const sharedText = (names: readonly string[]): string =>
  names.length === 0
    ? ''
    : names.length <= 2
      ? names.join(', ')
      : `${names.slice(0, 2).join(', ')} and ${names.length - 2} more`

const blocks = '▁▂▃▄▅▆▇█'

/** Parts as block characters between bars, the fullest part full; a part without values is blank. */
function histogramText(parts: readonly number[]): string | null {
  const most = Math.max(...parts, 0)
  if (most === 0) return null
  const block = (count: number): string =>
    count === 0 ? ' ' : (blocks[Math.ceil((count / most) * blocks.length) - 1] ?? '')
  return `|${parts.map(block).join('')}|`
}
