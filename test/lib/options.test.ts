/** Whatever is no option of ours is refused: ignored, it would be a silently wrong value. */
import assert from 'node:assert/strict'
import * as torch from '../../lib/index.js'

const { lrScheduler, nn, ones, optim, tensor } = torch
const parameters = () => [new nn.Parameter(ones([2]))]
const refused = (message: RegExp) => ({ name: 'TorchkeepError', code: 'ERR_INVALID_ARGUMENT', message })

/** What plain JavaScript can pass where the types forbid it. */
type Loose = (...args: unknown[]) => unknown
const loose = (fn: unknown): Loose => fn as Loose
const make =
  (type: unknown): Loose =>
  (...args) =>
    Reflect.construct(type as new () => object, args)
const method =
  (name: string, on = ones([2, 2])): Loose =>
  (...args) =>
    loose((on as unknown as Record<string, unknown>)[name]).apply(on, args)

const misspelt: Record<string, () => unknown> = {
  requires_grad: () => loose(tensor)([1], { requires_grad: true }),
  Dtype: () => loose(torch.zeros)([1], { Dtype: 'int64' }),
  seed: () => loose(torch.rand)([1], { seed: 1 }),
  p: () => loose(torch.bernoulli)(ones([1]), { p: 1 }),
  Alpha: () => method('add')(1, { Alpha: 2 }),
  rounding_mode: () => method('div')(2, { rounding_mode: 'floor' }),
  keepDim: () => method('sum')(0, { keepDim: true }),
  keep_dim: () => method('max')(0, { keep_dim: true }),
  unbiased: () => method('std')(0, { unbiased: false }),
  stop: () => method('at')({ stop: 1 }),
  accum: () => method('indexPut_')([0], 1, { accum: true }),
  retain_graph: () => method('backward', ones([1], { requiresGrad: true }).sum())({ retain_graph: true }),
  Bias: () => make(nn.Linear)(1, 1, { Bias: false }),
  paddingMode: () => make(nn.Conv2d)(1, 1, 3, { paddingMode: 'reflect' }),
  track_running_stats: () => make(nn.BatchNorm2d)(1, { track_running_stats: false }),
  sparse: () => make(nn.Embedding)(2, 2, { sparse: true }),
  returnIndices: () => make(nn.MaxPool2d)(2, { returnIndices: true }),
  inPlace: () => make(nn.Dropout)(0.5, { inPlace: true }),
  ignore_index: () => make(nn.CrossEntropyLoss)({ ignore_index: 1 }),
  label_smoothing: () => loose(nn.functional.crossEntropy)(ones([1, 2]), tensor([0n]), { label_smoothing: 0.1 }),
  sizeAverage: () => make(nn.MSELoss)({ sizeAverage: false }),
  slope: () => loose(nn.init.kaimingUniform_)(ones([2, 2]), { slope: 1 }),
  weight_decay: () => make(optim.SGD)(parameters(), { weight_decay: 1 }),
  capturable: () => make(optim.AdamW)(parameters(), { capturable: true }),
  beta: () => make(optim.Adam)([{ params: parameters(), beta: [0.5, 0.5] }]),
  lastEpoch: () => make(lrScheduler.StepLR)(new optim.SGD(parameters()), { stepSize: 1, lastEpoch: 3 }),
  numWorkers: () => make(torch.DataLoader)(new torch.TensorDataset(ones([4, 1])), { numWorkers: 2 }),
}

const positional: Record<string, () => unknown> = {
  'Linear(1, 1, false)': () => make(nn.Linear)(1, 1, false),
  'Conv2d(3, 16, 3, 1, 1)': () => make(nn.Conv2d)(3, 16, 3, 1, 1),
  'MaxPool2d(3, 2)': () => make(nn.MaxPool2d)(3, 2),
  'ReLU(true)': () => make(nn.ReLU)(true),
  'Dropout({ p })': () => make(nn.Dropout)({ p: 0.5 }),
  'kaimingUniform_(w, 1)': () => loose(nn.init.kaimingUniform_)(ones([2, 2]), 1),
}

describe('options', () => {
  for (const [name, pass] of Object.entries(misspelt)) {
    it(`refuse the unknown '${name}'`, () => {
      assert.throws(pass, refused(new RegExp(`'${name}'`)))
    })
  }

  for (const [name, pass] of Object.entries(positional)) {
    it(`refuse a bare value in their place: ${name}`, () => {
      assert.throws(pass, refused(/expected (an object|a number)/))
    })
  }

  it('refuse names that a choice does not have', () => {
    assert.throws(() => loose(nn.init.calculateGain)('leakyRelu'), refused(/nonlinearity 'leakyRelu'/))
    assert.throws(() => loose(nn.init.kaimingNormal_)(ones([2, 2]), { mode: 'fanOut' }), refused(/mode 'fanOut'/))
    assert.throws(() => make(nn.MSELoss)({ reduction: 'avg' }), refused(/reduction 'avg'/))
  })
})
