import assert from 'node:assert/strict'
import { nn, noGrad, ones, randn, scope, tensor, type Tensor, zeros } from '../../lib/index.js'
import { OrderedDict } from '../../src/format/values.js'
import { Cnn } from './cnn.js'

class Inner extends nn.Module {
  scale = new nn.Parameter(ones([1]))

  constructor() {
    super()
    this.registerBuffer('count', tensor(3, { dtype: 'int64' }))
    this.registerBuffer('scratch', ones([2]), { persistent: false })
    this.registerBuffer('nothing', null)
  }

  override forward(x: Tensor): Tensor {
    return x.mul(this.scale)
  }
}

class Outer extends nn.Module {
  first = new Inner()
  weight = new nn.Parameter(zeros([2]))
  note = 'not a module'
  again = this.first
  tied = this.weight

  override forward(x: Tensor): Tensor {
    return this.first.call(x).add(this.weight)
  }
}

const incompatible = (message: RegExp) => ({ name: 'TorchkeepError', code: 'ERR_CHECKPOINT_INCOMPATIBLE', message })

describe('nn.Module', () => {
  it('keeps names that are numbers in order of registration, among the others', () => {
    class Numbered extends nn.Module {
      first = new nn.Parameter(ones([1]))

      constructor() {
        super()
        this.registerParameter('7', new nn.Parameter(ones([1])))
        this.registerModule('3', new nn.Linear(1, 1))
        this.registerModule('0', new nn.Linear(1, 1, { bias: false }))
        this.registerParameter('last', new nn.Parameter(ones([1])))
      }

      override forward(x: Tensor): Tensor {
        return x
      }
    }
    assert.deepEqual([...new Numbered().stateDict().keys()], ['first', '7', 'last', '3.weight', '3.bias', '0.weight'])
  })

  it('takes gradients along to another dtype', () => {
    const linear = new nn.Linear(2, 1)
    linear
      .call(ones([1, 2]))
      .sum()
      .backward()
    linear.to('float64')
    assert.equal(linear.weight.grad?.dtype, 'float64')
    linear
      .call(ones([1, 2], { dtype: 'float64' }))
      .sum()
      .backward()
    assert.deepEqual(linear.weight.grad?.tolist(), [[2, 2]])
  })

  it('finds parameters, buffers and modules in order of assignment', () => {
    const outer = new Outer()
    assert.deepEqual([...outer.namedParameters().keys()], ['weight', 'first.scale'])
    assert.deepEqual(
      [...outer.namedParameters({ removeDuplicate: false }).keys()],
      ['weight', 'tied', 'first.scale', 'again.scale'],
    )
    assert.deepEqual([...outer.namedBuffers().keys()], ['first.count', 'first.scratch'])
    assert.deepEqual([...outer.namedModules().keys()], ['', 'first'])
    assert.deepEqual([...outer.namedModules({ removeDuplicate: false }).keys()], ['', 'first', 'again'])
    assert.equal(outer.children().length, 1)
  })

  it('has a state dict with all names, own state first, and versions', () => {
    const dict = new Outer().stateDict()
    assert.deepEqual([...dict.keys()], ['weight', 'tied', 'first.scale', 'first.count', 'again.scale', 'again.count'])
    assert.ok(dict instanceof OrderedDict)
    assert.deepEqual(
      dict.metadata,
      new OrderedDict([
        ['', new Map([['version', 1]])],
        ['first', new Map([['version', 1]])],
        ['again', new Map([['version', 1]])],
      ]),
    )
    assert.deepEqual((new Cnn().stateDict().metadata as Map<string, unknown>).get('bn'), new Map([['version', 2]]))
  })

  it('gives live tensors in the state dict, aliases over one storage', () => {
    const outer = new Outer()
    const dict = outer.stateDict()
    noGrad(() => outer.weight.add_(5))
    assert.deepEqual(dict.get('weight')?.tolist(), [5, 5])
    assert.equal(dict.get('weight')?.info().storageId, dict.get('tied')?.info().storageId)
    assert.equal(dict.get('weight')?.requiresGrad, false)
  })

  it('refuses modules and parameters in arrays, and names with dots', () => {
    class Hidden extends nn.Module {
      layers = [new nn.ReLU()]
      override forward(x: Tensor): Tensor {
        return x
      }
    }
    assert.throws(() => new Hidden().parameters(), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /Field 'layers' of Hidden/,
    })
    assert.throws(() => new Inner().registerBuffer('a.b', null), { code: 'ERR_INVALID_ARGUMENT' })
    assert.throws(() => new Inner().buffer('none'), { code: 'ERR_INVALID_ARGUMENT' })
  })

  it('sets modes, gradients and dtypes of everything below', () => {
    const model = new Cnn()
    assert.ok(
      model
        .eval()
        .modules()
        .every((module) => !module.training),
    )
    assert.ok(
      model
        .train()
        .modules()
        .every((module) => module.training),
    )
    assert.ok(
      model
        .requiresGrad_(false)
        .parameters()
        .every((parameter) => !parameter.requiresGrad),
    )
    const before = model.conv.weight
    model.to('float64')
    assert.equal(model.conv.weight, before)
    assert.equal(before.dtype, 'float64')
    assert.equal(model.bn.runningMean?.dtype, 'float64')
    assert.equal(model.bn.numBatchesTracked?.dtype, 'int64')
  })

  it('survives a scope', () => {
    const model = scope(() => new Cnn())
    assert.equal(model.call(randn([2, 1, 12, 12])).shape[1], 5)
  })
})

