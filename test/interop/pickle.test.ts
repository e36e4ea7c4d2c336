/** Pickles of every protocol that Python's own pickler wrote, value by value against Python. */
import assert from 'node:assert/strict'
import { readPickle } from '../../src/format/pickle.js'
import { findPickleEnd } from '../../src/format/pickle-scan.js'
import type { Finding, FormatFindingId } from '../../src/format/index.js'
import { needPython, runPython } from '../python.js'
import { describeValue, pythonDescribe } from './format-describe.js'

/** Each case is a Python expression. */
const cases: Record<string, string> = {
  'numbers of every size': `[0, 1, -1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -2**31, -2**31 - 1, 2**53, 2**53 + 1, -2**63, 2**64, 10**300, -10**300,
    2**2039 - 1, 2**2040, -2**5000, 0.0, -0.0, 1.0, 1e22, 2.0**60, 0.1, 5e-324, 1.7976931348623157e308, float('inf'), float('-inf'), float('nan'), 1+2j, complex(-0.0, float('nan'))]`,
  'True, False, None': `[True, False, None, {True: False}]`,
  strings: `['', 'abc', 'Zürich', '日本', '😀', '\\ud800', 'a\\udc00b', '\\ufffd', '\\x00', 'a\\nb\\r\\x1a', 'back\\\\slash', '\\\\u0041', '\\\\\\\\', 'x' * 300, 'ü' * 70000, '\\ufeffbom', "it's \\"q\\""]`,
  bytes: `[b'', b'abc', bytes(range(256)), bytes(range(256)) * 300, bytearray(), bytearray(b'ab\\xfe'), bytearray(range(256))]`,
  containers: `{'list': [1, [2, [3]]], 'tuples': [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], 'dict': {1: 'a', 2.5: 'b', None: 'c', (1, 'x'): 'd'}, 'set': {1, 'b', 2.5, None}, 'sets': [set(), {7}],
    'frozen': frozenset([1, 2]), 'empty frozen': frozenset(), 'od': collections.OrderedDict([('b', 1), ('a', 2)]), 'counter': collections.Counter('abca'),
    'defaultdict': collections.defaultdict(list, {'loss': [0.5, 0.25]}), 'defaultdict of nothing': collections.defaultdict(None, a=1), 'size': torch.Size([2, 3])}`,
  'batches of 999 to 2001 items': `{n: [list(range(n)), {i: i for i in range(n)}, set(range(n)), tuple(range(n))] for n in (1, 2, 999, 1000, 1001, 2001)}`,
  'shared parts': `(lambda a: [a, a, {'a': a, 'b': (a, a)}])(['shared'])`,
  'objects of the standard library': `[datetime.datetime(2024, 1, 2, 3, 4, 5, 6), datetime.timedelta(1, 2, 3), datetime.date(2020, 2, 29), pathlib.PurePosixPath('/a/b.pth'),
    decimal.Decimal('1.10'), fractions.Fraction(1, 3), slice(1, None, 2), range(1, 10, 3), argparse.Namespace(lr=0.1, layers=[1, 2]), collections.deque([1, 2, 3], 5), types.SimpleNamespace(a=1)]`,
  'dtypes and devices': `[torch.float32, torch.bfloat16, torch.device('cuda', 1), torch.device('cpu')]`,
  'numpy scalars': `[np.float32(1.5), np.float64(-0.1), np.float16(6.1e-5), np.float64('nan'), np.int8(-3), np.uint8(200), np.int64(2**62 + 1), np.uint64(2**64 - 1), np.bool_(True), np.complex64(1 - 2j),
    np.complex128(3j), np.str_('Zü😀'), np.bytes_(b'a\\x00b'), np.datetime64('2024-01-02T03:04:05', 'ns'), np.float32(3).newbyteorder('>') if hasattr(np.float32(3), 'newbyteorder') else np.float32(3)]`,
  'numpy arrays': `[np.arange(6, dtype='<i2').reshape(2, 3), np.arange(6.).reshape(2, 3, order='F'), np.asfortranarray(np.arange(24).reshape(2, 3, 4)), np.zeros((0, 3)), np.array(5.0), np.array([1, 2], dtype='>i4'),
    np.array([True, False]), np.array(['a', 'bcd']), np.array([b'x', b'yz']), np.array([None, 1, 'x'], dtype=object), np.arange(10)[::3], np.arange(12).reshape(3, 4).T, np.array([1.5, -2], dtype=np.float16),
    np.array([(1, 2.5)], dtype=[('a', '<i4'), ('b', '<f8')]), np.array(['2024-01-01'], dtype='M8[D]'), np.array([1+2j]), np.arange(256, dtype=np.uint8)]`,
  'numpy dtypes': `[np.dtype('float32'), np.dtype('>i8'), np.dtype('U7'), np.dtype('S3'), np.dtype('bool'), np.dtype('M8[25s]'), np.dtype('O'), np.dtype('V8')]`,
  'the random state of numpy': `np.random.RandomState(3).get_state()`,
}

describe('format: pickles that Python wrote', function () {
  this.timeout(120_000)
  let described: Record<string, { value: unknown; pickles: string[] }> = {}

  before(async function () {
    needPython(this)
    const entries = Object.entries(cases).map(([name, expression]) => `${JSON.stringify(name)}: ${expression}`)
    const stdout = await runPython(`${pythonDescribe}
import base64, pickle, datetime, pathlib, decimal, fractions, argparse, types
import numpy as np
cases = {${entries.join(',\n')}}
print(json.dumps({name: {'value': describe(v), 'pickles': [base64.b64encode(pickle.dumps(v, p)).decode() for p in range(6)]} for name, v in cases.items()}))`)
    described = JSON.parse(stdout) as typeof described
  })

  for (const name of Object.keys(cases)) {
    for (let protocol = 0; protocol <= 5; protocol++) {
      it(`reads ${name}, protocol ${protocol}`, async () => {
        const expected = described[name]
        assert(expected)
        const bytes = Buffer.from(expected.pickles[protocol] ?? '', 'base64')
        const { value, consumedBytes } = read(bytes)
        assert.equal(JSON.stringify(await describeValue(value)), JSON.stringify(expected.value))
        assert.equal(consumedBytes, bytes.length)
        assert.equal(findPickleEnd(Buffer.concat([bytes, bytes])), bytes.length)
      })
    }
  }
})

function read(bytes: Buffer) {
  const findings: Finding<FormatFindingId>[] = []
  const options = { label: 'pickle', keepFloats: true, globals: new Set<string>(), findings }
  const content = readPickle(bytes, { ...options, persistentLoad: (_, reader) => reader.fail('no storage') })
  return { ...content, findings }
}
