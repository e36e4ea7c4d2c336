/** Arbitrary Python values for property tests. */
import fc from 'fast-check'
import {
  ByteArray,
  Complex,
  Counter,
  DefaultDict,
  Device,
  FrozenSet,
  OpaqueObject,
  OrderedDict,
  PyFloat,
  PythonGlobal,
  Size,
  TorchDType,
  Tuple,
} from '../../src/format/index.js'

const text = fc
  .array(fc.oneof(fc.string(), fc.constantFrom('\ud800', '\udc00', 'é', '日', '😀', '\0', '\\', '\n', "'")), {
    maxLength: 5,
  })
  .map((pieces) => pieces.join(''))

const float = fc
  .double()
  .map((value) => (Number.isSafeInteger(value) && !Object.is(value, -0) ? new PyFloat(value) : value))

const int = fc.oneof(
  fc.maxSafeInteger(),
  fc.bigInt().map(exact),
  fc.constantFrom(0, 255, 256, 65535, 65536, 2 ** 31, -(2 ** 31)),
)

function exact(value: bigint): number | bigint {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value
}

/** Keys that Python keeps apart, each with a text that tells it from all others. */
const key = fc.oneof(
  text.map((value) => ({ value: value as unknown, name: `s${value}` })),
  fc.integer({ min: 2 }).map((value) => ({ value: value as unknown, name: `n${value}` })),
  fc.constant({ value: null as unknown, name: 'none' }),
  fc
    .tuple(fc.integer(), text)
    .map(([first, second]) => ({ value: Tuple.of<unknown[]>(first, second), name: `t${first},${second}` })),
)
const keys = fc
  .uniqueArray(key, { selector: ({ name }) => name, maxLength: 5 })
  .map((list) => list.map(({ value }) => value))

const plain = fc.oneof(
  text,
  float,
  int,
  fc.boolean(),
  fc.constant(null),
  fc.uint8Array({ maxLength: 20 }),
  fc.uint8Array({ maxLength: 5 }).map((bytes) => new ByteArray(bytes)),
  fc.tuple(fc.double(), fc.double()).map(([re, im]) => new Complex(re, im)),
  fc.constantFrom<unknown>(TorchDType.of('float32'), new Device('cuda', 1), new PythonGlobal('torch.Tensor')),
  fc.array(fc.nat(), { maxLength: 4 }).map((sizes) => new Size(sizes)),
)

interface Tied {
  weightsOnly: unknown
  any: unknown
}

const entries = (value: fc.Arbitrary<unknown>) =>
  fc
    .tuple(keys, fc.array(value, { minLength: 5, maxLength: 5 }))
    .map(([names, values]) => names.map((name, index): [unknown, unknown] => [name, values[index]]))

const containers = (value: fc.Arbitrary<unknown>) => [
  fc.array(value, { maxLength: 5 }),
  fc.array(value, { maxLength: 5 }).map((items) => new Tuple(items)),
  entries(value).map((pairs) => new Map(pairs)),
  keys.map((members) => new Set(members)),
  entries(value).map((pairs) => new OrderedDict(pairs)),
  entries(value).map((pairs) => new Counter(pairs)),
]

const foreign = (value: fc.Arbitrary<unknown>) => [
  entries(value).map((pairs) => Object.assign(new DefaultDict(pairs), { factory: new PythonGlobal('builtins.list') })),
  keys.map((members) => new FrozenSet(members)),
  entries(value).map((pairs) =>
    Object.assign(new OpaqueObject('argparse.Namespace', [], null, 'new'), { state: new Map([['lr', 1], ...pairs]) }),
  ),
]

const { weightsOnly, any } = fc.letrec<Tied>((tie) => ({
  weightsOnly: fc.oneof({ maxDepth: 4 }, plain, ...containers(tie('weightsOnly'))),
  any: fc.oneof({ maxDepth: 4 }, plain, ...containers(tie('any')), ...foreign(tie('any'))),
}))

/** What `torch.load(weights_only=True)` reads. */
export const weightsOnlyValue: fc.Arbitrary<unknown> = weightsOnly

/** Also what it refuses. */
export const anyValue: fc.Arbitrary<unknown> = any
