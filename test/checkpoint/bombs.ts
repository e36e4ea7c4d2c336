/** Small files that would cost much where a reader, a printer or a comparer is careless: depth, sharing without end, numbers of many digits, claims of size. */
import { ints, op, pickle, storage, tensor, torchFile } from '../format/fixtures.js'

/** A file that costs much, with what it is. */
export type Bomb = readonly [title: string, make: () => Buffer]

const size = (count: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(count)
  return bytes.toString('latin1')
}
const dict = (...entries: string[]) => op.dict + op.mark + entries.join('') + op.setitems
const float4 = storage('0', 4)
const weight = tensor(float4, 0, ints(4), ints(1))
const model = op.str('model_state_dict') + dict(op.str('w') + weight)

/** A training checkpoint with more entries. */
const checkpoint = (...entries: string[]): Buffer =>
  torchFile(pickle(dict(model, op.str('epoch') + op.int(3), ...entries)), { 0: new Uint8Array(16) })
const bare = (...opcodes: string[]): Buffer => torchFile(pickle(...opcodes), { 0: new Uint8Array(16) })
const config = (value: string): Buffer => checkpoint(op.str('config') + value)

/** A list of two times the list before, sixty times over. */
const doubling =
  op.list +
  op.put(1) +
  Array.from(
    { length: 60 },
    (_, index) => op.list + op.put(index + 2) + op.get(index + 1) + op.append + op.get(index + 1) + op.append,
  ).join('')
const doubled = op.mark + doubling + op.tuple
const doubledDict =
  op.dict +
  op.put(1) +
  Array.from(
    { length: 60 },
    (_, index) => dict(op.str('a') + op.get(index + 1), op.str('b') + op.get(index + 1)) + op.put(index + 2),
  ).join('')
const cyclicList = op.list + op.put(1) + op.get(1) + op.append
const cyclicDict = op.dict + op.put(1) + op.str('self') + op.get(1) + op.setitem
/** `count` times the same object, of which the pickle holds one. */
const again = (object: string, count: number) =>
  object + op.put(3) + '0' + op.list + op.mark + op.get(3).repeat(count) + op.appends
const row = dict(...Array.from({ length: 50 }, (_, index) => op.str(`metric_${index}`) + op.float(index + 0.5)))
const expanded = tensor(float4, 0, ints(2 ** 20, 2 ** 20), ints(0, 0))
const many = (count: number, make: (index: number) => string) =>
  Array.from({ length: count }, (_, index) => make(index)).join('')

