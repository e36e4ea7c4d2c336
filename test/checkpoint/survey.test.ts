import assert from 'node:assert/strict'
import { linkSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { findings } from '../../src/checkpoint/findings.js'
import { proofsOfDamage, surveyFolder, type SurveyedFile } from '../../src/checkpoint/survey.js'
import { began, checkpointValue, writeCheckpointFolder, writeValue } from '../commands/checkpoints.js'

describe('proofs of damage', () => {
  /** Errors that do not prove that bytes are missing or wrong: a file with these alone is never cleaned away. */
  const noProofs = [
    ...['file.unrecognized', 'file.trailing_bytes', 'file.limit', 'file.changed'],
    ...[
      'zip.header_mismatch',
      'zip.duplicate_record',
      'zip.overlap',
      'zip.record_name',
      'zip.compressed',
      'zip.encrypted',
    ],
    ...['record.content', 'json.malformed', 'safetensors.header', 'legacy.structure', 'tar.structure', 'pt2.structure'],
    ...['shard.missing', 'shard.name', 'shard.tensor', 'distributed.metadata'],
    ...['pickle.malformed', 'pickle.unsafe_global', 'pickle.limit', 'pickle.unsupported'],
    ...['storage.type', 'tensor.malformed', 'key.missing', 'key.type', 'optimizer.mismatch'],
  ]

  it('are decided upon for every error', () => {
    const errors = Object.entries(findings).filter(([, { severity }]) => severity === 'error')
    assert.deepEqual(
      errors.map(([id]) => id).sort(),
      [...proofsOfDamage, ...noProofs].sort(),
      'a new error goes into noProofs here, or into proofsOfDamage where it means that bytes are missing or wrong',
    )
  })
})

describe('surveyFolder', () => {
  let folder: string
  let files: SurveyedFile[]
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-survey-'))
    await writeCheckpointFolder(folder)
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const of = (name: string): SurveyedFile => files.find(({ path }) => relative(folder, path) === name) as SurveyedFile

  it('gives verdict, run, rank facts and content of each file', async () => {
    linkSync(join(folder, 'latest.pth'), join(folder, 'same.pth'))
    symlinkSync('latest.pth', join(folder, 'pointer.pth'))
    await writeValue(
      join(folder, 'trash', 'old.pth'),
      checkpointValue({ epoch: 1, phase: 1, valLoss: 1, timestamp: began }),
    )
    files = await surveyFolder(folder)
    const verdicts = Object.fromEntries(
      files.map(({ path, role, verdict }) => [relative(folder, path), `${role} ${verdict}`]),
    )
    assert.deepEqual(verdicts, {
      [`backups/backup_${began + 700}_latest.pth`]: 'backup unknown',
      'best/best_model_epoch_2_phase_1.pth': 'checkpoint valid',
      'best/latest_best.pth': 'checkpoint valid',
      'exports/model.pth': 'export unknown',
      'latest.pth': 'checkpoint valid',
      'notes.pt': 'foreign unknown',
      'pointer.pth': 'checkpoint valid',
      [`regular/checkpoint_epoch_1_phase_1_${began}.pth`]: 'checkpoint valid',
      [`regular/checkpoint_epoch_2_phase_1_${began + 60}.pth`]: 'checkpoint valid',
      [`regular/checkpoint_epoch_3_phase_1_${began + 120}.pth`]: 'checkpoint invalid',
      [`regular/checkpoint_epoch_10_phase_2_${began + 600}.pth`]: 'checkpoint valid',
      'same.pth': 'checkpoint valid',
    })
    assert.deepEqual([...new Set(files.filter(({ role }) => role === 'checkpoint').map(({ run }) => run))], [folder])
    assert.equal(of('same.pth').content, of('latest.pth').content)
    assert.deepEqual([of('pointer.pth').content, of('pointer.pth').isLink], [of('latest.pth').content, true])
    const { epoch, phase, timestamp, metrics } = of('best/latest_best.pth')
    assert.deepEqual([epoch, phase, timestamp, metrics['val_loss']], [2, 1, began + 60, 0.5])
  })

  it('asks how well damaged files could be recovered, and only those', async () => {
    const asked: string[] = []
    const assess = (path: string) => {
      asked.push(relative(folder, path))
      return Promise.resolve({ potential: 'none' as const })
    }
    files = await surveyFolder(folder, { assess })
    const cut = `regular/checkpoint_epoch_3_phase_1_${began + 120}.pth`
    assert.deepEqual(asked, [cut])
    assert.equal(of(cut).recoverable, false)
    files = await surveyFolder(folder)
    assert.equal(of(cut).recoverable, true)
  })

  it('takes what is of no format for damaged only under a name that the trainer gives', async () => {
    for (const name of ['latest_best.pth', 'best_model_epoch_9_phase_1-2.pth', 'best.pth', 'last.ckpt'])
      writeFileSync(join(folder, 'best', name), 'some other bytes')
    files = await surveyFolder(folder)
    const verdicts = files
      .filter(({ path }) => path.includes('best'))
      .map(({ path, verdict }) => [relative(join(folder, 'best'), path), verdict])
    assert.deepEqual(verdicts, [
      ['best.pth', 'unknown'],
      ['best_model_epoch_2_phase_1.pth', 'valid'],
      ['best_model_epoch_9_phase_1-2.pth', 'invalid'],
      ['last.ckpt', 'unknown'],
      ['latest_best.pth', 'invalid'],
    ])
  })

  it('reports progress in bytes up to the whole', async () => {
    let [most, total] = [0, 0]
    files = await surveyFolder(folder, {
      progress: (done, all) => {
        assert.ok(done >= most)
        ;[most, total] = [done, all]
      },
    })
    assert.ok(most > 0 && most <= total)
    assert.equal(
      total,
      files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    )
  })
})
