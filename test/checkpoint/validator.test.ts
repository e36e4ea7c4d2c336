/** Verdicts: what is found of keys, values, optimizer and labels, with the very words. */
import assert from 'node:assert/strict'
import { symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CheckpointValidator, type Layout } from '../../src/checkpoint/index.js'
import { OrderedDict, TensorRecord } from '../../src/format/index.js'
import { ints, op, pickle, storage, tensor, torchFile, withFolder } from '../format/fixtures.js'
import { adam, checkpoint, dict, fileOf, float32, judge, row, stateDict, texts, zeros } from './judged.js'

const found = async (value: unknown, name?: string): Promise<string[]> => texts(await judge(value, {}, name))
const { NaN: nan, POSITIVE_INFINITY: inf } = Number

describe('validator', () => {
  it('finds nothing in a sound checkpoint', async () => {
    const report = await judge(checkpoint())
    assert.deepEqual(texts(report), [])
    assert.equal(report.valid, true)
    assert.deepEqual([report.kind, report.layout], ['training_checkpoint', 'L1'])
    assert.deepEqual(report.metadata, {
      version: '1.0',
      epoch: 2,
      phase: 1,
      validationLoss: 0.25,
      isBest: true,
      timestamp: 1_760_000_000,
      numParameters: 6 + 3 + 3 + 3 + 3,
      configKeys: ['hidden'],
    })
    assert.equal(report.fileInfo.sizeMb, report.fileInfo.sizeBytes / 1024 ** 2)
  })

  describe('of keys', () => {
    const old = (...keys: string[]) => keys.map((key) => `key.missing: Missing required key: ${key}`)
    const advised = ['training_state', 'validation_loss', 'timestamp'].map(
      (key) => `key.recommended: Missing recommended key: ${key}`,
    )

    const demands: [Layout | null, Record<string, unknown>, string[]][] = [
      [null, { model_state_dict: stateDict() }, ['config', 'epoch']],
      ['L1', checkpoint({ config: undefined, epoch: undefined }) as never, ['config', 'epoch']],
      ['L2', { model_state: stateDict(), training_state: dict({}) }, ['config', 'epoch']],
      ['L3', { model_state_dict: stateDict(), loss: 0.5 }, ['optimizer_state_dict', 'epoch']],
      ['L4', { model_state_dict: stateDict(), metrics: dict({}) }, ['optimizer_state_dict', 'epoch']],
      ['L5', { model_state_dict: stateDict(), model_config: dict({}) }, ['optimizer_state_dict', 'epoch']],
      ['L6', { model_state_dict: stateDict(), val_losses: [] }, ['optimizer_state_dict', 'epoch']],
      ['L8', { model_state_dict: stateDict(), export_type: 'inference' }, ['config']],
      ['L9', { config: dict({}), export_type: 'shared' }, ['model_state_dict', 'epoch']],
      ['L10', { version: '2.0', model_state_dict: stateDict() }, ['config', 'epoch']],
    ]
    for (const [layout, value, missing] of demands) {
      it(`demand what ${layout ?? 'a damaged training checkpoint'} must have`, async () => {
        const report = await judge(value instanceof Map ? value : dict(value))
        assert.equal(report.layout, layout)
        assert.deepEqual(
          report.errors.map(({ id, message }) => `${id}: ${message}`),
          old(...missing),
        )
      })
    }

    it('demand the configuration of a notebook only where it says model_config', async () => {
      const value = { epoch: 1, model_state_dict: stateDict(), optimizer_state_dict: adam(), model_config: 3 }
      assert.deepEqual(await found(dict(value)), ['key.type: config is not a dictionary', ...advised])
    })

    it("advise in the older system's words", async () => {
      const value = checkpoint({ training_state: undefined, validation_loss: undefined, timestamp: undefined })
      assert.deepEqual(await found(value), advised)
      assert.equal((await judge(value)).valid, true)
      assert.equal((await judge(value, { strict: true })).valid, false)
    })

    it('are of the right type', async () => {
      const wrong = (changes: Record<string, unknown>) =>
        found(checkpoint({ optimizer_state_dict: undefined, ...changes }))
      assert.deepEqual(await wrong({ model_state_dict: 3 }), ['key.type: model_state_dict is not a dictionary'])
      assert.deepEqual(await wrong({ model_state_dict: new Map() }), ['key.type: model_state_dict is empty'])
      assert.deepEqual(await wrong({ config: [1] }), ['key.type: config is not a dictionary'])
      assert.deepEqual(await wrong({ optimizer_state_dict: 'none' }), [
        'key.type: optimizer_state_dict is not a dictionary',
      ])
    })

    it('of a state dict hold tensors', async () => {
      const model = stateDict({ 'first.scale': 3, 'first._extra_state': dict({}) })
      assert.deepEqual(await found(checkpoint({ model_state_dict: model })), [
        'key.not_tensor: Parameter first.scale is not a tensor',
      ])
    })

    it('that are not known are named', async () => {
      assert.deepEqual(await found(checkpoint({ my_notes: 'x' })), ['key.unknown: Unknown key: my_notes'])
    })

    it('of a later version are not judged, but that is said', async () => {
      const report = await judge(checkpoint({ version: '4.2', brand_new: 1 }))
      assert.deepEqual(texts(report), [
        'version.newer: version 4.2 is later than this Torchkeep knows: what is not understood is not judged',
      ])
      assert.equal(report.metadata.version, '4.2')
    })

    it('of our own files follow the schema', async () => {
      const report = await judge(checkpoint({ format: 'torchkeep', version: '3.0' }))
      assert.equal(report.layout, 'torchkeep')
      assert.deepEqual(texts(report), ['key.missing: training_state.phase_epochs_done is missing'])
    })

    it('of a recovered file say so, and the schema is then advice', async () => {
      const recovery = dict({ source: 'x.pth', lost: ['first.bias'], damaged: [], repaired: ['a', 'b'] })
      const value = checkpoint({ format: 'torchkeep', version: '3.0', metadata: dict({ recovery }) })
      assert.deepEqual(await found(value), [
        'checkpoint.recovered: the file was recovered from a damaged one: 1 lost, 2 repaired',
        'key.recommended: training_state.phase_epochs_done is missing',
      ])
    })
  })

  describe('of values', () => {
    it('counts what is not finite in every tensor, with first places', async () => {
      const model = stateDict({
        'first.weight': float32([3, 2], 1, 2, nan, inf, -inf, 3),
        'norm.running_mean': float32([3], 0, nan, inf),
        'norm.running_var': float32([3], inf, 1, 1),
        'last.weight': float32([1, 3], nan),
        'decoder.attn_mask': float32([2, 2], 0, -inf, 0, 0),
      })
      const optimizer = adam({ 4: { exp_avg_sq: float32([1, 3], 0, 0, inf) } })
      assert.deepEqual(await found(checkpoint({ model_state_dict: model, optimizer_state_dict: optimizer })), [
        'tensor.nonfinite: parameter first.weight, float32 [3, 2]: 1 NaN and 2 infinite of 6 values, first at [1, 0]',
        'tensor.nan_buffer: buffer norm.running_mean, float32 [3]: 1 NaN and 1 infinite of 3 values, first at [1]',
        'tensor.nonfinite: parameter last.weight, float32 [1, 3]: 3 NaN of 3 values, first at [0, 0]',
        'tensor.nonfinite: optimizer moment state[4].exp_avg_sq, float32 [1, 3]: 1 infinite of 3 values, first at [0, 2]',
        'tensor.infinite_buffer: buffer norm.running_var, float32 [3]: 1 infinite of 3 values, first at [0]',
        'tensor.infinite_buffer: buffer decoder.attn_mask, float32 [2, 2]: 1 infinite of 4 values, first at [0, 1]',
      ])
    })

    it('lists every one of many tensors', async () => {
      const many = new OrderedDict(
        Array.from({ length: 300 }, (_none, index) => [`layer${index}.weight`, float32([2], nan)]),
      )
      const report = await judge(many)
      assert.equal(report.errors.length, 300)
      assert.deepEqual(report.errors.at(-1)?.subject, 'layer299.weight')
    })

    it('names the aliases of a tensor instead of counting it again', async () => {
      const shared = float32([2], nan, 1)
      assert.deepEqual(
        await found(
          new OrderedDict([
            ['a.weight', shared],
            ['b.weight', shared],
          ]),
        ),
        ['tensor.nonfinite: parameter a.weight (also named b.weight), float32 [2]: 1 NaN of 2 values, first at [0]'],
      )
    })

    it('looks between no strides: a NaN in a gap of a view is none of its', async () => {
      const base = float32([6], 1, nan, 2, nan, 3, nan)
      const every = (offset: number) =>
        new TensorRecord({ storage: base.storage, dtype: 'float32', sizes: [3], strides: [2], storageOffset: offset })
      assert.deepEqual(await found(new OrderedDict([['w', every(0)]])), [])
      assert.deepEqual(await found(new OrderedDict([['w', every(1)]])), [
        'tensor.nonfinite: parameter w, float32 [3]: 3 NaN of 3 values, first at [0]',
      ])
    })

    it('takes parameters and buffers as phase_state tells them', async () => {
      const model = new OrderedDict([
        ['w', float32([2], inf)],
        ['table', float32([2], inf)],
      ])
      const phase = dict({ groups: [['w']], frozen: [] })
      const value = checkpoint({ model_state_dict: model, optimizer_state_dict: undefined, phase_state: phase })
      assert.deepEqual(
        (await judge(value)).errors.map(({ subject }) => subject),
        ['w'],
      )
      assert.deepEqual(
        (await judge(value)).warnings.map(({ subject }) => subject),
        ['table'],
      )
    })

    it('looks into other state dicts of a file, and leaves other tensors alone', async () => {
      const value = checkpoint({
        ema_state_dict: stateDict({ 'first.bias': float32([3], nan) }),
        seed: float32([2], nan),
      })
      assert.deepEqual(await found(value), [
        'tensor.nonfinite: parameter ema_state_dict.first.bias, float32 [3]: 3 NaN of 3 values, first at [0]',
      ])
    })

    it('is left out at the level of structure', async () => {
      const report = await judge(stateDict({ 'first.bias': float32([3], nan) }), { level: 'structure' })
      assert.deepEqual(texts(report), [])
    })

    it('finds storages far larger than what views them', async () => {
      const slice = (sizes: string) =>
        pickle(op.dict, op.str('w'), tensor(storage('0', 40_000), 8, sizes, ints(1)), op.setitem)
      const bytes = new Uint8Array(160_000)
      assert.deepEqual(await found(torchFile(slice(ints(2)), { 0: bytes })), [
        'tensor.wasteful_view: w keeps a storage of 160000 bytes alive, of which its tensors use 8',
      ])
      assert.deepEqual(await found(torchFile(slice(ints(20_000)), { 0: bytes })), [])
    })
  })

  describe('of the optimizer', () => {
    const of = async (optimizer: unknown, model = stateDict()): Promise<string[]> =>
      found(checkpoint({ optimizer_state_dict: optimizer, model_state_dict: model }))
    const mismatch = (text: string): string => `optimizer.mismatch: ${text}`
    const unusual = (text: string): string => `optimizer.unusual: ${text}`

    it('compares counts with the parameters, aliases and buffers left out', async () => {
      assert.deepEqual(await of(adam({}, [0, 1, 2, 3, 4, 5, 6, 7, 8])), [
        mismatch('the optimizer has 9 parameters, the model 7 (aliases once)'),
      ])
      const shared = float32([1, 3], 1)
      const tied = stateDict({ 'last.weight': shared, 'tied.weight': shared })
      assert.deepEqual(await of(adam(), tied), [])
    })

    it('compares shapes of moments with those of the parameters', async () => {
      const wide = { exp_avg: float32([4], 1), exp_avg_sq: float32([4], 1) }
      assert.deepEqual(await of(adam({ 1: wide })), [
        mismatch('parameter 1 (first.bias): exp_avg has shape [4], the parameter has [3]'),
      ])
      assert.deepEqual(await of(adam({ 1: { exp_avg_sq: float32([4], 1) } })), [
        mismatch('parameter 1: exp_avg_sq has shape [4], exp_avg has [3]'),
      ])
    })

    it('knows parameters by name where the file has names', async () => {
      const optimizer = adam()
      const [group] = optimizer.get('param_groups') as Map<string, unknown>[]
      group?.set('param_names', ['first.weight', 'first.bias', 'norm.weight', 'gone', 'last.weight'])
      assert.deepEqual(await of(optimizer), [mismatch("the optimizer's parameter 3 is gone, which the model has not")])
    })

    it('takes another order of the parameters for possible', async () => {
      const first = { exp_avg: float32([1, 3], 1), exp_avg_sq: float32([1, 3], 1) }
      const last = { exp_avg: float32([3, 2], 1), exp_avg_sq: float32([3, 2], 1) }
      assert.deepEqual(await of(adam({ 0: first, 4: last })), [
        unusual("the optimizer's moments fit the model's parameters in another order only"),
      ])
    })

    it('finds indices that no group lists, and those that are listed twice', async () => {
      assert.deepEqual(await of(adam({}, [0, 1, 2, 3])), [
        mismatch('the state has an entry for parameter 4, but param_groups list 4 parameters, 0 to 3'),
      ])
      assert.deepEqual(await of(adam({}, [0, 1, 2, 3, 4, 4])), [mismatch('param_groups list the parameter 4 twice')])
    })

    it('looks at the step', async () => {
      const step = (value: unknown) => of(adam({ 0: { step: value } }))
      assert.deepEqual(await step(zeros('bfloat16', [], 2)), [
        mismatch('parameter 0: step is a bfloat16 tensor of shape [], expected a float32 scalar'),
      ])
      assert.deepEqual(await step(float32([2], 1)), [
        mismatch('parameter 0: step is a float32 tensor of shape [2], expected a float32 scalar'),
      ])
      assert.deepEqual(await step('many'), [mismatch('parameter 0: step is neither a tensor nor a number')])
      assert.deepEqual(await step(10), [])
      assert.deepEqual(await step(zeros('int64', [], 8)), [
        unusual('parameter 0: step is a int64 tensor of shape [], expected a float32 scalar'),
      ])
    })

    it('compares dtypes of moments', async () => {
      const half = { exp_avg: zeros('float16', [3], 2), exp_avg_sq: zeros('float16', [3], 2) }
      assert.deepEqual(await of(adam({ 1: half })), [
        unusual('parameter 1 (first.bias): exp_avg is float16, the parameter is float32'),
      ])
    })

    it('is satisfied with fewer parameters than the model has, as long as the shapes fit', async () => {
      const some = adam({}, [0, 1, 2, 3, 4])
      const wider = stateDict({ 'head.weight': float32([9, 9], 1) })
      assert.deepEqual(await of(some, wider), [])
      const odd = adam({ 4: { exp_avg: float32([7], 1), exp_avg_sq: float32([7], 1) } })
      assert.deepEqual(await of(odd, wider), [
        mismatch('parameter 4: exp_avg has shape [7], and no parameter of the model is left for it'),
      ])
    })

    it('says what is not there', async () => {
      assert.deepEqual(await of(new Map()), [
        unusual("optimizer_state_dict is empty: PyTorch's load_state_dict refuses it"),
      ])
      assert.deepEqual(await of(dict({ param_groups: [] })), [
        unusual("optimizer_state_dict has no state: PyTorch's load_state_dict refuses it"),
      ])
      assert.deepEqual(await of(dict({ state: new Map([[0, dict({})]]) })), [
        mismatch("optimizer_state_dict has no param_groups: PyTorch's load_state_dict refuses it"),
      ])
      const stepless = adam()
      ;(stepless.get('state') as Map<number, Map<string, unknown>>).get(2)?.delete('step')
      assert.deepEqual(await of(stepless), [mismatch('parameter 2: step is missing beside exp_avg')])
    })
  })

  describe('of labels', () => {
    const labels = async (changes: Record<string, unknown>, name?: string): Promise<string[]> =>
      (await found(checkpoint(changes), name)).map((text) => text.replace(/^label\.mismatch: /, ''))
    const state = (changes: Record<string, unknown>): Map<string, unknown> =>
      new Map([...(checkpoint().get('training_state') as Map<string, unknown>), ...Object.entries(changes)])

    it('finds a best that is not', async () => {
      const history = [row(1, 0.125), row(2, 0.25)]
      assert.deepEqual(await labels({ training_state: state({ metrics_history: history, best_val_loss: 0.125 }) }), [
        'is_best is true with a validation loss of 0.25, but epoch 1 had 0.125',
      ])
      const best = dict({ monitor: 'val_accuracy', mode: 'max', score: 0.9, epoch: 1, phase: 1 })
      assert.deepEqual(await labels({ training_state: state({ best }) }), [
        'is_best is true for epoch 2, but training_state.best is epoch 1',
      ])
    })

    it('compares epoch, phase and loss with the history', async () => {
      assert.deepEqual(await labels({ epoch: 7, is_best: false }), [
        'epoch is 7, but training_state.current_epoch is 2',
        'epoch is 7, but the history ends at epoch 2',
      ])
      assert.deepEqual(await labels({ phase: 2 }), ['phase is 2, but training_state.current_phase is 1'])
      assert.deepEqual(await labels({ validation_loss: 0.1875 }), [
        'validation_loss is 0.1875, but the history says 0.25 for epoch 2',
      ])
      assert.deepEqual(await labels({ validation_loss: Math.fround(0.25) + 1e-9 }), [])
      assert.deepEqual(await labels({ training_state: state({ best_val_loss: 0.5 }) }), [
        'training_state.best_val_loss is 0.5, but epoch 2 had 0.25',
      ])
    })

    it('allows the unfinished epoch of a checkpoint inside it', async () => {
      const inside = { epoch: 3, training_state: state({ current_epoch: 3 }), is_best: false }
      assert.deepEqual(await labels({ ...inside, data_position: dict({}) }), [])
      assert.deepEqual(await labels(inside), ['epoch is 3, but the history ends at epoch 2'])
    })

    it('compares the name of the file', async () => {
      assert.deepEqual(await labels({}, 'checkpoint_epoch_2_phase_1_1760000000.pth'), [])
      assert.deepEqual(await labels({ is_best: false }, 'best_model_epoch_3_phase_1.pth'), [
        'the file name says epoch 3, the file says 2',
        'the file name says best, but is_best is false',
      ])
    })

    it("compares the older system's configuration with its tensors", async () => {
      const model = stateDict({
        'protein_encoder.cnn_branches.0.0.conv.weight': float32([1], 1),
        'drug_encoder.gin_layers.0.w': float32([1], 1),
      })
      const config = dict({ protein_encoder_type: 'esm', drug_encoder_type: 'gin', use_fusion: true })
      assert.deepEqual(await labels({ model_state_dict: model, config, optimizer_state_dict: undefined }), [
        'config.protein_encoder_type is esm, but the tensors are those of cnn',
        'config.use_fusion is true, but the tensors are those of false',
      ])
    })
  })

  describe('of files', () => {
    it('calls an empty file empty', async () => {
      assert.deepEqual(await found(Buffer.alloc(0)), ['file.empty: Checkpoint file is empty'])
    })

    it('says why a file cannot be loaded', async () => {
      const [text, ...others] = await found(Buffer.from('this is no checkpoint'))
      assert.match(text ?? '', /^file\.unrecognized: Failed to load checkpoint: /)
      assert.deepEqual(others, [])
    })

    it('throws for what lies outside the file', async () => {
      await withFolder(async (folder) => {
        const validate = (name: string) => CheckpointValidator.validateCheckpointFile(join(folder, name))
        await assert.rejects(validate('none.pth'), {
          code: 'ERR_CHECKPOINT_MISSING',
          message: /^Checkpoint file not found: /,
        })
        await symlink('loop.pth', join(folder, 'loop.pth'))
        await assert.rejects(validate('loop.pth'), { code: 'ERR_CHECKPOINT_UNREADABLE' })
      })
    })

    it('stops when it is told to', async () => {
      await withFolder(async (folder) => {
        const path = join(folder, 'x.pth')
        await writeFile(path, fileOf(checkpoint()))
        const signal = AbortSignal.abort()
        await assert.rejects(CheckpointValidator.validateCheckpointFile(path, { signal }), { code: 'ERR_ABORTED' })
      })
    })
  })
})
