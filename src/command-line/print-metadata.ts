/** How `tag` shows what a checkpoint says about itself. */
import type { CheckpointMetadata } from '../checkpoint/index.js'
import { formatBytes, formatNumber, printable } from './text.js'

/** One line for each thing that is known. */
export function metadataLines(metadata: CheckpointMetadata): string[] {
  const { title, description, tags, version, createdAt, modelType, configHash, libraries } = metadata
  const { fileSizeMb, validationLoss, epoch, phase, isBest } = metadata
  const number = (value: number | null): string | null => (value === null ? null : formatNumber(value))
  const known: readonly (readonly [name: string, text: string | null])[] = [
    ['title', title],
    ['description', description],
    ['tags', tags.join(', ')],
    ['epoch', number(epoch)],
    ['phase', number(phase)],
    ['val_loss', number(validationLoss)],
    ['best', isBest === null ? null : isBest ? 'yes' : 'no'],
    ['model', modelType],
    ['config hash', configHash],
    ['created', createdAt],
    ['version', version],
    ['torchkeep', libraries.torchkeep],
    ['libtorch', libraries.libtorch],
    ['node', libraries.node],
    ['size', formatBytes(fileSizeMb * 2 ** 20)],
  ]
  return known.flatMap(([name, text]) =>
    text === null || text === '' ? [] : [`${name.padEnd(12)} ${printable(text)}`],
  )
}
