/** Pickles opcode by opcode, what they say of themselves, and pickles of older Pythons and numpys. */
import assert from 'node:assert/strict'
import type { NumpyArray, NumpyScalar } from '../../src/format/index.js'
import {
  ByteArray,
  Complex,
  DefaultDict,
  FrozenSet,
  numpyValues,
  OpaqueObject,
  PyFloat,
  PythonGlobal,
  Tuple,
  type Finding,
  type FormatFindingId,
} from '../../src/format/index.js'
import { readPickle, type ReadPickleOptions } from '../../src/format/pickle.js'
import { findPickleEnd } from '../../src/format/pickle-scan.js'
import { op, pickle } from './fixtures.js'
import { numpy126, python2Numpy, python2Values } from './pickle-fixtures.js'

function read(bytes: Buffer, options: Partial<ReadPickleOptions> = {}) {
  const findings: Finding<FormatFindingId>[] = []
  const globals = new Set<string>()
  const persistentLoad = (id: unknown) => ['persistent', id]
  const content = readPickle(bytes, { label: 'pickle', globals, findings, persistentLoad, ...options })
  return { ...content, findings, globals }
}

const valueOf = (...opcodes: string[]) => read(pickle(...opcodes)).value
const u64 = (value: number) => String.fromCharCode(value) + '\0'.repeat(7)
const stackGlobal = '\x93'
const memoize = '\x94'

const opcodes: [name: string, opcodes: string, value: unknown][] = [
  ['INT', 'I-12\n', -12],
  ['INT of a large value', 'I123456789012345678901234567890\n', 123456789012345678901234567890n],
  ['INT of True and False', '(I01\nI00\nl', [true, false]],
  ['LONG', 'L-5L\n', -5],
  ['LONG without its letter', 'L7\n', 7],
  ['LONG1', '\x8a\x02\xff\x7f', 32767],
  ['LONG4', '\x8b\x0a\x00\x00\x00' + '\0'.repeat(9) + '\x01', 1n << 72n],
  ['BININT, BININT1, BININT2', '(J\xfe\xff\xff\xffK\xffM\xff\xfft', Tuple.of(-2, 255, 65535)],
  ['FLOAT', '(F1.5\nF-1e+300\nF.5\nF5.\nFinf\nF-inf\nt', Tuple.of(1.5, -1e300, 0.5, 5, Infinity, -Infinity)],
  ['FLOAT of nan', 'Fnan\n', NaN],
  ['STRING', `S'it\\'s \\x41\\102\\n\\\\ "q" \\q'\n`, 'it\'s AB\n\\ "q" \\q'],
  ['STRING in double quotes', `S"a'b"\n`, "a'b"],
  ['BINSTRING', 'T\x02\0\0\0ab', 'ab'],
  ['SHORT_BINSTRING that is no UTF-8', 'U\x02\xff\xfe', Uint8Array.of(0xff, 0xfe)],
  ['UNICODE', 'VZ\xfc\\u00e9\\U0001f600\\\\u0041\\n\n', 'Züé😀\\\\u0041\\n'],
  ['SHORT_BINUNICODE', '\x8c\x02\xc3\xbc', 'ü'],
  ['BINUNICODE8', `\x8d${u64(2)}ab`, 'ab'],
  ['BINBYTES', 'B\x02\0\0\0\x01\xff', Uint8Array.of(1, 255)],
  ['SHORT_BINBYTES', 'C\x01\x07', Uint8Array.of(7)],
  ['BINBYTES8', `\x8e${u64(1)}\x07`, Uint8Array.of(7)],
  ['BYTEARRAY8', `\x96${u64(1)}\x07`, ByteArray.of(7)],
  ['LIST', '(K\x01K\x02l', [1, 2]],
  ['DICT', '(K\x01K\x02d', new Map([[1, 2]])],
  ['TUPLE of nothing', '(t', new Tuple()],
  ['EMPTY_SET and ADDITEMS', '\x8f(K\x01K\x02\x90', new Set([1, 2])],
  ['FROZENSET', '(K\x01K\x02\x91', new FrozenSet([1, 2])],
  ['POP', 'NK\x010', null],
  ['POP of a mark', 'N(0', null],
  ['POP_MARK', 'N(K\x01K\x021', null],
  ['DUP', '(K\x012t', Tuple.of(1, 1)],
  ['PUT and GET', '(K\x07p3\ng3\nt', Tuple.of(7, 7)],
  ['MEMOIZE', `(K\x07${memoize}K\x08${memoize}h\x00h\x01t`, Tuple.of(7, 8, 7, 8)],
  ['FRAME', `\x95${u64(2)}N.`.slice(0, -1), null],
  ['PERSID', 'P12\n', ['persistent', '12']],
  ['BINPERSID', 'K\x0cQ', ['persistent', 12]],
  ['STACK_GLOBAL', op.str('torch') + op.str('Size') + stackGlobal, new PythonGlobal('torch.Size')],
  ['INST', '(K\x01K\x02i__builtin__\ncomplex\n', new Complex(1, 2)],
  ['OBJ', `(${op.global('builtins', 'complex')}K\x01K\x02o`, new Complex(1, 2)],
  [
    'NEWOBJ_EX',
    op.global('argparse', 'Namespace') + ')}\x92',
    new OpaqueObject('argparse.Namespace', [], new Map(), 'new'),
  ],
]

