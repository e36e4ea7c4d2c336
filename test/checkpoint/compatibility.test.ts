/** Whether a checkpoint fits a configuration or another checkpoint, and what the tensors say of the model. */
import assert from 'node:assert/strict'
import { architectureOf, CheckpointValidator, type ModuleNode } from '../../src/checkpoint/index.js'
import { OrderedDict } from '../../src/format/index.js'
import { checkpoint, dict, float32, stateDict, zeros } from './judged.js'

const config = {
  protein_encoder_type: 'esm',
  drug_encoder_type: 'gin',
  use_fusion: true,
  protein_config: { output_dim: 128, kernels: [3, 5] },
  learning_rate: 0.001,
}
const pythonDict = (value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? new Map(Object.entries(value).map(([key, item]) => [key, pythonDict(item)]))
    : value
const withConfig = (own: unknown, model: unknown = stateDict()) => ({
  value: checkpoint({ config: pythonDict(own), model_state_dict: model }),
})
const fit = (own: unknown, target: unknown, model?: unknown) =>
  CheckpointValidator.validateModelCompatibility(withConfig(own, model), { config: target })

describe('compatibility with a configuration', () => {
  it('is decided by the hash, which rates and seeds do not change', () => {
    const other = { ...config, learning_rate: 1, seed: 3, batch_size: 4 }
    assert.deepEqual(fit(config, other), { compatible: true, sameConfigHash: true, issues: [], warnings: [] })
  })

  it("names the fields that differ, in the older system's words", () => {
    const other = {
      ...config,
      protein_encoder_type: 'cnn',
      use_fusion: false,
      protein_config: { output_dim: 64, kernels: [3] },
    }
    assert.deepEqual(fit(config, other), {
      compatible: false,
      sameConfigHash: false,
      issues: [
        'Incompatible protein_encoder_type: checkpoint=esm, target=cnn',
        'Incompatible use_fusion: checkpoint=True, target=False',
        'Incompatible protein_config.output_dim: checkpoint=128, target=64',
        'Incompatible protein_config.kernels: checkpoint=[3,5], target=[3]',
      ],
      warnings: [],
    })
  })

  it('warns of fields that only one has', () => {
    const { compatible, warnings } = fit({ ...config, extra: 1 }, { ...config, more: null })
    assert.equal(compatible, true)
    assert.deepEqual(warnings, [
      'Incompatible extra: checkpoint=1, target=(absent)',
      'Incompatible more: checkpoint=(absent), target=None',
    ])
  })

  it('needs a configuration in the checkpoint', () => {
    assert.deepEqual(fit(undefined, config).issues, ['Checkpoint has no config'])
  })

  it('believes the tensors more than the configuration beside them', () => {
    const model = new OrderedDict([
      ['protein_encoder.cnn_branches.0.0.conv.weight', float32([2, 2, 3], 1)],
      ['protein_encoder.projection.3.weight', float32([64, 2], 1)],
      ['drug_encoder.gin_layers.0.layer_norm.weight', float32([2], 1)],
      ['drug_encoder.final_projection.3.weight', float32([32, 2], 1)],
    ])
    assert.deepEqual(fit(config, config, model).issues, [
      'Incompatible protein_encoder_type: tensors=cnn, target=esm',
      'Incompatible use_fusion: tensors=False, target=True',
      'Incompatible protein_config.output_dim: tensors=64, target=128',
    ])
  })
})

describe('compatibility with another checkpoint', () => {
  it('compares names, shapes and dtypes as load_state_dict would', () => {
    const own = withConfig(
      config,
      stateDict({
        'first.bias': float32([4], 1),
        'more.weight': float32([2], 1),
        'norm.weight': zeros('float16', [3], 2),
      }),
    )
    const model = stateDict({ 'head.weight': float32([5, 3], 1) })
    assert.deepEqual(CheckpointValidator.validateModelCompatibility(own, { checkpoint: withConfig(config, model) }), {
      compatible: false,
      sameConfigHash: true,
      issues: [
        'Incompatible first.bias: checkpoint=[4], target=[3]',
        'Missing tensor head.weight: the target has [5, 3]',
        'Unexpected tensor more.weight: the target has none, the checkpoint [2]',
      ],
      warnings: ['Different dtype of norm.weight: checkpoint=float16, target=float32; loading converts'],
    })
  })

  it('fits itself', () => {
    const self = withConfig(config)
    assert.equal(CheckpointValidator.validateModelCompatibility(self, { checkpoint: self }).compatible, true)
  })
})

describe('architecture from tensors', () => {
  const guesses = (node: ModuleNode | null): Record<string, string | null> => {
    const all: Record<string, string | null> = {}
    const visit = (current: ModuleNode): void => {
      if (current.path !== '') all[current.path] = current.guess
      current.children.forEach(visit)
    }
    if (node !== null) visit(node)
    return all
  }

  it('is a tree of modules with guesses and counts', () => {
    const shared = float32([4, 4], 1)
    const model = new OrderedDict<string, unknown>([
      ['token_emb.weight', float32([26, 4], 1)],
      ['blocks.0.fc.weight', shared],
      ['blocks.0.fc.bias', float32([4], 1)],
      ['blocks.1.fc.weight', shared],
      ['conv.weight', float32([8, 4, 3], 1)],
      ['up.weight', float32([8, 4, 2, 2], 1)],
      ['up.bias', float32([4], 1)],
      ['bn.weight', float32([8], 1)],
      ['bn.bias', float32([8], 1)],
      ['bn.running_mean', float32([8], 1)],
      ['bn.running_var', float32([8], 1)],
      ['ln.weight', float32([8], 1)],
      ['ln.bias', float32([8], 1)],
      ['rms.weight', float32([8], 1)],
      ['lstm.weight_ih_l0', float32([32, 4], 1)],
      ['lstm.weight_hh_l0', float32([32, 8], 1)],
      ['gru.weight_ih_l0', float32([24, 4], 1)],
      ['gru.weight_hh_l0', float32([24, 8], 1)],
      ['gru.weight_ih_l1', float32([24, 8], 1)],
      ['attention.in_proj_weight', float32([24, 8], 1)],
      ['attention.out_proj.weight', float32([8, 8], 1)],
      ['attention.out_proj.bias', float32([8], 1)],
      ['scale', float32([1], 1)],
    ])
    const root = architectureOf(dict({ model_state_dict: model }))
    assert.deepEqual(guesses(root), {
      token_emb: 'Embedding(26, 4)',
      blocks: 'Sequential or ModuleList',
      'blocks.0': null,
      'blocks.0.fc': 'Linear(4, 4)',
      'blocks.1': null,
      'blocks.1.fc': 'Linear(4, 4, bias=False)',
      conv: 'Conv1d(4, 8, kernel_size=(3), bias=False)',
      up: 'ConvTranspose2d(8, 4, kernel_size=(2, 2))',
      bn: 'BatchNorm(8)',
      ln: 'LayerNorm or GroupNorm(8)',
      rms: 'RMSNorm(8)',
      lstm: 'LSTM(4, 8, num_layers=1)',
      gru: 'GRU(4, 8, num_layers=2)',
      attention: 'MultiheadAttention(8)',
      'attention.out_proj': 'Linear(8, 8)',
    })
    const blocks = root?.children.find(({ name }) => name === 'blocks')
    assert.equal(blocks?.numParameters, 16 + 4)
    assert.equal(blocks?.children[1]?.children[0]?.tensors[0]?.sameAs, 'blocks.0.fc.weight')
    assert.equal(root?.children.find(({ name }) => name === 'bn')?.numParameters, 16)
    assert.equal(architectureOf(dict({})), null)
  })
})
