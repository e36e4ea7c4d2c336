/**
 * PyTorch's indexing (`THPVariable_getitem`, torch/csrc/autograd/python_variable_indexing.cpp): views first, then one
 * `index` for all tensors.
 */
import { TorchkeepError } from '../src/format/errors.js'
import { call, callTensor } from './call.js'
import { tensor as makeTensor } from './creation.js'
import { integerRange, type DType } from './dtype.js'
import { knownOptions } from './options.js'
import { Tensor } from './tensor.js'

/** A range along one dimension, as Python's `start:end:step`. `{}` takes all. */
export interface Range {
  start?: number | null
  end?: number | null
  /** At least 1. */
  step?: number
}

/**
 * One index: a position, a range, null (a new dimension), `'...'`, a boolean, a boolean or integer tensor, or a list of
 * positions or of booleans. An integer tensor without dimensions is a position, a boolean one a boolean, as in PyTorch.
 */
export type Index = number | Range | null | '...' | boolean | Tensor | readonly number[] | readonly boolean[]

/** `tensor[indices]`. */
export function indexTensor(tensor: Tensor, indices: readonly Index[]): Tensor {
  const { view, tensors } = applyViews(tensor, indices)
  if (tensors.length > 0) return callTensor('index.Tensor', [view, tensors])
  return view === tensor ? callTensor('alias', [tensor]) : view
}

/** `tensor[indices] = value`, broadcast. */
export function indexPut(tensor: Tensor, indices: readonly Index[], value: Tensor | number, accumulate: boolean): void {
  const { view, tensors } = applyViews(tensor, indices)
  const source = typeof value === 'number' ? makeTensor(value, { dtype: tensor.dtype, device: tensor.device }) : value
  if (tensors.length > 0) call('index_put_', [view, tensors, source, accumulate])
  else if (accumulate) call('add_.Tensor', [view, source])
  else call('copy_', [view, source])
}

/**
 * Applies what can be a view and collects what needs `index`: one entry a dimension of the view (or mask of several),
 * null where it is not indexed.
 */
function applyViews(tensor: Tensor, indices: readonly Index[]): { view: Tensor; tensors: (Tensor | null)[] } {
  const rank = tensor.dim()
  const consumed = indices.reduce<number>((count, index) => count + dimensionsOf(index), 0)
  if (consumed > rank) {
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `Too many indices: ${consumed} for a tensor of dimension ${rank}`)
  }
  if (indices.filter((index) => index === '...').length > 1) {
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', "Indices hold more than one '...'")
  }
  const tensors: (Tensor | null)[] = []
  let view = tensor
  let dim = 0
  // A mask of several dimensions is one entry all the same: `index` spreads it itself.
  let spread = 0
  for (const given of indices) {
    const index = scalarIndex(given)
    if (index === '...') dim += rank - consumed
    else if (index === null) view = callTensor('unsqueeze', [view, dim++])
    else if (typeof index === 'number') view = callTensor('select.int', [view, dim, index])
    else if (typeof index === 'boolean') {
      view = callTensor('unsqueeze', [view, dim])
      tensors[dim++ - spread] = makeTensor([index], { device: tensor.device })
    } else if (index instanceof Tensor) {
      tensors[dim - spread] = index
      dim += dimensionsOf(index)
      spread += dimensionsOf(index) - 1
    } else if (isList(index))
      tensors[dim++ - spread] = makeTensor(index, { dtype: dtypeOfList(index), device: tensor.device })
    else view = applyRange(view, dim++, index)
  }
  return { view, tensors: Array.from(tensors, (item) => item ?? null) }
}

/** The value of a tensor without dimensions that stands for a position or a boolean. */
function scalarIndex(index: Index): Index {
  if (!(index instanceof Tensor) || index.dim() > 0) return index
  if (isMask(index)) return Boolean(index.item())
  return integerRange(index.dtype) === undefined ? index : Number(index.item())
}

const dtypeOfList = (list: readonly (number | boolean)[]): DType =>
  list.length > 0 && list.every((item) => typeof item === 'boolean') ? 'bool' : 'int64'

/** A whole range leaves the tensor as it is, as in PyTorch, so that no node is recorded for it. */
function applyRange(view: Tensor, dim: number, range: Range): Tensor {
  const { start = null, end = null, step = 1 } = knownOptions('An index', range, ['start', 'end', 'step'])
  if (step < 1) throw new TorchkeepError('ERR_INVALID_ARGUMENT', `A range's step is ${step}, expected at least 1`)
  if ((start === null || start === 0) && end === null && step === 1) return view
  return callTensor('slice.Tensor', [view, dim, start ?? 0, end ?? Number.MAX_SAFE_INTEGER, step])
}

function dimensionsOf(index: Index): number {
  if (index === null || index === '...' || typeof index === 'boolean') return 0
  // A boolean tensor takes as many dimensions as it has; any other index takes one.
  return index instanceof Tensor && isMask(index) ? index.dim() : 1
}

const isMask = (index: Tensor): boolean => index.dtype === 'bool' || index.dtype === 'uint8'

type List = readonly number[] | readonly boolean[]

const isList = (index: Range | List): index is List => Array.isArray(index)