describe('format: opcodes of pickles', () => {
  for (const [name, code, expected] of opcodes) {
    it(`reads ${name}`, () => {
      const bytes = pickle(code)
      assert.deepEqual(read(bytes).value, expected)
      assert.equal(findPickleEnd(Buffer.concat([bytes, Buffer.from('x')])), bytes.length)
      for (let length = 0; length < bytes.length; length++) {
        assert.equal(findPickleEnd(bytes.subarray(0, length)), 'cut')
        assert.throws(() => read(bytes.subarray(0, length)), { name: 'TorchkeepError', finding: 'pickle.malformed' })
      }
    })
  }

  it('describes members of the enumerations in training_args.bin, and refuses those of unknown modules', () => {
    const member = (module: string) => pickle(`c${module}\nIntervalStrategy\n`, 'U\x05steps', '\x85R')
    const { value, findings } = read(member('transformers.trainer_utils'))
    assert.deepEqual(value, new OpaqueObject('transformers.trainer_utils.IntervalStrategy', ['steps'], null, 'call'))
    assert.deepEqual(
      findings.map(({ id }) => id),
      ['pickle.weights_only'],
    )
    assert.throws(() => read(member('mine')), { code: 'ERR_CHECKPOINT_UNSAFE', finding: 'pickle.unsafe_global' })
  })

  it('makes one object of what the memo gives twice', () => {
    const value = valueOf('(', ']', 'q\x05', 'h\x05', 't') as unknown[]
    assert.equal(value[0], value[1])
  })

  it('reads a sequence of pickles one after the other', () => {
    const [first, second] = [pickle('K\x01'), pickle('K\x02')]
    const both = Buffer.concat([first, second])
    const content = read(both, { moreFollows: true })
    assert.deepEqual([content.value, content.consumedBytes], [1, first.length])
    assert.equal(findPickleEnd(both, first.length), both.length)
    assert.equal(findPickleEnd(Buffer.from([0xff])), 'malformed')
  })

  const broken: [name: string, opcodes: string, message: RegExp][] = [
    ['an INT of letters', 'Ix\n', /"x" is no int/],
    ['an INT with an underscore', 'I1_0\n', /is no int/],
    ['a FLOAT in hexadecimal', 'F0x10\n', /is no float/],
    ['a STRING without quotes', 'Sabc\n', /not quoted/],
    ['a STRING that ends in an escape', "S'a\\'\n", /escape .* cut/],
    ['a STRING with half an escape', "S'\\x1'\n", /escape .* cut/],
    ['a UNICODE with half an escape', 'V\\u12\n', /escape in a text/],
    ['a UNICODE beyond Unicode', 'V\\U00110000\n', /beyond U\+10FFFF/],
    ['a LONG4 of negative size', '\x8b\xff\xff\xff\xff', /an int of -1 bytes/],
    ['a BINSTRING of negative size', 'T\xff\xff\xff\xff', /a string of -1 bytes/],
    ['a frame longer than the pickle', `\x95${u64(9)}`, /a frame of 9 bytes, 1 are left/],
    ['a GET of no number', 'gx\n', /is no memo entry/],
    ['ADDITEMS on a list', '](K\x01\x90', /no set/],
    ['STACK_GLOBAL of a number', 'K\x01K\x02\x93', /no str/],
    ['a dict key without a value', '(K\x01d', /without a value/],
    ['a list in a frozenset', '(]\x91', /member of a set/],
  ]
  for (const [name, code, message] of broken) {
    it(`refuses ${name}`, () => assert.throws(() => valueOf(code), { finding: 'pickle.malformed', message }))
  }
})

