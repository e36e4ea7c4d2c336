/** Tensors and storages that contradict themselves or their file: each is refused with its reason. */
import assert from 'node:assert/strict'
import { readTensorBytes, readTorchFile, TensorRecord } from '../../src/format/index.js'
import { ints, op, pickle, storage, tensor, torchFile, withFile } from './fixtures.js'
import { itRefuses, type Refusal } from './refusals.js'

const malformed = 'pickle.malformed'
const tooSmall = 'storage.too_small'
const badTensor = 'tensor.malformed'

/** A file whose pickle is these opcodes, with a float storage `0` of 16 bytes. */
const withStorage = (...opcodes: string[]) => torchFile(pickle(...opcodes), { 0: new Uint8Array(16) })

const float4 = storage('0', 4)
const tensors: Refusal[] = [
  ['a record that is missing', withStorage(storage('7', 4)), 'record.missing', /data\/7 of a storage is missing/],
  ['a key that leaves the folder', withStorage(storage('../data/0', 4)), 'record.missing', /is missing/],
  [
    'a storage longer than its record',
    withStorage(storage('0', 5)),
    'record.size',
    /20 bytes, its record data\/0 has 16/,
  ],
  [
    'a storage shorter than its record',
    withStorage(storage('0', 3)),
    'record.size',
    /12 bytes, its record data\/0 has 16/,
  ],
  ['a storage of 2^62 elements', withStorage(storage('0', 2n ** 62n)), badTensor, /storage 0 of 4611686018427387904/],
  ['a storage of negative size', withStorage(storage('0', -1)), badTensor, /storage 0 of -1/],
  [
    'one key with two dtypes',
    withStorage(float4, storage('0', 4, 'IntStorage'), op.tuple2),
    'storage.type',
    /IntStorage of 16 bytes .* FloatStorage/,
  ],
  ['a class that is no storage', withStorage(storage('0', 4, 'FloatTensor')), malformed, /instead of a storage class/],
  [
    'a tensor past the end',
    withStorage(tensor(float4, 0, ints(5), ints(1))),
    tooSmall,
    /needs 20 bytes of storage, there are 16/,
  ],
  ['an offset past the end', withStorage(tensor(float4, 4, ints(1), ints(1))), tooSmall, /needs 20 bytes/],
  ['a stride past the end', withStorage(tensor(float4, 0, ints(2), ints(4))), tooSmall, /needs 20 bytes/],
  [
    'an offset beyond 2^53',
    withStorage(tensor(float4, 2n ** 62n, ints(1), ints(1))),
    malformed,
    /argument 2 is bigint/,
  ],
  [
    'products beyond 2^53',
    withStorage(tensor(float4, 0, ints(2n ** 40n, 2n ** 40n), ints(0, 0))),
    badTensor,
    /beyond any memory/,
  ],
  [
    'a stride beyond 2^53',
    withStorage(tensor(float4, 0, ints(2n ** 30n), ints(2n ** 40n))),
    badTensor,
    /beyond any memory/,
  ],
  [
    'a negative stride',
    withStorage(tensor(float4, 3, ints(4), ints(-1))),
    malformed,
    /expected a tuple of ints of at least 0/,
  ],
  [
    'a negative size',
    withStorage(tensor(float4, 0, ints(-4), ints(1))),
    malformed,
    /expected a tuple of ints of at least 0/,
  ],
  ['more sizes than strides', withStorage(tensor(float4, 0, ints(2, 2), ints(1))), badTensor, /2 sizes and 1 strides/],
  [
    'a str instead of a storage',
    withStorage(tensor(op.str('x'), 0, ints(1), ints(1))),
    malformed,
    /expected a storage/,
  ],
]

describe('format: hostile tensors', () => {
  itRefuses(tensors)

  it('describes a huge expanded tensor, and makes its bytes only within the limit', () =>
    withFile(withStorage(tensor(float4, 0, ints(2 ** 30, 4), ints(0, 1))), async (path) => {
      const file = await readTorchFile(path)
      assert(file.value instanceof TensorRecord)
      await assert.rejects(readTensorBytes(file, file.value as TensorRecord), {
        code: 'ERR_CHECKPOINT_UNSAFE',
        message: /takes 17179869184 bytes/,
      })
    }))
})
