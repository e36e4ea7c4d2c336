/** Compares checkpoints that Python wrote; Python computes the same figures from the same tensors. */
import assert from 'node:assert/strict'
import { copyFile, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compareCheckpoints, type Comparison, type CompareOptions } from '../../src/checkpoint/index.js'
import { readTorchFile } from '../../src/format/index.js'
import { needPython, runPython } from '../python.js'
import { programs, pythonFigures } from './compare-programs.js'

describe('compare: checkpoints that Python wrote', function () {
  this.timeout(120_000)
  let folder = ''
  /** What Python found, by program. */
  let made: Record<string, unknown> = {}
  const at = (name: string): string => join(folder, name)
  const compare = (a: string, b: string, options?: CompareOptions): Promise<Comparison> =>
    compareCheckpoints(at(a), at(b), options)
  before(async function () {
    needPython(this)
    folder = await mkdtemp(join(tmpdir(), 'torchkeep-compare-'))
    const text = await runPython(
      `${pythonFigures}
folder, results = sys.argv[1], {}
for name, program in json.loads(sys.argv[2]).items():
    scope = dict(globals(), at=lambda file: folder + '/' + file, out=None)
    exec(program, scope)
    for side in 'ab': torch.save(scope[side], f'{folder}/{name}-{side}.pth')
    results[name] = scope['out']
print(json.dumps(results).replace('Infinity', '"Infinity"'))`,
      [folder, JSON.stringify(programs)],
    )
    made = JSON.parse(text, (_key, item: unknown) => (item === 'Infinity' ? Infinity : item)) as Record<string, unknown>
  })
  after(() => rm(folder, { recursive: true, force: true }))

  it('gives exactly the figures of Python where every sum is exact', async () => {
    // Multiples of 1/64 below 64: squares, products and their sums are exact in doubles, so no order of summation can matter.
    const expected = made['exact']
    const { model, same, differentParts } = await compare('exact-a.pth', 'exact-b.pth')
    assert.equal(same, false)
    assert.deepEqual(differentParts, ['model'])
    const ours = Object.fromEntries(
      model.tensors.map(({ name, figures }) => {
        const { outside, ...rest } = figures ?? assert.fail()
        assert.equal(outside, null)
        return [name, rest]
      }),
    )
    assert.deepEqual(ours, expected)
    assert.deepEqual(model.tensors.find(({ name }) => name === 'other dtype')?.difference, 'dtype')
  })

  it('gives the figures of a real run: sums of rounded products may differ in their last bits', async () => {
    const expected = made['run'] as Record<string, unknown>
    const result = await compare('run-a.pth', 'run-b.pth')
    const { layers, moments, ...tensors } = expected
    assert.equal(result.model.numTensors, 9)
    assert.equal(result.model.numIdenticalTensors, 2, 'the frozen convolution')
    assertNear(result.model.tensors, tensors)
    assertNear(result.model.layers, layers)
    assertNear(result.optimizer.tensors, moments)
    assert.equal(result.optimizer.matching, 'indices')
    const order = result.model.layers.map(({ figures }) => figures?.relativeNorm ?? 0)
    assert.deepEqual(
      order,
      [...order].sort((left, right) => right - left),
      'most changed first',
    )
    assert.deepEqual(result.differentParts, ['model', 'optimizer', 'scheduler', 'rest', 'history'])
    assert.deepEqual(result.scheduler.values, [{ path: 'epoch', before: 1, after: 2 }])
    assert.deepEqual(
      result.rest.values.map(({ path }) => path),
      ['training_state.current_epoch', 'training_state.best_val_loss', 'validation_loss', 'is_best', 'epoch'],
    )
    const { history } = result
    assert.deepEqual([history.rowsA, history.rowsB, history.commonRows, history.continuedBy], [1, 2, 1, 'b'])
    assert.equal(result.config.sameHash, true)
    assert.deepEqual(
      result.metadata.map(({ path }) => path),
      ['createdAt'],
    )
    assert.deepEqual(
      [result.a.kind, result.a.layout, result.a.epoch, result.b.epoch],
      ['training_checkpoint', 'L1', 1, 2],
    )
  })

  it('takes two runs of the same bits as the same, whatever their times, titles, numpy types and key order', async () => {
    const result = await compare('times-a.pth', 'times-b.pth')
    assert.deepEqual(result.differentParts, [])
    assert.equal(result.same, true)
    assert.deepEqual(
      result.metadata.map(({ path }) => path),
      ['title', 'createdAt'],
    )
    assert.deepEqual(result.keysOnlyInB, ['metadata'])
  })

  it('says where configurations, options and histories differ', async () => {
    const result = await compare('values-a.pth', 'values-b.pth')
    assert.deepEqual(result.differentParts, ['optimizer', 'config', 'history'])
    assert.deepEqual(result.config.values, [
      { path: 'width', before: 4, after: 8 },
      { path: 'learning_rate', before: 0.001 },
      { path: 'protein_config.output_dim', before: 64, after: 32 },
      { path: 'seed', after: 1 },
    ])
    assert.equal(result.config.sameHash, false)
    assert.deepEqual(result.optimizer.values, [
      { path: 'param_groups[0].lr', before: 0.001, after: 0.5 },
      { path: 'param_groups[0].betas[1]', before: 0.999, after: 0.99 },
    ])
    assert.equal(result.history.commonRows, 1)
    const { row, epoch, phase, differences } = result.history.divergesAt ?? assert.fail()
    assert.deepEqual([row, epoch, phase, differences.map(({ path }) => path)], [1, 2, 1, ['val_loss']])
  })

  it('matches optimizer states by name where both files know the names', async () => {
    const { optimizer, same } = await compare('names-a.pth', 'names-b.pth')
    assert.equal(optimizer.matching, 'names')
    assert.deepEqual([optimizer.tensors, optimizer.numTensors], [[], 12])
    assert.deepEqual(optimizer.values[0], {
      path: 'param_groups[0].params[0]',
      before: 'one.bias',
      after: 'two.weight',
    })
    assert.equal(same, false, 'the order of the parameters is a part of the optimizer')
  })

  it('lists names, shapes and layouts that only one has, and names that share a tensor', async () => {
    const { model } = await compare('shapes-a.pth', 'shapes-b.pth')
    assert.deepEqual([model.tensorsOnlyInA, model.tensorsOnlyInB], [['gone'], ['new']])
    assert.deepEqual(
      model.tensors.map(({ name, difference, figures }) => [name, difference, figures?.maxAbs ?? null]),
      [
        ['csr (col_indices)', 'shape', null],
        ['csr (values)', 'shape', null],
        ['dense', 'layout', null],
        ['fc.bias', 'shape', null],
        ['csr (crow_indices)', 'values', 6],
        ['coo (values)', 'values', 1],
      ],
    )
    assert.deepEqual([model.sharedOnlyInA, model.sharedOnlyInB], [[['fc.weight', 'tied']], []])
    assert.equal(model.numIdenticalTensors, 3)
  })

  it('compares bits, or values within a tolerance by the rule of numpy.allclose', async () => {
    const expected = made['close'] as [number, boolean][]
    const tolerances = [
      [0, 0],
      [1e-6, 0],
      [1e-5, 0],
      [1e-5, 1e-8],
      [0, 1e-5],
      [1e-9, 1e-9],
    ] as const
    for (const [index, [rtol, atol]] of tolerances.entries()) {
      const { model, same } = await compare('close-a.pth', 'close-b.pth', { rtol, atol })
      assert.deepEqual([model.tensors[0]?.figures?.outside, same], expected[index], `rtol ${rtol}, atol ${atol}`)
    }
    const bits = await compare('zeros-a.pth', 'zeros-b.pth')
    assert.deepEqual(
      [bits.same, bits.model.tensors[0]?.difference, bits.model.tensors[0]?.figures?.differing],
      [false, 'bits', 0],
    )
    assert.equal((await compare('zeros-a.pth', 'zeros-b.pth', { rtol: 0 })).same, true)
    await assert.rejects(compare('zeros-a.pth', 'zeros-b.pth', { rtol: -1 }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /rtol/,
    })
    await assert.rejects(compare('zeros-a.pth', 'zeros-b.pth', { atol: NaN }), { code: 'ERR_INVALID_ARGUMENT' })
  })

  it('sees the smallest difference of any dtype', async () => {
    const expected = made['dtypes'] as Record<string, number>
    const { model } = await compare('dtypes-a.pth', 'dtypes-b.pth')
    const ours = Object.fromEntries(model.tensors.map(({ name, figures }) => [name, figures?.maxAbs]))
    assert.deepEqual(ours, expected)
    for (const { name, figures, difference } of model.tensors) {
      assert.equal(difference, 'values', name)
      assert.equal(figures?.differing, name.endsWith('64') && name.includes('int') ? 2 : 1, name)
    }
  })

  it('compares quantized tensors by their bits and their numbers', async () => {
    const expected = made['quantized']
    const { model } = await compare('quantized-a.pth', 'quantized-b.pth')
    const ours = Object.fromEntries(model.tensors.map(({ name, figures }) => [name, figures?.maxAbs]))
    assert.deepEqual(ours, expected)
    assert.equal(model.numIdenticalTensors, 2)
  })

  it('compares complex numbers, conjugated views, expanded and transposed tensors', async () => {
    const { model } = await compare('views-a.pth', 'views-b.pth')
    const found = Object.fromEntries(
      model.tensors.map(({ name, difference, figures }) => [name, [difference, figures?.maxAbs, figures?.differing]]),
    )
    assert.deepEqual(found, {
      conj: ['values', 10, 3],
      same: ['bits', 0, 0], // im of NaN: the conjugate's bits are another NaN
      wide: ['values', 1, 2 ** 31],
      real: ['dtype', 1, 3],
    })
  })

  it('compares what two layouts both have: a training checkpoint, its state dict, an inference export', async () => {
    for (const other of ['kinds-b.pth', 'kinds-wrapped.pth', 'kinds-export.pth', 'kinds.safetensors']) {
      const { same, model, optimizer, keysOnlyInA } = await compare('kinds-a.pth', other)
      assert.deepEqual([same, model.numTensors, model.numIdenticalTensors], [true, 9, 9], other)
      assert.deepEqual([optimizer.inA, optimizer.inB], [true, false])
      assert.ok(keysOnlyInA.includes('optimizer_state_dict'), other)
    }
    const legacy = await compare('kinds-a.pth', 'kinds-legacy.pth')
    assert.deepEqual(
      [legacy.same, legacy.b.container, legacy.optimizer.numIdenticalTensors],
      [true, 'torch_legacy', 12],
    )
    assert.equal((await compare('kinds-a.pth', 'kinds.safetensors')).b.title, 'safe')
    await assert.rejects(compare('kinds-a.pth', 'kinds-list.pth'), {
      code: 'ERR_CHECKPOINT_INCOMPATIBLE',
      message: /nothing in common/,
    })
    assert.deepEqual(
      (await compare('parts-a.pth', 'parts-b.pth')).differentParts,
      ['scheduler'],
      'of one layout a missing part counts',
    )
  })

  it('compares any other value: lists, objects of unknown classes, numpy arrays, what contains itself', async () => {
    const { rest, differentParts } = await compare('other-a.pth', 'other-b.pth')
    assert.deepEqual(differentParts, ['rest'])
    assert.deepEqual(rest.values.map(({ path }) => path.replace(/\(.*\)|\[.*\]/g, '')).sort(), [
      'args.deep.x',
      'args.lr',
      'array',
      'path.',
    ])
    assert.deepEqual(
      rest.tensors.map(({ name, figures }) => [name, figures?.maxAbs]),
      [['tuple[1][1]', 1]],
    )
    assert.equal((await compare('other-a.pth', 'other-a.pth')).same, true)
  })

  it('names the damaged file and record, where a difference would have been the wrong answer', async () => {
    await copyFile(at('damage-b.pth'), at('damaged.pth'))
    const [storage] = (await readTorchFile(at('damage-b.pth'))).storages
    const file = await open(at('damaged.pth'), 'r+')
    await file.write(Buffer.of(1), 0, 1, (storage?.source.offsetBytes ?? 0) + 100)
    await file.close()
    for (const pair of [
      ['damaged.pth', 'damage-a.pth'],
      ['damage-a.pth', 'damaged.pth'],
      ['damaged.pth', 'damaged.pth'],
    ] as const) {
      await assert.rejects(compare(pair[0], pair[1]), {
        code: 'ERR_CHECKPOINT_CORRUPT',
        message: /damaged\.pth.*data\/0.*CRC-32/,
      })
    }
    await assert.rejects(compare('damage-a.pth', 'absent.pth'), { code: 'ERR_CHECKPOINT_MISSING' })
  })

  it('reports its progress and stops on a signal', async () => {
    const reports: { done: number; total: number; label: string }[] = []
    await compare('progress-a.pth', 'progress-b.pth', { progress: (report) => reports.push({ ...report }) })
    assert.ok(reports.length > 10)
    assert.ok(reports.every(({ total }) => total === 12_000_040))
    assert.ok(
      reports.every(({ done }, index) => done >= (reports[index - 1]?.done ?? 0)),
      'never backwards',
    )
    assert.deepEqual(reports.at(-1), { done: 12_000_040, total: 12_000_040, label: 'v' })
    const stop = new AbortController()
    await assert.rejects(
      compare('progress-a.pth', 'progress-b.pth', { signal: stop.signal, progress: () => stop.abort() }),
      { code: 'ERR_ABORTED' },
    )
  })
})

/** Compares figures by name: whole numbers and maxima exactly, sums to 1e-12. */
function assertNear(actual: readonly { name: string; figures: object | null }[], expected: unknown): void {
  const ours = new Map(actual.map(({ name, figures }) => [name, figures as Record<string, number | null>]))
  const theirs = expected as Record<string, Record<string, number | null>>
  assert.deepEqual([...ours.keys()].sort(), Object.keys(theirs).sort())
  for (const [name, figures] of Object.entries(theirs)) {
    for (const [figure, value] of Object.entries(figures)) {
      const found = ours.get(name)?.[figure]
      const summed = ['meanAbs', 'relativeNorm', 'cosine'].includes(figure)
      if (!summed || typeof value !== 'number') assert.equal(found, value, `${name} ${figure}`)
      else
        assert.ok(
          Math.abs((found ?? NaN) - value) <= 1e-12 * Math.abs(value),
          `${name} ${figure}: ${found} instead of ${value}`,
        )
    }
  }
}