describe('format: what a pickle says of itself', () => {
  const ids = (...code: string[]) => read(pickle(...code)).findings.map(({ id, subject }) => [id, subject])

  it('says nothing of what weights_only reads', () => {
    assert.deepEqual(ids(op.dict, op.str('a'), op.global('torch', 'float32'), op.setitem), [])
  })

  it('names the opcodes that weights_only does not know', () => {
    const { findings } = read(pickle(`\x8c\x01a${memoize}0N`))
    assert.equal(findings.length, 1)
    assert.match(findings[0]?.message ?? '', /SHORT_BINUNICODE, MEMOIZE|POP, SHORT_BINUNICODE, MEMOIZE/)
  })

  it('counts the objects of an unknown class, once a class', () => {
    const object = op.global('mine', 'Net') + op.tuple0 + op.newobj + op.dict + op.build
    const { findings, globals, value } = read(pickle(op.mark, object, object, op.global('mine', 'Other'), op.tuple))
    assert.deepEqual([...globals], ['mine.Net', 'mine.Other'])
    assert.deepEqual(
      findings.map(({ id, severity, subject }) => [id, severity, subject]),
      [
        ['pickle.opaque_class', 'warning', 'mine.Net'],
        ['pickle.opaque_class', 'warning', 'mine.Other'],
      ],
    )
    assert.match(findings[0]?.message ?? '', /^2 objects of the class mine\.Net/)
    assert((value as unknown[])[0] instanceof OpaqueObject)
  })

  it('keeps what extends a list or a dict, with its items', () => {
    const list = op.global('mine', 'List') + op.tuple0 + op.newobj + op.mark + op.int(1) + op.int(2) + op.appends
    const dict = op.global('mine', 'Dict') + op.tuple0 + op.newobj + op.str('a') + op.int(1) + op.setitem
    const [first, second] = valueOf(op.mark, list, dict, op.tuple) as [OpaqueObject, OpaqueObject]
    assert.deepEqual(first.items, [1, 2])
    assert.deepEqual(second.entries, new Map([['a', 1]]))
  })

  it('describes what could run code where the caller only looks', () => {
    const call = op.global('os', 'system') + op.str('id') + op.tuple1 + op.reduce
    const { value, findings } = read(pickle(call), { unsafe: 'describe' })
    assert.deepEqual(value, new OpaqueObject('os.system', ['id'], null, 'call'))
    assert.deepEqual(
      findings.map(({ id, severity, subject }) => [id, severity, subject]),
      [['pickle.unsafe_global', 'error', 'os.system']],
    )
  })

  it('describes calls of what calls gave', () => {
    const inner = op.global('builtins', 'getattr') + op.str('a') + op.str('b') + op.tuple2 + op.reduce
    const { value, findings } = read(pickle(inner, op.tuple0, op.reduce), { unsafe: 'describe' })
    assert.equal((value as OpaqueObject).className, 'builtins.getattr(...)')
    assert.deepEqual(
      findings.map(({ subject }) => subject),
      ['builtins.getattr', 'builtins.getattr(...)'],
    )
  })

  it('says so where strings of Python 2 are no UTF-8', () => {
    const { findings } = read(pickle('U\x01\xff'))
    assert.deepEqual(
      findings.map(({ id }) => id),
      ['pickle.weights_only'],
    )
    assert.match(findings[0]?.message ?? '', /kept as bytes; torch\.load needs encoding/)
  })

  it('leaves out what is expected of the container', () => {
    const module = op.global('__torch__.net', 'Net') + op.tuple0 + op.newobj + op.dict + op.build
    const options = { expected: (name: string) => name.startsWith('__torch__.'), forTorchLoad: false }
    assert.deepEqual(read(pickle(module, memoize), options).findings, [])
  })

  it('lists at most 100 globals of a kind', () => {
    const many = Array.from({ length: 150 }, (_, index) => op.global('mine', `C${index}`)).join('')
    const { findings } = read(pickle(op.mark, many, op.tuple))
    assert.equal(findings.length, 101)
    assert.equal(findings[100]?.message, 'and 50 more globals of this kind')
  })
})

