import { strict as assert } from 'node:assert'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { ModelExporter } from '../../src/export/exporter.js'
import { searchFolder } from '../../src/export/search-folder.js'
import { IdentityWords } from '../../src/export/secrets-words.js'
import type { ExportResult, SharingExportOptions } from '../../src/export/types.js'
import { CheckpointValidator, normalizeCheckpoint } from '../../src/checkpoint/index.js'
import { TorchkeepError } from '../../src/format/errors.js'
import { OrderedDict, readTensorValues, readTorchFile, type TensorRecord } from '../../src/format/index.js'
import { dict, float32 } from '../checkpoint/judged.js'
import { plantedSecrets } from './planted-secrets.js'
import { cleanCheckpoint, plantedCheckpoint, writeCheckpoint } from './sharing-fixture.js'

describe('exportForSharing', () => {
  let folder: string
  before(() => (folder = mkdtempSync(join(tmpdir(), 'torchkeep-sharing-'))))
  after(() => rmSync(folder, { recursive: true }))

  const share = async (value: unknown, options: SharingExportOptions = {}, name = 'net'): Promise<ExportResult> => {
    const work = mkdtempSync(join(folder, 'x'))
    const path = await writeCheckpoint(work, 'checkpoint.pth', value)
    return new ModelExporter({ exportDir: join(work, 'exports') }).exportForSharing(path, name, {
      compress: null,
      ...options,
    })
  }
  const json = (result: ExportResult, name: string): Record<string, unknown> =>
    JSON.parse(readFileSync(join(result.folder, name), 'utf8')) as Record<string, unknown>
  const refused = (work: Promise<unknown>, code: string, ...texts: string[]): Promise<void> =>
    assert.rejects(work, (error: unknown) => {
      assert.ok(error instanceof TorchkeepError, String(error))
      assert.equal(error.code, code)
      for (const text of texts)
        assert.ok(
          `${error.message} ${error.suggestions.join(' ')}`.includes(text),
          `'${text}' is not in '${error.message}'`,
        )
      return true
    })

  it('tells none of the planted secrets, in any byte of the folder or of the unpacked archive', async () => {
    const result = await share(plantedCheckpoint(), {
      formats: ['safetensors', 'pth'],
      includeTrainingState: true,
      compress: 'tar.gz',
      license: 'mit',
    })
    assert.ok(result.removals.length > 200, String(result.removals.length))
    assert.ok(new Set(result.removals.map(({ kind }) => kind)).size >= 40)
    const unpacked = join(folder, 'unpacked')
    mkdirSync(unpacked)
    execFileSync('tar', ['-xzf', result.archive ?? '', '-C', unpacked])
    const planted = [
      ...plantedSecrets.map(({ secret }) => secret),
      'Jane Roe',
      'jroe',
      'rig-number-nine',
      'swordfish',
      'b5c3d2e1f0a94b6c',
      folder,
    ]
    const names = readdirSync(result.folder).sort()
    assert.deepEqual(readdirSync(join(unpacked, basename(result.folder))).sort(), names)
    for (const place of [result.folder, join(unpacked, basename(result.folder))])
      for (const name of names) {
        const bytes = readFileSync(join(place, name))
        for (const secret of planted)
          for (const form of [secret, JSON.stringify(secret).slice(1, -1)])
            assert.equal(bytes.indexOf(form), -1, `${name} has '${secret}'`)
      }
    const report = json(result, 'scrub_report.json')
    assert.deepEqual(report['removals'], result.removals)
    assert.ok(result.removals.every(({ key }) => plantedSecrets.every(({ secret }) => !key.includes(secret))))
  })

  it('is a checkpoint of layout L9 with the same weights, without optimizer and history unless asked for', async () => {
    const result = await share(cleanCheckpoint(), { formats: ['pth', 'safetensors'] })
    assert.deepEqual(result.removals, [])
    assert.deepEqual(
      result.files.map(({ name }) => name),
      [
        'README.md',
        'config.json',
        'metadata.json',
        'model.pth',
        'model.safetensors',
        'scrub_report.json',
        'SHA256SUMS',
      ],
    )
    assert.match(basename(result.folder), /^net_shared_\d+$/)
    const file = await readTorchFile(join(result.folder, 'model.pth'))
    const value = file.value as Map<string, unknown>
    const checkpoint = normalizeCheckpoint(file)
    const { errors, warnings } = await CheckpointValidator.validateCheckpointFile(join(result.folder, 'model.pth'))
    assert.deepEqual([errors, warnings], [[], []])
    assert.deepEqual([checkpoint.kind, checkpoint.layout], ['shared_export', 'L9'])
    assert.deepEqual(
      [...value.keys()],
      [
        'model_state_dict',
        'config',
        'validation_loss',
        'epoch',
        'phase',
        'version',
        'export_timestamp',
        'export_type',
        'metrics_summary',
        'metadata',
      ],
    )
    assert.deepEqual(
      value.get('metrics_summary'),
      dict({ total_epochs: 3, best_val_loss: 0.5, final_val_loss: 0.5, best_epoch: 3 }),
    )
    const state = value.get('model_state_dict') as Map<string, TensorRecord>
    assert.equal(state.get('first.weight')?.storage, state.get('second.weight')?.storage)
    assert.deepEqual(
      [...(await readTensorValues(file, state.get('first.bias') as TensorRecord))],
      [...new Float32Array(float32([2], 2).storage.source.buffer)],
    )
    assert.deepEqual(json(result, 'config.json'), { model: 'mlp', hidden: 3, dropout: 0.5, rate: 1e-7 })
    assert.match(readFileSync(join(result.folder, 'config.json'), 'utf8'), /"dropout": 0.5/)
    assert.equal((json(result, 'metadata.json')['metadata'] as Record<string, unknown>)['run_id'], undefined)

    const asked = await share(cleanCheckpoint(), { includeTrainingState: true })
    const more = (await readTorchFile(join(asked.folder, 'model.pth'))).value as Map<string, Map<string, unknown>>
    assert.ok(more.get('optimizer_state_dict')?.has('param_groups'))
    assert.deepEqual(
      [...(more.get('training_state')?.keys() ?? [])],
      ['current_epoch', 'current_phase', 'best_val_loss', 'metrics_summary'],
    )
    const whole = await share(cleanCheckpoint(), { includeTrainingState: true, anonymize: false })
    const kept = (await readTorchFile(join(whole.folder, 'model.pth'))).value as Map<string, Map<string, unknown[]>>
    assert.equal(kept.get('training_state')?.get('metrics_history')?.length, 3)
  })

  it('writes a card that says what is missing, and gaps with it', async () => {
    const result = await share(cleanCheckpoint(), { license: 'Apache-2.0' })
    const card = readFileSync(join(result.folder, 'README.md'), 'utf8')
    for (const part of [
      'license: apache-2.0\n',
      '# A small net',
      'Tells twos from threes.',
      '## Intended use\n\n*To fill in',
      '| 1 | whole | 5 epochs | 0.001 | AdamW (weight_decay 0.01) |',
      '| val_accuracy | 0.75 |',
      '(also `second.weight`)',
    ])
      assert.ok(card.includes(part), `${part} is not in ${card}`)
    for (const gap of result.gaps) assert.ok(card.includes(`- ${gap}`), gap)
    assert.ok(!result.gaps.some((gap) => gap.includes('licence is given')))
    const bare = await share(new OrderedDict([['fc.weight', float32([2], 1)]]))
    assert.ok(
      bare.gaps.some((gap) => gap.startsWith('No licence is given')) &&
        bare.gaps.some((gap) => gap.includes('not described')),
    )
    assert.deepEqual(json(bare, 'metadata.json')['metrics_summary'], {
      total_epochs: null,
      best_val_loss: null,
      final_val_loss: null,
      best_epoch: null,
    })
    await refused(share(cleanCheckpoint(), { license: 'apache2' }), 'ERR_INVALID_ARGUMENT', 'apache-2.0')
  })

  it('keeps what is allowed, in the card too, and refuses an allow that names nothing', async () => {
    const mail = 'models@' + 'example.org'
    const value = cleanCheckpoint({
      metadata: dict({ description: `Write to ${mail}.` }),
      config: dict({ contact: mail, path: '/srv/a/b' }),
    })
    const result = await share(value, { allow: ['metadata.description', 'config.path'] })
    assert.ok(readFileSync(join(result.folder, 'README.md'), 'utf8').includes(`Write to ${mail}.`))
    assert.deepEqual(json(result, 'config.json'), { contact: '[removed: person_name]', path: '/srv/a/b' })
    assert.deepEqual(json(result, 'scrub_report.json')['allowed'], ['metadata.description', 'config.path'])
    await refused(
      share(value, { allow: ['config.contacts'] }),
      'ERR_INVALID_ARGUMENT',
      'config.contacts',
      '--allow config.contact',
    )
  })

  it('refuses names of tensors that look private, without telling them, and leaves nothing', async () => {
    const state = new OrderedDict([
      ['jane@' + 'example.org.weight', float32([2], 1)],
      ['fc.weight', float32([2], 1)],
    ])
    const work = share(cleanCheckpoint({ model_state_dict: state }))
    await refused(work, 'ERR_EXPORT_SECRET', 'model_state_dict.[removed: email]', 'email')
    await work.catch((error: Error) => assert.ok(!error.message.includes('jane')))
    const told = cleanCheckpoint({
      config: dict({ owner: 'ulrike9' }),
      model_state_dict: new OrderedDict([['ulrike9.weight', float32([2], 1)]]),
    })
    await refused(share(told), 'ERR_EXPORT_SECRET', 'model_state_dict.[removed: user_name].weight')
    const allowed = await share(told, { allow: ['model_state_dict.ulrike9.weight'] })
    assert.ok(readFileSync(join(allowed.folder, 'README.md'), 'utf8').includes('ulrike9.weight'))
    await refused(
      share(cleanCheckpoint({ config: dict({ owner: 'ulrike9' }) }), {}, 'ulrike9'),
      'ERR_EXPORT_SECRET',
      '(its name)',
    )
    for (const entry of readdirSync(folder))
      if (entry.startsWith('x'))
        assert.deepEqual(
          readdirSync(join(folder, entry)).filter((name) => name.startsWith('.')),
          [],
        )
  })

  it('searches what was written: a secret in any file of a folder refuses it by file and key', async () => {
    const dirty = await share(plantedCheckpoint(), { anonymize: false, formats: ['safetensors', 'pth'] })
    assert.deepEqual(dirty.removals, [])
    for (const keep of ['README.md', 'config.json', 'metadata.json', 'model.pth']) {
      const alone = mkdtempSync(join(folder, 'alone'))
      execFileSync('cp', [join(dirty.folder, keep), alone])
      await refused(searchFolder(alone, { words: new IdentityWords() }), 'ERR_EXPORT_SECRET', keep)
    }
  })

  it('leaves nothing when it is stopped, and refuses options that contradict each other', async () => {
    const before = readdirSync(folder).length
    await refused(share(cleanCheckpoint(), { signal: AbortSignal.abort() }), 'ERR_ABORTED')
    const made = readdirSync(folder).filter((name) => name.startsWith('x'))
    assert.equal(readdirSync(folder).length, before + 1)
    for (const name of made)
      assert.ok(
        readdirSync(join(folder, name), { recursive: true }).every(
          (entry) => !String(entry).includes('.torchkeep-tmp'),
        ),
      )
    await refused(share(cleanCheckpoint(), { anonymize: false, allow: ['config'] }), 'ERR_INVALID_ARGUMENT')
    await refused(share(cleanCheckpoint(), { formats: ['pt2'] }), 'ERR_CHECKPOINT_UNSUPPORTED')
  })

  it('counts NaN for no best, an epoch that was repeated once, and nothing for nothing', async () => {
    const { metricsSummary } = await import('../../src/export/metrics-summary.js')
    const summary = (...rows: [epoch: number, loss: number | null][]) =>
      metricsSummary(
        new Map([
          [
            'training_state',
            dict({ metrics_history: rows.map(([epoch, loss]) => dict({ epoch, phase: 1, val_loss: loss })) }),
          ],
        ]),
      )
    assert.deepEqual(summary([1, NaN], [2, 0.5], [3, -Infinity], [4, NaN]), {
      total_epochs: 4,
      best_val_loss: 0.5,
      final_val_loss: NaN,
      best_epoch: 2,
    })
    assert.deepEqual(summary([1, 0.25], [2, 0.5], [2, 0.75]), {
      total_epochs: 2,
      best_val_loss: 0.25,
      final_val_loss: 0.75,
      best_epoch: 1,
    })
    assert.deepEqual(summary([1, NaN], [2, null]), {
      total_epochs: 2,
      best_val_loss: null,
      final_val_loss: null,
      best_epoch: null,
    })
    assert.deepEqual(
      metricsSummary(
        new Map([
          ['epoch', 7],
          ['validation_loss', 0.5],
        ]),
      ),
      { total_epochs: 7, best_val_loss: 0.5, final_val_loss: 0.5, best_epoch: 7 },
    )
  })
})
