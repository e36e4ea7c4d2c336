/** Writers of safetensors and .pt2 files, and casts: what they refuse, and what they make of tensors that lie oddly. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  castTensors,
  MetaTensorRecord,
  planPt2,
  planSafetensors,
  planTorchFile,
  QuantizedTensorRecord,
  readTensorValues,
  readTorchFile,
  StorageRecord,
  TensorRecord,
  tensorFromBytes,
  writePlan,
  type AnyTensorRecord,
  type ByteOrigin,
} from '../../src/format/index.js'
import { exactJson } from '../../src/format/json-plain.js'
import { upcastProgram } from '../../src/format/pt2-upcast.js'

const bytesOf = (values: ArrayBufferView): Uint8Array => new Uint8Array(values.buffer as ArrayBuffer)
const float32 = (values: readonly number[], sizes: readonly number[] = [values.length]): TensorRecord<Uint8Array> =>
  tensorFromBytes({ dtype: 'float32', sizes, bytes: bytesOf(new Float32Array(values)) })

describe('format: files of exports', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-export-writers-'))
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const values = async (path: string, name: string): Promise<number[]> => {
    const file = await readTorchFile(path)
    return [...(await readTensorValues(file, (file.value as Map<string, TensorRecord>).get(name) as TensorRecord))].map(
      Number,
    )
  }
  const writeSafetensors = async (tensors: ReadonlyMap<string, AnyTensorRecord<ByteOrigin>>): Promise<string> => {
    const path = join(folder, 'x.safetensors')
    rmSync(path, { force: true })
    await writePlan(path, planSafetensors(tensors))
    return path
  }

  it('takes big-endian, transposed, overlapping and expanded tensors as what they are', async () => {
    const big = Buffer.from(bytesOf(new Float32Array([1, 2, 3, 4, 5, 6]))).swap32()
    const facts = { dtype: 'float32', sizeBytes: 24 } as const
    const storage = new StorageRecord<ByteOrigin>({
      ...facts,
      id: 'big',
      source: new Uint8Array(big),
      byteOrder: 'big',
    })
    await writePlan(
      join(folder, 'big.pth'),
      planTorchFile<ByteOrigin>(
        new Map([['big', new TensorRecord<ByteOrigin>({ storage, dtype: 'float32', sizes: [2, 3], strides: [3, 1] })]]),
        { topFolder: 'big' },
      ),
    )
    const read = (await readTorchFile(join(folder, 'big.pth'))).value as Map<string, TensorRecord>
    const record = read.get('big') as TensorRecord
    assert.equal(record.storage.byteOrder, 'big')
    const view = (sizes: number[], strides: number[], storageOffset = 0): TensorRecord =>
      new TensorRecord({ storage: record.storage, dtype: 'float32', sizes, strides, storageOffset })
    const tensors = new Map([
      ['whole', record],
      ['transposed', view([3, 2], [1, 3])],
      ['expanded', view([2, 3], [0, 1], 3)],
      ['windows', view([4, 3], [1, 1])],
    ])
    const plan = planSafetensors(tensors)
    assert.deepEqual(plan.unshared, ['whole', 'transposed', 'expanded', 'windows'])
    const path = await writeSafetensors(tensors)
    assert.deepEqual(await values(path, 'whole'), [1, 2, 3, 4, 5, 6])
    assert.deepEqual(await values(path, 'transposed'), [1, 4, 2, 5, 3, 6])
    assert.deepEqual(await values(path, 'expanded'), [4, 5, 6, 4, 5, 6])
    assert.deepEqual(await values(path, 'windows'), [1, 2, 3, 2, 3, 4, 3, 4, 5, 4, 5, 6])
    const halves = await writeSafetensors(castTensors(tensors, 'bfloat16'))
    assert.deepEqual(await values(halves, 'transposed'), [0x3f80, 0x4080, 0x4000, 0x40a0, 0x4040, 0x40c0])
  })

  it('refuses what a format cannot hold, naming the tensor', () => {
    const meta = new MetaTensorRecord('float32', [2], [1], false)
    const integers = tensorFromBytes({ dtype: 'quint8', sizes: [2], bytes: new Uint8Array(2) })
    const quantized = new QuantizedTensorRecord(integers, { scheme: 'torch.per_tensor_affine', scale: 1, zeroPoint: 0 })
    const complex = tensorFromBytes({ dtype: 'complex128', sizes: [1], bytes: new Uint8Array(16) })
    const refused = { code: 'ERR_INVALID_ARGUMENT', message: /'a\.b'/ }
    for (const record of [meta, quantized, complex])
      assert.throws(() => planSafetensors(new Map<string, AnyTensorRecord<ByteOrigin>>([['a.b', record]])), refused)
    for (const record of [meta, quantized])
      assert.throws(
        () =>
          planPt2({
            topFolder: 'x',
            models: {},
            weights: new Map<string, AnyTensorRecord<ByteOrigin>>([['a.b', record]]),
            constants: new Map(),
          }),
        refused,
      )
    assert.throws(() => planSafetensors(new Map([['__metadata__', float32([1])]])), { code: 'ERR_INVALID_ARGUMENT' })
  })

  it('refuses to make a finite value infinite, and leaves no file', async () => {
    const path = join(folder, 'x.safetensors')
    const cases = [
      ['float16', float32([1, 65520])],
      ['bfloat16', float32([3.4e38])],
      ['bfloat16', tensorFromBytes({ dtype: 'float64', sizes: [1], bytes: bytesOf(new Float64Array([1e300])) })],
    ] as const
    for (const [dtype, record] of cases) {
      const tensors = castTensors(new Map([['layer.weight', record]]), dtype)
      await assert.rejects(writePlan(path, planSafetensors(tensors)), {
        code: 'ERR_INVALID_ARGUMENT',
        message: /'layer\.weight' holds/,
      })
      assert.deepEqual(readdirSync(folder), [])
    }
    const fine = castTensors(new Map([['x', float32([65519, Infinity, -Infinity, NaN, -0])]]), 'float16')
    assert.deepEqual(await values(await writeSafetensors(fine), 'x'), [0x7bff, 0x7c00, 0xfc00, 0x7e00, 0x8000])
  })

  it('keeps ties when it casts, and leaves other dtypes the objects they are', () => {
    const weight = float32([1, 2])
    const count = tensorFromBytes({ dtype: 'int64', sizes: [], bytes: new Uint8Array(8) })
    const cast = castTensors(
      new Map<string, AnyTensorRecord<ByteOrigin>>([
        ['a', weight],
        ['b', weight],
        ['count', count],
      ]),
      'float16',
    )
    assert.equal((cast.get('a') as TensorRecord).storage.id, (cast.get('b') as TensorRecord).storage.id)
    assert.equal(cast.get('count'), count)
    assert.equal(planSafetensors(cast).aliases.get('b'), 'a')
  })

  it('plans many tensors in little time, and offsets beyond 4 GiB', () => {
    const many = new Map(Array.from({ length: 10_000 }, (_, index) => [`layer.${index}.weight`, float32([index])]))
    const begin = performance.now()
    assert.equal(planSafetensors(many).parts.length, 10_001)
    assert.ok(planPt2({ topFolder: 'x', models: {}, weights: many, constants: new Map() }).sizeBytes > 40_000)
    assert.ok(performance.now() - begin < 20_000, 'hangs')
    const sizeBytes = 3 * 2 ** 30
    const source = { sizeBytes, make: () => assert.fail('nothing is made for a plan') }
    const huge = (id: string): TensorRecord<ByteOrigin> => {
      const storage = new StorageRecord<ByteOrigin>({ id, dtype: 'float32', sizeBytes, source })
      return new TensorRecord<ByteOrigin>({ storage, dtype: 'float32', sizes: [sizeBytes / 4], strides: [1] })
    }
    const plan = planSafetensors(
      new Map([
        ['a', huge('a')],
        ['b', huge('b')],
      ]),
    )
    const [header] = plan.parts
    assert.ok(
      header?.kind === 'bytes' && Buffer.from(header.bytes).includes(`"data_offsets":[${sizeBytes},${2 * sizeBytes}]`),
    )
  })

  it('writes the numbers of a graph as Python wrote them', () => {
    const argument = { as_float: 2, as_floats: [1, 0.5, -0], as_int: 9223372036854775807n, as_ints: [1] }
    assert.equal(
      exactJson(argument),
      '{"as_float":2.0,"as_floats":[1.0,0.5,-0.0],"as_int":9223372036854775807,"as_ints":[1]}',
    )
  })

  it('brings rounded weights back in a copy of the program, under names that are free', () => {
    const tensor = (name: string): object => ({ as_tensor: { name } })
    const meta = { dtype: 7, sizes: [], requires_grad: true }
    const program = {
      graph_module: {
        graph: {
          nodes: [
            {
              target: 'torch.ops.aten.cat.default',
              inputs: [
                { name: 'tensors', arg: { as_tensors: [{ name: 'p_w' }, { name: '_to_copy' }] } },
                { name: 'bias', arg: { as_optional_tensors: [{ as_none: true }, tensor('p_w')] } },
              ],
              outputs: [tensor('out')],
              metadata: {},
              is_hop_single_tensor_return: null,
              name: 'cat',
            },
          ],
          outputs: [tensor('p_w')],
          tensor_values: { p_w: meta, _to_copy: meta, out: meta },
        },
        signature: {
          input_specs: [
            { parameter: { arg: { name: 'p_w' }, parameter_name: 'w' } },
            { user_input: { arg: tensor('_to_copy') } },
          ],
          output_specs: [{ user_output: { arg: tensor('p_w') } }],
        },
      },
    }
    const before = structuredClone(program)
    const upcast = upcastProgram(program as never, new Map([['w', 'float16']])) as typeof program
    assert.deepEqual(program, before)
    const { graph, signature } = upcast.graph_module
    assert.equal(graph.nodes[0]?.target, 'torch.ops.aten._to_copy.default')
    assert.deepEqual(graph.nodes[0]?.outputs, [tensor('_to_copy_1')])
    assert.deepEqual(graph.nodes[1]?.inputs[0]?.arg, { as_tensors: [{ name: '_to_copy_1' }, { name: '_to_copy' }] })
    assert.deepEqual(graph.nodes[1]?.inputs[1]?.arg, { as_optional_tensors: [{ as_none: true }, tensor('_to_copy_1')] })
    assert.deepEqual(
      [graph.outputs, signature.output_specs],
      [[tensor('_to_copy_1')], [{ user_output: { arg: tensor('_to_copy_1') } }]],
    )
    assert.equal((graph.tensor_values.p_w as { dtype: number }).dtype, 6)
    assert.deepEqual(upcastProgram(program as never, new Map([['w', 'float32']])), before)
  })
})
