import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  CheckpointValidator,
  describeCheckpoint,
  readMetadata,
  type InspectedTensor,
  type Inspection,
} from '../../src/checkpoint/index.js'
import { forgeSafetensors } from '../format/container-forge.js'
import { began, checkpointValue, flipByte, float32, writeCheckpointFolder, writeValue } from './checkpoints.js'
import { runCommand } from './run-command.js'
import { checkedJson } from './schema.js'
import { matchSnapshot } from './snapshot.js'

describe('inspect', () => {
  let folder: string
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-inspect-'))
    await writeCheckpointFolder(folder)
  })
  after(() => rmSync(folder, { recursive: true }))

  const run = (...args: string[]) => runCommand(['inspect', '--checkpoint-dir', folder, ...args])
  const inspect = async (...args: string[]): Promise<Inspection> => {
    const { stdout, stderr, status } = await run(...args, '--json')
    assert.equal(status, 0, stderr + stdout)
    return checkedJson('inspect', stdout) as Inspection
  }
  const failure = async (...args: string[]) => {
    const { stdout, status } = await run(...args, '--json')
    const { error } = checkedJson('inspect', stdout) as {
      error: { code: string; message: string; suggestions: string[] }
    }
    return { status, ...error }
  }

  it('prints the contents with Python types, optimizer, config, history, globals', async () => {
    const { stdout, stderr, status } = await run('latest', '--depth', '3')
    assert.deepEqual([status, stderr], [0, ''])
    matchSnapshot('inspect', stdout, [[folder, '<folder>']])
  })

  it('prints the tensors with figures and a histogram, and what shares a storage', async () => {
    const { stdout, status } = await run('latest', '--stats')
    assert.equal(status, 0)
    matchSnapshot('inspect-tensors', stdout, [[folder, '<folder>']])
  })

  it('takes latest, best, paths and names of best/ and regular/', async () => {
    assert.equal((await inspect('latest')).epoch, 10)
    assert.equal((await inspect('best')).epoch, 2)
    assert.equal((await inspect('best_model_epoch_2_phase_1.pth')).epoch, 2)
    assert.equal((await inspect(`checkpoint_epoch_1_phase_1_${began}.pth`)).epoch, 1)
    assert.equal((await inspect(join(folder, 'backups', `backup_${began + 700}_latest.pth`))).epoch, 9)
  })

  it('gives numbers, tensors, optimizer and globals to programs', async () => {
    const { kind, layout, numParameters, tensors, optimizer, globals, weightsOnly, container, history, config } =
      await inspect('latest', '--tensors', '--stats')
    assert.deepEqual([kind, layout, numParameters], ['training_checkpoint', 'L10', 8])
    const weight = tensors?.find(({ name }) => name === 'model_state_dict.first.weight') as InspectedTensor
    assert.deepEqual(
      [weight.dtype, weight.shape, weight.strides, weight.sizeBytes, weight.sharedWith],
      ['float32', [2, 3], [3, 1], 24, ['model_state_dict.second.weight']],
    )
    const { min, max, mean, zeros, nan, count, histogram } = weight.statistics as NonNullable<
      InspectedTensor['statistics']
    >
    assert.deepEqual([min, max, mean, zeros, nan, count], [-5, 4, 5 / 6, 1, 0, 6])
    assert.deepEqual(
      [histogram.length, histogram.reduce((sum, part) => sum + part), histogram[0], histogram.at(-1)],
      [16, 6, 1, 1],
    )
    assert.deepEqual([optimizer?.name, optimizer?.states, optimizer?.steps], ['AdamW', 2, { least: 100, most: 100 }])
    assert.deepEqual(optimizer?.groups[0]?.options['betas'], [0.9, 0.999])
    assert.deepEqual(
      globals.map(({ weightsOnly: safe }) => safe),
      globals.map(() => true),
    )
    assert.equal(weightsOnly, true)
    assert.deepEqual(
      [container.format, container.protection, container.alignmentBytes !== null],
      ['torch_zip', 'crc32', true],
    )
    assert.deepEqual(
      history?.map((row) => row['epoch']),
      [9, 10],
    )
    assert.deepEqual(config, { hidden: 3, dropout: 0.1, layers: ['first', 'second'] })
  })

  it('counts NaN and infinite values and takes the finite ones for the figures', async () => {
    const value = new Map([
      ['w', float32([6], [NaN, Infinity, -Infinity, 0, 1, 2])],
      ['none', float32([0], [])],
      ['bad', float32([2], [NaN, NaN])],
    ])
    const path = await writeValue(join(folder, 'odd', 'odd.pth'), value)
    const { tensors } = await inspect(path, '--stats')
    const [w, none, bad] = (tensors ?? []).map(({ statistics }) => statistics)
    assert.deepEqual(
      { ...w, histogram: w?.histogram.filter((part) => part > 0) },
      {
        count: 6,
        min: 0,
        max: 2,
        mean: 1,
        std: Math.sqrt(2 / 3),
        zeros: 1,
        nan: 1,
        positiveInfinite: 1,
        negativeInfinite: 1,
        histogram: [1, 1, 1],
      },
    )
    assert.deepEqual([none?.count, none?.min, none?.histogram], [0, null, []])
    assert.deepEqual([bad?.nan, bad?.mean], [2, null])
  })

  it('tells the files of a sharded checkpoint, and the size of all of them together', async () => {
    const shard = (name: string) =>
      forgeSafetensors(JSON.stringify({ [name]: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }), Buffer.alloc(4))
    const index = JSON.stringify({
      metadata: { total_size: 8 },
      weight_map: { a: '1.safetensors', b: '2.safetensors' },
    })
    const shards = join(folder, 'shards')
    mkdirSync(shards)
    writeFileSync(join(shards, '1.safetensors'), shard('a'))
    writeFileSync(join(shards, '2.safetensors'), shard('b'))
    writeFileSync(join(shards, 'model.safetensors.index.json'), index)
    const path = join(shards, 'model.safetensors.index.json')
    const { container } = await inspect(path)
    const total = index.length + 2 * shard('a').length
    assert.equal(container.sizeBytes, total)
    const facts = { container: 'safetensors', sizeBytes: shard('a').length, tensors: 1 }
    assert.deepEqual(container.details, {
      metadata: { total_size: 8 },
      shards: [
        { name: '1.safetensors', ...facts },
        { name: '2.safetensors', ...facts },
      ],
    })
    const { fileInfo } = await CheckpointValidator.validateCheckpointFile(path)
    const [{ sizeBytes }, { fileSizeMb }] = await Promise.all([describeCheckpoint(path), readMetadata(path)])
    assert.deepEqual([fileInfo.sizeBytes, sizeBytes, fileSizeMb * 2 ** 20], [total, total, total])
  })

  it('shows as many levels as are asked for', async () => {
    const top = await inspect('latest', '--depth', '0')
    assert.deepEqual([top.contents.type, top.contents.size, top.contents.children], ['dict', 10, null])
    const deep = await inspect('latest', '--depth', '9')
    const state = deep.contents.children?.find(({ key }) => key === 'training_state')
    const rows = state?.children?.find(({ key }) => key === 'metrics_history')?.children
    assert.deepEqual(
      rows?.[0]?.children?.map(({ key, type }) => `${key}: ${type}`),
      ['epoch: int', 'phase: int', 'train_loss: float', 'val_loss: float', 'val_accuracy: float'],
    )
  })

  it('ends with a value that contains itself and names what was shown before', async () => {
    const shared = new Map<string, unknown>([['a', 1]])
    const value = new Map<string, unknown>([
      ['one', shared],
      ['two', shared],
    ])
    value.set('itself', value)
    const { contents } = await inspect(await writeValue(join(folder, 'odd', 'cycle.pth'), value), '--depth', '50')
    assert.deepEqual(
      contents.children?.map(({ key, sameAs }) => [key, sameAs]),
      [
        ['one', null],
        ['two', 'one'],
        ['itself', ''],
      ],
    )
  })

  it('filters tensors by name, and names some where none matches', async () => {
    const names = async (filter: string) =>
      (await inspect('latest', '--filter', filter)).tensors?.map(({ name }) => name)
    assert.deepEqual(await names('*.bias'), ['model_state_dict.first.bias'])
    assert.deepEqual(await names('second'), ['model_state_dict.second.weight'])
    assert.deepEqual(await names('*state.?.exp_avg'), [
      'optimizer_state_dict.state.0.exp_avg',
      'optimizer_state_dict.state.1.exp_avg',
    ])
    const { status, code, message } = await failure('latest', '--filter', '*.gamma')
    assert.deepEqual([status, code], [2, 'ERR_INVALID_ARGUMENT'])
    assert.match(message, /no tensor matches '\*\.gamma'; there are 9, such as model_state_dict\.first\.weight/)
  })

  it('suggests near names for a mistyped path', async () => {
    const { status, code, message, suggestions } = await failure(join(folder, 'latset.pth'))
    assert.deepEqual([status, code], [3, 'ERR_CHECKPOINT_MISSING'])
    assert.match(message, /looked for .*latset\.pth/)
    assert.equal(suggestions[0], join(folder, 'latest.pth'))
    const bare = await failure('best_model_epoch_3_phase_1.pth')
    assert.deepEqual(bare.suggestions, [join(folder, 'best', 'best_model_epoch_2_phase_1.pth')])
  })

  it('lets no control character of a name through, not even in an error', async () => {
    const path = join(folder, 'odd', 'checkpoint_of_nobody\x1b[8m.pth')
    await writeValue(
      path,
      checkpointValue({ epoch: 1, phase: 1, valLoss: 1, timestamp: began, weight: [1, 2, 3, 4, 5, 6] }),
    )
    const { status, stderr } = await runCommand(['inspect', join(folder, 'odd', 'checkpoint_of_nobody.pth')])
    assert.equal(status, 3)
    assert.ok(stderr.includes('checkpoint_of_nobody\\x1b[8m.pth'), stderr)
    assert.ok(!stderr.includes('\x1b[8m'))
  })

  it('names the damaged record when a byte of a tensor was changed', async () => {
    const path = await writeValue(
      join(folder, 'odd', 'flipped.pth'),
      checkpointValue({ epoch: 1, phase: 1, valLoss: 1, timestamp: began, weight: [7, 7, 7, 7, 7, 7] }),
    )
    flipByte(path, new Uint8Array(new Float32Array([7, 7, 7, 7, 7, 7]).buffer))
    assert.equal((await inspect(path)).epoch, 1)
    const { status, code, message } = await failure(path, '--stats')
    assert.deepEqual([status, code], [3, 'ERR_CHECKPOINT_CORRUPT'])
    assert.match(message, /data\/\d+/)
  })

  it('refuses a file of no known format', async () => {
    const path = join(folder, 'odd', 'text.pth')
    writeFileSync(path, 'hello\n')
    const { status, code } = await failure(path)
    assert.deepEqual([status, code], [3, 'ERR_CHECKPOINT_CORRUPT'])
  })
})
