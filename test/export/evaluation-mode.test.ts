/** Which nodes tell that a graph was recorded in training mode, and which only look so. */
import assert from 'node:assert/strict'
import { trainingNode, whyNotEvaluation } from '../../src/export/evaluation-mode.js'
import type { Argument, ExportedProgram, InputSpec } from '../../src/format/export-schema.js'

/** A graph of one node over the input `x`, a parameter `p_w` and a buffer `b_mean`. */
function programOf(operator: string, args: Record<string, Argument>, changes: object = {}): ExportedProgram {
  const tensorOf = (name: string): Argument => ({ as_tensor: { name } })
  const inputs = Object.entries(args).map(([name, arg]) => ({ name, arg, kind: 1 as const }))
  const metadata = { nn_module_stack: 'L__self__,,Net;L__self__layer,layer,Layer' }
  const input_specs: InputSpec[] = [
    { parameter: { arg: { name: 'p_w' }, parameter_name: 'layer.weight' } },
    { buffer: { arg: { name: 'b_mean' }, buffer_name: 'layer.running_mean', persistent: true } },
    { user_input: { arg: tensorOf('x') } },
  ]
  const node = { target: `torch.ops.aten.${operator}`, inputs, outputs: [tensorOf('y')], metadata, name: 'y' }
  return {
    graph_module: {
      graph: { nodes: [node], inputs: [], outputs: [], tensor_values: {} },
      signature: { input_specs, output_specs: [{ user_output: { arg: tensorOf('y') } }] },
      module_call_graph: [],
      ...changes,
    },
    schema_version: { major: 8, minor: 20 },
  } as unknown as ExportedProgram
}

const x: Argument = { as_tensor: { name: 'x' } }
const mean: Argument = { as_tensor: { name: 'b_mean' } }
const on: Argument = { as_bool: true }
const half: Argument = { as_float: 0.5 }

describe('graphs of training', () => {
  const training: [string, string, Record<string, Argument>, RegExp][] = [
    ['dropout', 'dropout.default', { input: x, p: half, train: on }, /drops values at random/],
    ['dropout between the layers of an LSTM', 'lstm.input', { input: x, dropout: half, train: on }, /drops values/],
    ['dropout of attention', 'scaled_dot_product_attention.default', { query: x, dropout_p: half }, /drops values/],
    ['a batch norm', 'batch_norm.default', { input: x, running_mean: mean, training: on }, /statistics of its batch/],
    ['an instance norm', 'instance_norm.default', { input: x, running_mean: mean, use_input_stats: on }, /statistics/],
    ['random slopes', 'rrelu.default', { self: x, lower: half, upper: half, training: on }, /slopes at random/],
    ['a count in a buffer', 'add_.Tensor', { self: mean, other: { as_int: 1 } }, /it changes 'layer\.running_mean'/],
  ]
  for (const [what, operator, args, reason] of training)
    it(`have ${what}`, () => {
      const found = trainingNode(programOf(operator, args)) ?? assert.fail('nothing was found')
      assert.equal(found.node, `y (torch.ops.aten.${operator}, module layer)`)
      assert.match(found.reason, reason)
    })

  const evaluation: [string, string, Record<string, Argument>][] = [
    ['dropout of nothing', 'dropout.default', { input: x, p: { as_float: 0 }, train: on }],
    ['dropout that is off', 'dropout.default', { input: x, p: half, train: { as_bool: false } }],
    [
      'a norm without running statistics',
      'batch_norm.default',
      { input: x, running_mean: { as_none: true }, training: on },
    ],
    ['an LSTM without dropout', 'lstm.input', { input: x, dropout: { as_float: 0 }, train: on }],
    ['a change in place of something computed', 'relu_.default', { self: { as_tensor: { name: 'z' } } }],
    ['an operator between two underscores', '__and__.Tensor', { self: mean, other: x }],
  ]
  for (const [what, operator, args] of evaluation)
    it(`are not known by ${what}`, () => assert.equal(whyNotEvaluation(programOf(operator, args)), null))
})

describe('graphs that are not called with tensors', () => {
  const relu = (changes: object): ExportedProgram => programOf('relu.default', { self: x }, changes)
  const leaf = { type: null, context: null, children_spec: [] }
  const tuple = (...children_spec: object[]) => ({ type: 'builtins.tuple', context: 'null', children_spec })
  const dict = (...children_spec: object[]) => ({ type: 'builtins.dict', context: '[]', children_spec })
  const called = (inputs: object, outputs: object): object => {
    const [in_spec, out_spec] = [JSON.stringify([1, inputs]), JSON.stringify([1, outputs])]
    return { module_call_graph: [{ fqn: '', signature: { in_spec, out_spec, forward_arg_names: ['x'] } }] }
  }
  const output = { user_output: { arg: { as_tensor: { name: 'y' } } } }
  const refused: [string, object, RegExp][] = [
    ['a number', { signature: { input_specs: [{ user_input: { arg: { as_int: 3 } } }], output_specs: [output] } }, /an input of the kind as_int/],
    ['an object', { signature: { input_specs: [{ custom_obj: { arg: {} } }], output_specs: [output] } }, /takes a custom_obj/],
    ['a dict', called(tuple(tuple(dict(leaf)), dict()), leaf), /takes lists or dicts of tensors/],
    ['a keyword', called(tuple(tuple(leaf), dict(leaf)), leaf), /takes inputs by keyword/],
    ['a dict as output', called(tuple(tuple(leaf), dict()), dict(leaf)), /but nested values/],
    ['a tuple in a tuple as output', called(tuple(tuple(leaf), dict()), tuple(tuple(leaf))), /but nested values/],
    ['a changed buffer as output', { signature: { input_specs: [], output_specs: [{ buffer_mutation: { arg: { name: 'y' }, buffer_name: 'b' } }] } }, /besides giving outputs \(buffer_mutation\)/],
  ] // prettier-ignore
  for (const [what, changes, reason] of refused)
    it(`have ${what}`, () => assert.match(whyNotEvaluation(relu(changes)) ?? '', reason))

  it('are not known by a tuple of outputs', () => {
    assert.equal(whyNotEvaluation(relu(called(tuple(tuple(leaf), dict()), tuple(leaf, leaf)))), null)
  })

  it('nor are those of another schema taken', () => {
    const program = { ...relu({}), schema_version: { major: 9, minor: 0 } }
    assert.match(whyNotEvaluation(program) ?? '', /schema version 9/)
  })
})
