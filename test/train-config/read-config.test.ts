import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TorchkeepError } from '../../src/format/errors.js'
import { readTrainConfig } from '../../src/train-config/read-config.js'

const small = `
model: {name: mlp}
data:
  format: csv
  file: table.csv
  columns: {x: {role: number}, y: {role: number}}
  target: y
  split: {by: fraction, val: 0.2}
loss: mse
metrics: [rmse]
phases:
  - {name: one, epochs: 2, lr: 1e-3}
`

describe('a configuration of train', () => {
  let folder: string
  let file: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-config-'))
    file = join(folder, 'train.yaml')
    writeFileSync(join(folder, 'table.csv'), 'x,y\n1,2\n')
    writeFileSync(join(folder, 'own.mjs'), 'export const within = () => 1')
  })
  after(() => rmSync(folder, { recursive: true }))

  const read = (text: string, ...changes: string[]) => {
    writeFileSync(file, text)
    return readTrainConfig(file, changes)
  }
  /** The mistakes, without what comes before the line number, and the suggestions. */
  const mistakes = async (
    text: string,
    ...changes: string[]
  ): Promise<{ lines: string[]; suggestions: readonly string[] }> => {
    try {
      await read(text, ...changes)
    } catch (error) {
      assert.ok(error instanceof TorchkeepError, String(error))
      assert.equal(error.code, 'ERR_INVALID_ARGUMENT')
      const lines = error.message.replaceAll(`${file}:`, '').split('\n').slice(1)
      return { lines: lines.map((line) => line.trim()), suggestions: error.suggestions }
    }
    return assert.fail('the configuration was taken')
  }

  it('becomes the training configuration of a checkpoint, through the same table of names', async () => {
    const text = `${small.trim()}
    groups: [{params: ['0.*'], lr: 1, weight_decay: 0}]
    early_stopping: {patience: 3, min_delta_mode: rel}
    scheduler: {name: CosineAnnealingLR, T_max: 4}
optimizer: {name: AdamW, betas: [0.8, 0.9]}
clip_grad_norm: 1
`.replace('- {name: one, epochs: 2, lr: 1e-3}', '- name: one\n    steps: 7\n    lr: 1e-3')
    const { trainingConfig } = await read(text)
    assert.deepEqual(trainingConfig, {
      loss: 'mse',
      metrics: ['rmse'],
      optimizer: { name: 'AdamW', betas: [0.8, 0.9] },
      clipGradNorm: 1,
      phases: [
        {
          name: 'one',
          steps: 7,
          lr: 0.001,
          groups: [{ params: ['0.*'], lr: 1, weightDecay: 0 }],
          earlyStopping: { patience: 3, minDeltaMode: 'rel' },
          scheduler: { name: 'CosineAnnealingLR', tMax: 4 },
        },
      ],
    })
  })

  it('resolves paths from the folder of the file', async () => {
    const config = await read(`${small}checkpoint_dir: runs/a`)
    assert.equal(config.resolve('table.csv'), join(folder, 'table.csv'))
    assert.equal(config.checkpointDir, join(folder, 'runs', 'a'))
    assert.equal(config.resolve('/else/x'), '/else/x')
  })

  it('is JSON as well, tabs and all', async () => {
    const { settings } = await read(small)
    assert.deepEqual((await read(JSON.stringify(settings, null, '\t'))).settings, settings)
  })

  it('tells every mistake at once, each with its line, its path and what may have been meant', async () => {
    const { lines, suggestions } = await mistakes(`modle: {name: mlp}
data:
  format: csv
  file: table.csv
  columns:
    x: {role: numbr}
    y: {role: category, normalise: min_max}
  target: z
  split: {by: fraction, val: 0.2}
loss: mee
metrics: [rmes]
monitor: val_mae
optimizer: {name: SGD, betas: [0.9, 0.99]}
phases:
  - name: one
    epoch: 3
    lr: "0.1"
  - {lr: -1, epochs: 1, steps: 1, name: two}
`)
    assert.deepEqual(lines, [
      '1: model is missing (expected keys and values)',
      '1: modle is not known here',
      '6: data.columns.x.role should be one of number, category, text, ignore, but is the text "numbr"',
      '7: data.columns.y.normalise is not known here (known: role, values, unknown, missing, column)',
      '8: data.target should be a column of data.columns (x, y), but is "z"',
      '10: loss should be one of mse, l1, cross_entropy, bce_with_logits, but is the text "mee"',
      '11: metrics[0] should be one of mse, rmse, mae, r2, pearson, spearman, concordance_index, accuracy, macro_f1, auroc, aupr, but is "rmes"',
      '12: monitor should be what the run computes (train_loss, val_loss, val_rmes), but is "val_mae"',
      '13: optimizer.betas is not known here (known: name, momentum, dampening, nesterov, weight_decay, maximize, fused)',
      '15: phases[0] should have either epochs or steps, but has neither',
      '16: phases[0].epoch is not known here',
      '17: phases[0].lr should be a number, but is the text "0.1"',
      '18: phases[1].lr should be a number of more than 0, but is -1',
      '18: phases[1] should have either epochs or steps, but has both',
    ])
    for (const meant of ['modle -> mode or model', 'numbr -> number', 'mee -> mse', 'rmes -> rmse', 'epoch -> epochs'])
      assert.ok(suggestions.includes(meant), `${meant} is not in ${suggestions.join('; ')}`)
  })

  it('takes keys in a scheduler inside another one as seriously', async () => {
    const { lines } = await mistakes(
      small,
      'scheduler={name: SequentialLR, schedulers: [{name: StepLR, stepsize: 3}, {name: Foo}], milestones: [1]}',
    )
    assert.deepEqual(
      lines.map((line) => line.replace(/ \(.*| should.*/, '')),
      [
        '--set scheduler: scheduler.schedulers[0].step_size is missing',
        '--set scheduler: scheduler.schedulers[0].stepsize is not known here',
        '--set scheduler: scheduler.schedulers[1].name',
      ],
    )
  })

  it('misses files that are not there before anything is read', async () => {
    const { lines } = await mistakes(
      small,
      'model={file: model.ts}',
      'data.file=tabel.csv',
      'loss.file=loss.ts',
      'data.columns.x={role: text, length: 3, alphabet: {file: letters.json}}',
    )
    assert.deepEqual(
      lines.map((line) => line.replace(/, but.*/, '')),
      [
        '--set model: model.file names model.ts',
        '--set loss.file: loss.file names loss.ts',
        '--set data.file: data.file names tabel.csv',
        '--set data.columns.x: data.columns.x.alphabet.file names letters.json',
      ],
    )
  })

  it('does not monitor a validation that there is not', async () => {
    const { lines } = await mistakes(small, 'data.split={by: fraction, test: 0.1}', 'monitor=val_loss')
    assert.deepEqual(lines, ['--set monitor: monitor should be what the run computes (train_loss), but is "val_loss"'])
  })

  it('calls a metric of a module by the name of its export', async () => {
    const { trainingConfig } = await read(
      small,
      'metrics=[rmse, {file: own.mjs, export: within}]',
      'monitor=val_within',
    )
    assert.deepEqual(trainingConfig.metrics, ['rmse', 'within'])
  })

  it('has values set from outside: by dotted path, with indices, as YAML, the last one of several', async () => {
    const { settings } = await read(
      small,
      'phases[0].lr=0.5',
      'phases.0.name=two words',
      'seed=1',
      'seed=2',
      'model.hidden=[8, 4]',
    )
    assert.deepEqual(settings.phases, [{ name: 'two words', epochs: 2, lr: 0.5 }])
    assert.deepEqual([settings.seed, settings.model], [2, { name: 'mlp', hidden: [8, 4] }])
    const longer = await read(small, 'phases[1]={name: more, epochs: 1, lr: 1e-5}', 'logs.tensorboard=true')
    assert.deepEqual(
      longer.settings.phases.map(({ name }) => name),
      ['one', 'more'],
    )
    assert.deepEqual(longer.settings.logs, { tensorboard: true })
  })

  it('refuses what cannot be set', async () => {
    for (const [change, message] of [
      ['seed', /--set seed: expected KEY=VALUE/],
      ['=1', /--set =1: expected KEY=VALUE/],
      ['phases[2].lr=1', /a list of 1 where '2' is looked up/],
      ['phases.first=1', /a list of 1 where 'first' is looked up/],
      ['a b=1', /the key should be names and indices/],
      ['seed=[1', /the value is not YAML/],
      ['__proto__.x=1', /__proto__ is not known here/],
    ] as const)
      await assert.rejects(
        read(small, change),
        (error: TorchkeepError) => error.code === 'ERR_INVALID_ARGUMENT' && message.test(error.message),
        change,
      )
    assert.equal(({} as { x?: number }).x, undefined)
  })

  it('says where YAML is wrong, twice the same key included', async () => {
    await assert.rejects(read(`${small}seed: 1\nseed: 2\nlogs: [`), (error: TorchkeepError) => {
      assert.match(error.message, /train\.yaml cannot be parsed:\n/)
      assert.match(error.message, /train\.yaml:14: Map keys must be unique/)
      return true
    })
  })

  it('refuses aliases that would fill the memory', async () => {
    const bomb = [
      'a: &a [1,1,1,1,1,1,1,1,1,1]',
      ...Array.from('bcdefghij', (letter, index) => {
        const above = `*${'abcdefghij'[index]}`
        return `${letter}: &${letter} [${Array.from({ length: 10 }, () => above).join(',')}]`
      }),
    ]
    await assert.rejects(read(bomb.join('\n')), /alias/i)
  })

  it('names a file that is not there, a folder, and one that holds something else', async () => {
    await assert.rejects(readTrainConfig(join(folder, 'none.yaml')), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /there is no file .*none\.yaml/,
    })
    mkdirSync(join(folder, 'dir.yaml'))
    await assert.rejects(readTrainConfig(join(folder, 'dir.yaml')), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /cannot be read/,
    })
    for (const text of ['', 'just words', '[1, 2]', '\u0000'])
      await assert.rejects(
        read(text),
        (error: TorchkeepError) => error.code === 'ERR_INVALID_ARGUMENT',
        JSON.stringify(text),
      )
  })
})
