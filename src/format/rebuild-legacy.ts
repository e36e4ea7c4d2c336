/** Tensors as PyTorch before 0.4 pickled them: an empty instance of a tensor class, Parameter or Variable, whose state is set afterwards. Source: `torch.Tensor.__setstate__`. */
import { CallArguments, describe } from './arguments.js'
import type { PickleReader } from './pickle-read.js'
import { viewOf, type Rebuild } from './rebuild-tensors.js'
import { storageClassDTypes, type DTypeName } from './dtypes.js'
import { StorageRecord, TensorRecord } from './tensor-record.js'
import { Tuple } from './values.js'

const tensorClass = /^torch\.(?:cuda\.)?(\w*Tensor)$/

/** What makes an empty tensor of an old class (`torch.FloatTensor`), a Parameter or a Variable; undefined for other names. */
export function legacyTensorRebuilder(fullName: string): Rebuild | undefined {
  if (variables.has(fullName)) return rebuildVariable
  const dtype = dtypeOfTensorClass(fullName)
  return dtype === undefined ? undefined : (args, reader) => emptyTensor(args, dtype, reader)
}

const variables: ReadonlySet<string> = new Set([
  'torch.nn.parameter.Parameter',
  'torch.autograd.Variable',
  'torch.autograd.variable.Variable',
])

function dtypeOfTensorClass(fullName: string): DTypeName | undefined {
  const name = tensorClass.exec(fullName)?.[1]
  if (name === undefined) return undefined
  return name === 'Tensor' ? 'float32' : storageClassDTypes.get(name.replace(/Tensor$/, 'Storage'))
}

/** Its storage comes with BUILD, and until then the pickle must not end. */
function emptyTensor(args: CallArguments, dtype: DTypeName, reader: PickleReader): TensorRecord {
  if (args.count(0, 2) > 0)
    args.fail('a tensor made of sizes or values instead of a storage', 'pickle.unsupported', args.name)
  const tensor = new TensorRecord({ storage: noStorage(dtype), dtype, sizes: [0], strides: [1] })
  reader.awaitingState.add(tensor)
  return tensor
}

function noStorage(dtype: DTypeName): StorageRecord {
  return new StorageRecord({ id: 'none', dtype, sizeBytes: 0, source: { path: '', offsetBytes: 0, sizeBytes: 0 } })
}

/** `Parameter(data, requires_grad=True)`, `Variable(data, requires_grad=False)`. */
function rebuildVariable(args: CallArguments, reader: PickleReader): TensorRecord {
  if (reader.awaitingState.has(args.tensor(0))) args.fail('a tensor without a storage', 'tensor.malformed')
  const isParameter = args.name === 'torch.nn.parameter.Parameter'
  const requiresGrad = args.count(1, 2) === 2 ? args.bool(1) : isParameter
  return new TensorRecord({ ...args.tensor(0), isParameter, requiresGrad })
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] }

/** State of four parts is the view; of three or five it is what a Variable had: whether it wants a gradient. */
export function buildTensor(tensor: Mutable<TensorRecord>, state: unknown, reader: PickleReader): void {
  if (!(state instanceof Tuple)) reader.fail(`the state of a tensor is ${describe(state)}, expected a tuple`)
  const args = new CallArguments('the state of a tensor', state, reader)
  if (state.length === 4) {
    const view = viewOf(args)
    if (view.dtype !== tensor.dtype) args.fail(`a ${view.dtype} storage for a ${tensor.dtype} tensor`)
    if (tensor.requiresGrad) args.fail('another view for a tensor that wants a gradient')
    Object.assign(tensor, {
      storage: view.storage,
      storageOffset: view.storageOffset,
      sizes: view.sizes,
      strides: view.strides,
    })
    reader.awaitingState.delete(tensor)
  } else if (state.length === 3) {
    tensor.requiresGrad = args.bool(0)
  } else if (state.length === 5) {
    const data = args.tensor(0)
    if (reader.awaitingState.has(data)) args.fail('a tensor without a storage', 'tensor.malformed')
    const { storage, storageOffset, sizes, strides, dtype } = data
    Object.assign(tensor, { storage, storageOffset, sizes, strides, dtype, requiresGrad: args.bool(3) })
    reader.awaitingState.delete(tensor)
  } else args.fail(`${state.length} parts, expected 3 to 5`)
}