describe('loadStateDict', () => {
  it('copies values and keeps ties', () => {
    const [source, target] = [new Cnn(), new Cnn()]
    const report = target.loadStateDict(source.stateDict())
    assert.deepEqual(report, { missingKeys: [], unexpectedKeys: [], mismatched: [] })
    for (const [name, value] of source.stateDict()) assert.ok(value.equal(target.stateDict().get(name) as Tensor), name)
    assert.equal(target.last.weight, (target.head.namedChildren().get('3') as nn.Linear).weight)
    assert.equal(target.last.weight.requiresGrad, true)
  })

  it('reports everything at once and copies nothing', () => {
    const model = new nn.Linear(2, 3)
    const before = model.weight.tolist()
    const dict = new Map([
      ['weight', zeros([3, 2])],
      ['weights', zeros([1])],
    ])
    assert.throws(() => model.loadStateDict(dict), incompatible(/missing: bias; unexpected: weights$/))
    const wrong = { weight: zeros([2, 2]), bias: zeros([3], { dtype: 'float64' }) }
    assert.throws(
      () => model.loadStateDict(wrong),
      incompatible(/mismatched: weight: shape \[2, 2\], expected \[3, 2\], bias: float64, expected float32$/),
    )
    assert.throws(() => model.loadStateDict(wrong, { strict: false }), incompatible(/weight: shape/))
    assert.throws(
      () => model.loadStateDict({ weight: 5 as unknown as Tensor, bias: zeros([3]) }),
      incompatible(/weight: number, expected a tensor/),
    )
    assert.deepEqual(model.weight.tolist(), before)
  })

  it('loads what fits when it is not strict, converting dtypes as Python does', () => {
    const model = new nn.Linear(2, 3)
    const report = model.loadStateDict({ bias: ones([3], { dtype: 'float64' }), other: ones([1]) }, { strict: false })
    assert.deepEqual(report, {
      missingKeys: ['weight'],
      unexpectedKeys: ['other'],
      mismatched: ['bias: float64, expected float32'],
    })
    assert.deepEqual(model.bias?.tolist(), [1, 1, 1])
  })

  it('accepts batch norm from before num_batches_tracked', () => {
    const model = new nn.BatchNorm2d(2)
    const { weight, bias } = model
    const old = new OrderedDict<string, Tensor>([
      ['weight', weight as Tensor],
      ['bias', bias as Tensor],
      ['running_mean', zeros([2])],
      ['running_var', ones([2])],
    ])
    assert.doesNotThrow(() => model.loadStateDict(old))
    old.metadata = new OrderedDict([['', new Map([['version', 2]])]])
    assert.throws(() => model.loadStateDict(old), incompatible(/missing: num_batches_tracked/))
  })
})

describe('layers', () => {
  const refusals: Record<string, () => unknown> = {
    'Linear inFeatures -1': () => new nn.Linear(-1, 2),
    'Conv2d groups': () => new nn.Conv2d(3, 4, 3, { groups: 2 }),
    'Embedding paddingIdx': () => new nn.Embedding(3, 2, { paddingIdx: 3 }),
    'Dropout p': () => new nn.Dropout(1.5),
    'BatchNorm2d input': () => new nn.BatchNorm2d(2).call(ones([3, 2])),
    'BatchNorm2d with one value a channel': () => new nn.BatchNorm2d(2).call(ones([1, 2, 1, 1])),
    'MSELoss shapes': () => new nn.MSELoss().call(ones([3, 1]), ones([3])),
    'unknown reduction': () => nn.functional.mseLoss(ones([1]), ones([1]), { reduction: 'max' as 'sum' }),
  }
  for (const [name, make] of Object.entries(refusals)) {
    it(`refuses ${name}`, () => {
      assert.throws(make, { name: 'TorchkeepError', code: 'ERR_INVALID_ARGUMENT' })
    })
  }
})
