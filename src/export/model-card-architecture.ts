/** The section of a model card on what the model is made of. */
import { dtypeOf, sizesOf, uniqueTensors } from '../checkpoint/tensor-roles.js'
import { elementCount, type AnyTensorRecord } from '../format/tensor-record.js'
import { cell, type CardFacts } from './model-card.js'

/** Layers that a card lists. Larger models say more by their groups than by their rows. */
const mostRows = 60

/** A table of the tensors, those of one name twice once. */
export function architectureText({ stateDict, numParameters }: CardFacts): string {
  const tensors = uniqueTensors(stateDict as ReadonlyMap<string, AnyTensorRecord>)
  const layers = new Set([...stateDict.keys()].map((name) => name.slice(0, Math.max(name.lastIndexOf('.'), 0))))
  const head = `${numParameters.toLocaleString('en-US')} parameters in ${layers.size} layer${layers.size === 1 ? '' : 's'}; ${tensors.length} tensors.`
  const rows = tensors.slice(0, mostRows).map(({ names, record }) => {
    const sizes = sizesOf(record)
    const also =
      names.length > 1
        ? ` (also ${names
            .slice(1)
            .map((name) => `\`${name}\``)
            .join(', ')})`
        : ''
    return `| \`${cell(names[0])}\`${also} | [${sizes.join(', ')}] | ${dtypeOf(record)} | ${elementCount(sizes)} |`
  })
  const more =
    tensors.length > mostRows ? `\n\nAnd ${tensors.length - mostRows} more; the header of the weights has all.` : ''
  return `${head}\n\n| tensor | shape | dtype | numbers |\n|---|---|---|---|\n${rows.join('\n')}${more}`
}
