/** Graphs out of files that nobody vouches for: whatever stands where it does not belong is told, and never met by those who go through a graph. */
import assert from 'node:assert/strict'
import { embeddingRange } from '../../src/export/embedding-range.js'
import { whyNotEvaluation } from '../../src/export/evaluation-mode.js'
import { batchRange, inputsOf, outputsOf, stateSpecs } from '../../src/export/graph-tensors.js'
import { programOf } from '../../src/export/program.js'
import { TorchkeepError } from '../../src/format/errors.js'

const symbol = { as_expr: { expr_str: "Symbol('s0', positive=True, integer=True)", hint: { as_int: 4 } } }
const named = (name: string) => ({ name })
const meta = (dtype: number, ...sizes: object[]) => ({
  ...{ dtype, sizes, strides: sizes, requires_grad: false, device: { type: 'cpu', index: null } },
  ...{ storage_offset: { as_int: 0 }, layout: 7 },
})
const tensorOf = (name: string) => ({ as_tensor: named(name) })
const leaf = { type: null, context: null, children_spec: [] }
const tuple = (...children_spec: object[]) => ({ type: 'builtins.tuple', context: 'null', children_spec })
const inSpec = tuple(tuple(leaf), { type: 'builtins.dict', context: '[]', children_spec: [] })

/** An embedding, one of whose numbers is as large as they come. */
const graph = {
  graph: {
    inputs: [tensorOf('p_w'), tensorOf('b_m'), tensorOf('c_t'), tensorOf('x')],
    outputs: [tensorOf('embedding')],
    nodes: [
      {
        target: 'torch.ops.aten.slice.Tensor',
        inputs: [
          { name: 'self', arg: tensorOf('x'), kind: 1 },
          { name: 'end', arg: { as_int: 'LARGEST' }, kind: 1 },
        ],
        outputs: [tensorOf('slice_1')],
        metadata: { nn_module_stack: 'L__self__,,Net' },
        name: 'slice_1',
      },
      {
        target: 'torch.ops.aten.embedding.default',
        inputs: [
          { name: 'weight', arg: tensorOf('p_w'), kind: 1 },
          { name: 'indices', arg: tensorOf('slice_1'), kind: 1 },
        ],
        outputs: [{ as_tensors: [named('embedding')] }],
        metadata: {},
        name: 'embedding',
      },
    ],
    tensor_values: {
      p_w: meta(7, { as_int: 9 }, { as_int: 2 }),
      b_m: meta(7),
      c_t: meta(7),
      x: meta(5, symbol),
      slice_1: meta(5, symbol),
      embedding: meta(7, symbol, { as_int: 2 }),
    },
    sym_int_values: {},
  },
  signature: {
    input_specs: [
      { parameter: { arg: named('p_w'), parameter_name: 'e.weight' } },
      { buffer: { arg: named('b_m'), buffer_name: 'm', persistent: false } },
      { tensor_constant: { arg: named('c_t'), tensor_constant_name: 't' } },
      { user_input: { arg: tensorOf('x') } },
    ],
    output_specs: [{ user_output: { arg: tensorOf('embedding') } }],
  },
  module_call_graph: [
    {
      fqn: '',
      signature: { inputs: [], outputs: [], in_spec: JSON.stringify([1, inSpec]), out_spec: JSON.stringify([1, leaf]) },
    },
    { fqn: 'e', signature: null },
  ],
}

const textOf = (value: unknown): string => JSON.stringify(value).replaceAll('"LARGEST"', '9223372036854775807')

/** All that looks at a graph without running it. */
function look(text: string): void {
  const program = programOf('x.pth', text, '2.13.0')
  if (whyNotEvaluation(program) !== null) return
  stateSpecs(program)
  outputsOf(program)
  batchRange(program)
  for (const { name } of inputsOf(program)) embeddingRange(program, name)
}

/** Copies with one part replaced each. */
function* changed(value: unknown, replacement: unknown): Generator<unknown> {
  yield replacement
  if (typeof value !== 'object' || value === null) return
  for (const [key, item] of Object.entries(value))
    for (const other of changed(item, replacement))
      yield Array.isArray(value)
        ? value.map((own: unknown, index) => (String(index) === key ? other : own))
        : { ...value, [key]: other }
}

describe('graphs out of files', () => {
  it('are read with every digit', () => {
    const program = programOf('x.pth', textOf(graph), '2.13.0')
    assert.deepEqual(program.graph_module.graph.nodes[0]?.inputs[1]?.arg, { as_int: 9223372036854775807n })
    assert.equal(whyNotEvaluation(program), null)
    assert.deepEqual(inputsOf(program).map(({ name, shape }) => [name, shape]), [['x', [null]]]) // prettier-ignore
    assert.equal(embeddingRange(program, 'x'), 9)
    assert.equal(program.torch_version, '2.13.0')
  })

  it('are refused as damaged wherever something else stands, or looked at without harm', () => {
    let refused = 0
    for (const replacement of [null, 5, 'x', [], {}, [null], { x: null }, true]) {
      for (const value of changed(graph, replacement)) {
        try {
          look(textOf(value))
        } catch (error) {
          const at = `${textOf(value).slice(0, 4000)}\n${String((error as Error).stack)}`
          assert.ok(error instanceof TorchkeepError && /CORRUPT|UNSUPPORTED/.test(error.code), at)
          refused++
        }
      }
    }
    assert.ok(refused > 500, String(refused))
  })

  it('are refused where they are no JSON', () => {
    assert.throws(() => look('{'), { code: 'ERR_CHECKPOINT_CORRUPT', message: /model_graph\.eval/ })
  })
})
