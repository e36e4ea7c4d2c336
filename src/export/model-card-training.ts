/** The section of a model card on how the model was trained: epochs, phases, optimizer. No paths, no data. */
import { numberOf } from '../checkpoint/metrics.js'
import { cell, oneLine, type CardFacts } from './model-card.js'

type Dict = ReadonlyMap<unknown, unknown>

/** What the checkpoint says; a sentence where it says nothing. */
export function trainingText({ trainingConfig, summary, epoch, phase, metadata }: CardFacts): string {
  const place = [epoch === null ? '' : `epoch ${epoch}`, phase === null ? '' : `phase ${phase}`].filter(
    (text) => text !== '',
  )
  const library = metadata.get('libtorch_version')
  const facts = [
    place.length === 0
      ? ''
      : `The weights are those of ${place.join(', ')}${summary.total_epochs === null ? '' : ` of a run of ${summary.total_epochs} epochs so far`}.`,
    typeof library === 'string' && library !== '' ? `Trained with LibTorch ${oneLine(library)}.` : '',
  ].filter((text) => text !== '')
  if (!(trainingConfig instanceof Map)) return [...facts, 'The checkpoint does not say how it was trained.'].join(' ')
  const config = trainingConfig as Dict
  const settings = ['loss', 'monitor', 'batch_size', 'accumulate_grad_batches', 'clip_grad_norm', 'autocast']
    .filter((key) => isScalar(config.get(key)))
    .map((key) => `- ${key}: ${scalarText(config.get(key))}`)
  const phases: unknown = config.get('phases')
  const table = Array.isArray(phases)
    ? phaseTable(
        phases.filter((item): item is Dict => item instanceof Map),
        config,
      )
    : ''
  const optimizer = table === '' ? optimizerText(config.get('optimizer')) : ''
  return [facts.join(' '), settings.join('\n'), optimizer === '' ? '' : `Optimizer: ${optimizer}.`, table]
    .filter((text) => text !== '')
    .join('\n\n')
}

function phaseTable(phases: readonly Dict[], config: Dict): string {
  const rows = phases.map((phase, index) => {
    const length = isScalar(phase.get('epochs'))
      ? `${scalarText(phase.get('epochs'))} epochs`
      : isScalar(phase.get('steps'))
        ? `${scalarText(phase.get('steps'))} steps`
        : ''
    const optimizer = optimizerText(phase.get('optimizer') ?? config.get('optimizer'))
    const scheduler = nameOf(phase.get('scheduler') ?? config.get('scheduler'))
    const cells = [
      index + 1,
      phase.get('name') ?? '',
      length,
      scalarText(phase.get('lr')),
      optimizer === '' ? 'AdamW' : optimizer,
      scheduler,
    ]
    return `| ${cells.map(cell).join(' | ')} |`
  })
  if (rows.length === 0) return ''
  return `| phase | name | at most | learning rate | optimizer | scheduler |\n|---|---|---|---|---|---|\n${rows.join('\n')}`
}

/** `AdamW (weight_decay 0.01)`. */
function optimizerText(optimizer: unknown): string {
  if (!(optimizer instanceof Map)) return typeof optimizer === 'string' ? oneLine(optimizer) : ''
  const options = [...(optimizer as Dict)].filter(
    ([key, value]) => key !== 'name' && (isScalar(value) || Array.isArray(value)),
  )
  const text = options.map(
    ([key, value]) => `${String(key)} ${Array.isArray(value) ? value.map(scalarText).join(', ') : scalarText(value)}`,
  )
  return `${nameOf(optimizer)}${text.length === 0 ? '' : ` (${text.join('; ')})`}`
}

function nameOf(value: unknown): string {
  const name: unknown = value instanceof Map ? value.get('name') : value
  return typeof name === 'string' ? oneLine(name) : ''
}

const isScalar = (value: unknown): boolean =>
  typeof value === 'string' || typeof value === 'boolean' || numberOf(value) !== null
const scalarText = (value: unknown): string => {
  const number = numberOf(value)
  return number !== null ? String(number) : isScalar(value) ? oneLine(value) : ''
}
