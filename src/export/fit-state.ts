/** Fits the tensors of a checkpoint to the names that a model has: strictly, and with all that does not fit told at once. */
import { dtypeOf, sizesOf } from '../checkpoint/tensor-roles.js'
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'
import type { AnyTensorRecord } from '../format/tensor-record.js'

/** A tensor that a model has under this name. */
export interface WantedTensor {
  dtype: string | null
  sizes: readonly number[]
  /** Names of the same tensor (tied weights), this one included. */
  aliases: readonly string[]
  /** Whether it may be absent: what older versions of a module did not save. */
  optional: boolean
}

/** The tensors under the model's names. */
export interface FittedState {
  tensors: Map<string, AnyTensorRecord>
  /** Taken away from the front of every name; empty for none. */
  prefix: string
  /** Optional names that the checkpoint does not have. */
  absent: string[]
}

/**
 * @param path of the checkpoint, and @param model what the names are of, for messages.
 * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` with all missing and unexpected names and all dtypes and shapes that differ.
 */
export function fitState(
  path: string,
  given: ReadonlyMap<string, AnyTensorRecord>,
  model: string,
  wanted: ReadonlyMap<string, WantedTensor>,
): FittedState {
  const prefix = commonPrefix(given, wanted)
  const named = new Map([...given].map(([name, record]) => [name.slice(prefix.length), record]))
  const tensors = new Map<string, AnyTensorRecord>()
  const missing: string[] = []
  const absent: string[] = []
  const mismatched: string[] = []
  for (const [name, want] of wanted) {
    // Files that may hold a tied tensor once only (safetensors) have one of its names.
    const record = named.get(name) ?? want.aliases.map((alias) => named.get(alias)).find((other) => other !== undefined)
    if (record === undefined) (want.optional ? absent : missing).push(name)
    else {
      mismatched.push(...differences(name, record, want))
      tensors.set(name, record)
    }
  }
  const unexpected = [...named.keys()].filter((name) => !wanted.has(name))
  if (missing.length + unexpected.length + mismatched.length > 0)
    throw unfit(path, model, missing, unexpected, mismatched)
  return { tensors, prefix, absent }
}

/** What all names have in front where the rest are the model's: `module.` of DataParallel, `_orig_mod.` of torch.compile, `model.` of Lightning. */
function commonPrefix(given: ReadonlyMap<string, unknown>, wanted: ReadonlyMap<string, WantedTensor>): string {
  const [first = ''] = given.keys()
  if ([...given.keys()].some((name) => wanted.has(name))) return ''
  for (let end = first.indexOf('.') + 1; end > 0; end = first.indexOf('.', end) + 1) {
    const prefix = first.slice(0, end)
    if ([...given.keys()].every((name) => name.startsWith(prefix) && wanted.has(name.slice(end)))) return prefix
  }
  return ''
}

function differences(name: string, record: AnyTensorRecord, { dtype, sizes }: WantedTensor): string[] {
  const text = (of: readonly number[]): string => `[${of.join(', ')}]`
  const found = sizesOf(record)
  if (text(found) !== text(sizes)) return [`${name}: shape ${text(found)}, expected ${text(sizes)}`]
  return dtype === null || dtypeOf(record) === dtype ? [] : [`${name}: ${dtypeOf(record)}, expected ${dtype}`]
}

function unfit(
  path: string,
  model: string,
  missing: readonly string[],
  unexpected: readonly string[],
  mismatched: readonly string[],
): TorchkeepError {
  const near = missing.flatMap((name) => {
    const [other] = nearNames(name, unexpected, 1)
    return other === undefined ? [] : [`the checkpoint has '${other}' where the model has '${name}'`]
  })
  const part = (title: string, items: readonly string[]): string[] =>
    items.length === 0 ? [] : [`${title}: ${items.join(', ')}`]
  const facts = [...part('missing', missing), ...part('unexpected', unexpected), ...part('mismatched', mismatched)]
  return new TorchkeepError('ERR_CHECKPOINT_INCOMPATIBLE', `${path} does not fit ${model}; ${facts.join('; ')}`, {
    suggestions: near.slice(0, 3),
  })
}
