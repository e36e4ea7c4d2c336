/** Pickles of a few MB that ask for much work or memory: each ends within a second and within 200 MB, read or refused. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { op, pickle } from './fixtures.js'
import type { BombOutcome } from './pickle-bomb.js'

const million = 1_000_000
const limitMb = 200
const within = 'pickle.limit'
const encode = op.global('_codecs', 'encode')
const repeated = (code: string, count: number) => op.mark + code.repeat(count) + op.tuple
const u32 = (value: number) =>
  String.fromCharCode(value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >> 24) & 255)
/** A value in memo entry 0, then `code` again and again. */
const again = (value: string, code: string, count: number) =>
  op.mark + value + op.put(0) + code.repeat(count) + op.tuple
const numbers = (count: number) => op.list + op.mark + 'K\x01'.repeat(count) + op.appends
const counted = (count: number) => op.mark + Array.from({ length: count }, (_, index) => `J${u32(index)}N`).join('')

const bombs: [name: string, code: () => string, ended: string][] = [
  ['3 million dicts', () => repeated('}', 3 * million), within],
  ['3 million sets', () => repeated('\x8f', 3 * million), within],
  ['3 million lists', () => repeated(']', 3 * million), within],
  ['half a million lists', () => repeated(']', million / 2), 'read'],
  ['a million OrderedDicts', () => again(op.global('collections', 'OrderedDict'), `h\0)R`, million), within],
  ['a million objects', () => again(op.global('mine', 'A'), `h\0)\x81`, million), within],
  [
    'a million numpy dtypes',
    () => again(op.str('f4') + op.put(1) + op.global('numpy', 'dtype'), `h\0h\x01\x85R`, million),
    within,
  ],
  ['a million byte strings', () => repeated('C\x00', million), within],
  ['3 million tuples in each other', () => `N${'\x85'.repeat(3 * million)}`, within],
  ['a million tuples in each other', () => `N${'\x85'.repeat(million)}`, within],
  ['a million lists in each other', () => ']'.repeat(million) + 'a'.repeat(million - 1), within],
  ['3 million marks', () => '('.repeat(3 * million), 'pickle.malformed'],
  ['3 million references to one value', () => `](${'2'.repeat(10)}0${'N'.repeat(3 * million)}e`, 'pickle.malformed'],
  ['memo entries from the end', () => repeatedPuts(600_000), 'read'],
  ['an int of 3 MB', () => `\x8b${u32(3 * million)}${'\xff'.repeat(3 * million)}`, within],
  ['an int of a million digits', () => `L${'9'.repeat(million)}L\n`, within],
  [
    'ints of 255 bytes as keys',
    () => op.dict + op.mark + `\x8a\xff${'\x7f'.repeat(255)}N`.repeat(10_000) + op.setitems,
    within,
  ],
  ['one int of 60 KB again and again', () => again(`\x8b${u32(60000)}${'\x01'.repeat(60000)}`, 'h\0', million), 'read'],
  [
    'bytes from one text',
    () => again(op.str('x'.repeat(million)), encode + op.get(0) + op.str('latin1') + op.tuple2 + op.reduce, 50),
    within,
  ],
  [
    'sets from one list',
    () => again(numbers(100_000), op.global('builtins', 'set') + op.get(0) + op.tuple1 + op.reduce, 1000),
    within,
  ],
  [
    'counters from one list',
    () => again(numbers(100_000), op.global('collections', 'Counter') + op.get(0) + op.tuple1 + op.reduce, 1000),
    within,
  ],
  [
    'attributes from one dict',
    () =>
      op.mark +
      op.dict +
      op.put(0) +
      counted(100_000) +
      op.setitems +
      (op.global('collections', 'OrderedDict') + ')R' + op.get(0) + op.build).repeat(1000) +
      op.tuple,
    within,
  ],
  [
    '50,000 globals',
    () => op.mark + Array.from({ length: 50_000 }, (_, i) => op.global('m', `C${i}`)).join('') + op.tuple,
    'read',
  ],
  [
    'a tuple of a long text as a key of many dicts',
    () => op.mark + op.str('x'.repeat(million)) + op.tuple1 + op.put(0) + `}${op.get(0)}Ns`.repeat(100_000) + op.tuple,
    within,
  ],
  [
    'a tuple of 100,000 as a key of many dicts',
    () => op.mark + repeated('N', 100_000) + op.put(0) + `}${op.get(0)}Ns`.repeat(100_000) + op.tuple,
    within,
  ],
  ['a text of a million surrogates', () => `X${u32(4 * million)}${'a\xed\xa0\x80'.repeat(million)}`, 'read'],
  ['a text of escapes', () => `V${'\\\\'.repeat(million)}\n`, 'read'],
  ['a string of escapes', () => `S'${'\\x41'.repeat(700_000)}'\n`, 'read'],
  ['digits that are no float', () => `F${'1'.repeat(3 * million)}x\n`, 'pickle.malformed'],
  ['a float of 3 million digits', () => `F${'1'.repeat(3 * million)}\n`, 'read'],
  ['a numpy text of zeros', () => numpyText(3 * million), 'read'],
  ['a numpy array of 2^60 empty items', () => numpyEmpty(), 'pickle.malformed'],
]

function repeatedPuts(count: number): string {
  let code = 'N'
  for (let index = count; index > 0; index--) code += `r${u32(index)}`
  return code
}

function numpyText(sizeBytes: number): string {
  const dtype = op.global('numpy', 'dtype') + op.str(`U${sizeBytes / 4}`) + op.tuple1 + op.reduce
  return (
    op.global('numpy.core.multiarray', 'scalar') +
    dtype +
    `B${u32(sizeBytes)}${'\0'.repeat(sizeBytes - 4)}a\0\0\0` +
    op.tuple2 +
    op.reduce
  )
}

function numpyEmpty(): string {
  const dtype = op.global('numpy', 'dtype') + op.str('S0') + op.tuple1 + op.reduce
  const huge = op.long(1n << 60n)
  return (
    op.global('numpy.core.numeric', '_frombuffer') +
    op.mark +
    'C\0' +
    dtype +
    huge +
    huge +
    op.tuple2 +
    op.str('C') +
    op.tuple +
    op.reduce
  )
}

describe('format: pickles that ask for too much', function () {
  this.timeout(60_000)

  for (const [name, code, ended] of bombs) {
    it(`ends ${name} in time`, async () => {
      const worker = new Worker(new URL('./pickle-bomb.js', import.meta.url), {
        workerData: new Uint8Array(pickle(code())),
        resourceLimits: { maxOldGenerationSizeMb: limitMb, maxYoungGenerationSizeMb: 32 },
      })
      const [outcome] = (await once(worker, 'message')) as [BombOutcome]
      await worker.terminate()
      assert.equal(outcome.ended, ended, outcome.message)
      assert(outcome.cpuMs < 1000, `${outcome.cpuMs} ms`)
    })
  }
})