describe('format: pickles of older Pythons and numpys', () => {
  const list = (base64: string, keepFloats = false) => {
    const { value, findings } = read(Buffer.from(base64, 'base64'), { keepFloats })
    return { items: value as unknown[], ids: findings.map(({ id }) => id) }
  }

  for (const [index, protocol] of [2, 4, 5].entries()) {
    it(`reads values of numpy 1.26, protocol ${protocol}`, () => {
      const { items, ids } = list(numpy126[index] ?? '')
      assert(ids.includes('pickle.numpy'))
      const scalars = items.slice(0, 4) as NumpyScalar[]
      assert.deepEqual(
        scalars.map(({ dtype, value }) => [dtype, value]),
        [
          ['<f8', 0.1],
          ['<f4', 1.5],
          ['<i8', -3],
          ['|b1', true],
        ],
      )
      const arrays = items.slice(4) as NumpyArray[]
      assert.deepEqual(
        arrays.map(({ dtype, shape, fortranOrder }) => [dtype, shape, fortranOrder]),
        [
          ['<f4', [2, 3], false],
          ['<f8', [2, 3], true],
          ['<U2', [2], false],
          ['>i2', [2], false],
          ['|O', [2], false],
        ],
      )
      assert.deepEqual(arrays.map(numpyValues), [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], null, [1, 2], null])
      assert.deepEqual(arrays[4]?.objects, [null, 1])
      assert(arrays.every(({ core }) => core === 'numpy.core'))
    })
  }

  for (const protocol of [0, 1, 2]) {
    it(`reads values of Python 2, protocol ${protocol}`, () => {
      const { items } = list(python2Values[protocol] ?? '', true)
      assert.deepEqual(items, [
        'abc',
        'Zürich',
        'Zürich',
        Uint8Array.from(Buffer.from('raw \xff\xfe', 'latin1')),
        'quote\'s "x"\n\t\\',
        10n ** 20n,
        true,
        1.5,
        new Map([['a', Tuple.of(1, 2)]]),
        new Set([1]),
      ])
    })

    it(`reads values of numpy 1.16 and Python 2, protocol ${protocol}, whatever their bytes look like`, () => {
      const { items } = list(python2Numpy[protocol] ?? '')
      const [scalar, ...arrays] = items as [NumpyScalar, ...NumpyArray[]]
      assert.equal(scalar.value, 0.1)
      assert.deepEqual(arrays.map(numpyValues), [
        [0, 1, 2, 3, 4, 5],
        [195, 188],
        [1, 200],
        [1, 2],
      ])
    })
  }

  it('reads a defaultdict and floats as what they were', () => {
    const code = op.global('collections', 'defaultdict') + op.global('__builtin__', 'list') + op.tuple1 + op.reduce
    const dict = read(pickle(code, op.str('a'), op.float(1), op.setitem), { keepFloats: true }).value
    assert(dict instanceof DefaultDict)
    assert.deepEqual(dict.factory, new PythonGlobal('builtins.list'))
    assert.deepEqual(dict.get('a'), new PyFloat(1))
  })
})