/** All of them. */
export function bombs(): readonly Bomb[] {
  return [
    ['tuples a million deep', () => bare(op.none + op.tuple1.repeat(1e6))],
    ['lists a million deep', () => bare(op.list.repeat(1e6) + op.append.repeat(1e6 - 1))],
    ['dicts 300,000 deep', () => bare((op.dict + op.int(1)).repeat(3e5) + op.none + op.setitem.repeat(3e5))],
    ['a config that is 2^60 lists', () => config(doubled)],
    ['a config that is 2^60 dicts', () => config(op.mark + doubledDict + op.tuple)],
    ['a config that holds itself', () => config(cyclicDict)],
    ['a history that holds itself', () => checkpoint(op.str('metrics_history') + cyclicList)],
    ['a state dict that holds itself', () => bare(dict(op.str('model_state_dict') + cyclicDict))],
    ['a value that holds itself', () => bare(cyclicDict)],
    ['a history of 300,000 times one row of 50', () => checkpoint(op.str('metrics_history') + again(row, 3e5))],
    [
      'an optimizer of 300,000 times one group',
      () =>
        checkpoint(
          op.str('optimizer_state_dict') + dict(op.str('state') + op.dict, op.str('param_groups') + again(row, 3e5)),
        ),
    ],
    [
      'a group of 500,000 parameters',
      () =>
        checkpoint(
          op.str('optimizer_state_dict') +
            dict(
              op.str('state') + op.dict,
              op.str('param_groups') + (op.list + dict(op.str('params') + again(op.int(0), 5e5)) + op.append),
            ),
        ),
    ],
    ['an int of a million digits', () => config(dict(op.str('n') + `L${'7'.repeat(1e6)}L\n`))],
    ['an int of a megabyte', () => config(dict(op.str('n') + `\x8b${size(1e6)}${'\x7f'.repeat(1e6)}`))],
    ['a key of a megabyte of digits', () => bare(dict(`\x8b${size(1e6)}${'\x7f'.repeat(1e6)}` + op.none))],
    ['a float of a million digits', () => config(dict(op.str('x') + `F${'7'.repeat(1e6)}\n`))],
    ['a name of a megabyte', () => bare(dict(op.str('state_dict') + dict(op.str('w'.repeat(1e6)) + weight)))],
    ['a class name of a megabyte', () => bare(op.global('models', 'N'.repeat(1e6)) + op.tuple0 + op.newobj)],
    [
      '20,000 classes',
      () =>
        bare(op.mark + many(20_000, (index) => op.global('models', `Net${index}`) + op.tuple0 + op.newobj) + op.tuple),
    ],
    [
      '200,000 keys that are floats',
      () => bare(op.dict + op.mark + many(2e5, (index) => op.float(index + 0.5) + op.none) + op.setitems),
    ],
    [
      '100,000 keys that are tuples',
      () => bare(op.dict + op.mark + many(1e5, (index) => op.int(index) + op.none + op.tuple2 + op.none) + op.setitems),
    ],
    [
      '100,000 keys of long ints',
      () => bare(op.dict + op.mark + many(1e5, (index) => op.long(2n ** 62n + BigInt(index)) + op.none) + op.setitems),
    ],
    [
      '200,000 tensors of four bytes each',
      () =>
        bare(
          `${op.global('torch._utils', '_rebuild_tensor_v2') + op.put(4)}0${op.mark}${float4}${op.int(0)}${ints(4)}${ints(1)}${op.no}${op.global('collections', 'OrderedDict') + op.tuple0 + op.reduce}${op.tuple}${op.put(5)}0${op.mark}${(op.get(4) + op.get(5) + op.reduce).repeat(2e5)}${op.tuple}`,
        ),
    ],
    [
      'a tensor of 2^40 elements over four',
      () =>
        bare(
          dict(
            op.str('model_state_dict') + dict(op.str('w') + expanded),
            op.str('config') + op.dict,
            op.str('epoch') + op.int(1),
          ),
        ),
    ],
    [
      'a moment of 2^40 elements over four',
      () =>
        checkpoint(
          op.str('optimizer_state_dict') +
            dict(
              op.str('state') + dict(op.int(0) + dict(op.str('step') + op.int(1), op.str('exp_avg') + expanded)),
              op.str('param_groups') +
                (op.list + dict(op.str('params') + (op.list + op.int(0) + op.append)) + op.append),
            ),
        ),
    ],
    [
      'a tensor of a million dimensions',
      () =>
        bare(tensor(float4, 0, op.mark + op.int(1).repeat(2e5) + op.tuple, op.mark + op.int(1).repeat(2e5) + op.tuple)),
    ],
    [
      'a sparse tensor of 2^62 elements',
      () => bare(dict(op.str('state_dict') + dict(op.str('w') + sparse(ints(2 ** 31, 2 ** 31))))),
    ],
    ['bytes of 10^9', () => bare(op.global('__builtin__', 'bytes') + op.int(1e9) + op.tuple1 + op.reduce)],
    ['a bytearray of 10^9', () => bare(op.global('__builtin__', 'bytearray') + op.int(1e9) + op.tuple1 + op.reduce)],
    ['a range of 10^18', () => config(op.global('__builtin__', 'range') + op.long(10n ** 18n) + op.tuple1 + op.reduce)],
    [
      'a list of a range of 10^9',
      () =>
        config(
          op.global('__builtin__', 'list') +
            op.global('__builtin__', 'range') +
            op.int(1e9) +
            op.tuple1 +
            op.reduce +
            op.tuple1 +
            op.reduce,
        ),
    ],
    [
      'a Decimal of 10^999999999',
      () => config(op.global('decimal', 'Decimal') + op.str('1E+999999999') + op.tuple1 + op.reduce),
    ],
    ['a numpy array of 2^50 bytes', () => config(numpyArray(op.long(2n ** 50n)))],
    [
      'a numpy scalar of 2 GB',
      () =>
        config(
          op.global('numpy.core.multiarray', 'scalar') +
            numpyDType('S2000000000') +
            op.str('x') +
            op.tuple2 +
            op.reduce,
        ),
    ],
    [
      'sets of one list again and again',
      () =>
        bare(
          op.list +
            op.put(1) +
            op.mark +
            many(5e4, (index) => op.int(index)) +
            op.appends +
            op.mark +
            (op.global('__builtin__', 'set') + op.get(1) + op.tuple1 + op.reduce).repeat(1000) +
            op.tuple +
            op.tuple2,
        ),
    ],
    [
      '100,000 records',
      () =>
        torchFile(
          pickle(op.none),
          {},
          Array.from({ length: 1e5 }, (_, index) => [`extra/${index}`, '']),
        ),
    ],
  ]
}

function sparse(sizes: string): string {
  const layout = op.global('torch.serialization', '_get_layout') + op.str('torch.sparse_coo') + op.tuple1 + op.reduce
  const indices = tensor(storage('0', 2, 'LongStorage'), 0, ints(2, 1), ints(1, 1))
  const data = op.mark + indices + tensor(storage('1', 1), 0, ints(1), ints(1)) + sizes + op.yes + op.tuple
  return op.global('torch._utils', '_rebuild_sparse_tensor') + layout + data + op.tuple2 + op.reduce
}

function numpyDType(name: string): string {
  return op.global('numpy', 'dtype') + op.str(name) + op.no + op.yes + op.tuple3 + op.reduce
}

function numpyArray(count: string): string {
  const make =
    op.global('numpy.core.multiarray', '_reconstruct') +
    (op.global('numpy', 'ndarray') + op.int(0) + op.tuple1 + op.str('b') + op.tuple3) +
    op.reduce
  return make + (op.mark + op.int(1) + count + op.tuple1 + numpyDType('f8') + op.no + op.str('x') + op.tuple) + op.build
}
