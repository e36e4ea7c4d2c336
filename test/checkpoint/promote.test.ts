/** Promotions: what a deployment script finds under a name, whatever happens meanwhile. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cleanCheckpoints } from '../../src/checkpoint/cleanup.js'
import { promoteCheckpoint } from '../../src/checkpoint/promote.js'
import { promotionsIn, readPromotion } from '../../src/checkpoint/promotions.js'
import { Rotation } from '../../src/checkpoint/rotation.js'
import { surveyFolder } from '../../src/checkpoint/survey.js'
import { listCheckpoints } from '../../src/checkpoint/listing.js'
import { began, checkpointValue, writeCheckpointFolder, writeValue } from '../commands/checkpoints.js'

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')

describe('promoteCheckpoint', () => {
  let folder: string
  let first: string
  let second: string
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'torchkeep-promote-'))
    await writeCheckpointFolder(folder)
    first = join(folder, 'regular', `checkpoint_epoch_1_phase_1_${began}.pth`)
    second = join(folder, 'regular', `checkpoint_epoch_2_phase_1_${began + 60}.pth`)
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  it('copies, and says where the copy is from', async () => {
    const { path, provenancePath, promotion } = await promoteCheckpoint(first, 'production', { note: 'first' })
    assert.deepEqual(readFileSync(path), readFileSync(first))
    const json = JSON.parse(readFileSync(provenancePath, 'utf8')) as Record<string, unknown>
    assert.equal(json['file'], promotion.file)
    assert.equal(json['sha256'], sha256(path))
    assert.equal(json['source'], `../regular/checkpoint_epoch_1_phase_1_${began}.pth`)
    assert.deepEqual(
      [json['epoch'], json['phase'], json['metric'], json['note'], json['timestamp'], json['previous']],
      [1, 1, 'val_loss', 'first', began, []],
    )
    assert.equal(typeof json['score'], 'number')
    assert.ok(Math.abs(Date.parse(json['promoted_at'] as string) - Date.now()) < 60_000)
    assert.deepEqual(await readPromotion(provenancePath), promotion)
  })

  it('moves a name on and keeps what had it', async () => {
    const before = await promoteCheckpoint(first, 'production')
    const after = await promoteCheckpoint(second, 'production')
    assert.deepEqual(after.promotion.previous, [
      { file: before.promotion.file, sha256: before.promotion.sha256, promotedAt: before.promotion.promotedAt },
    ])
    assert.equal(sha256(before.path), before.promotion.sha256)
    assert.equal(sha256(after.path), after.promotion.sha256)
    await promoteCheckpoint(first, 'staging')
    assert.deepEqual(
      (await promotionsIn(folder)).map(({ name }) => name),
      ['production', 'staging'],
    )
  })

  it('of two at once both copies stay, and the name is of one of them', async () => {
    const both = await Promise.all([promoteCheckpoint(first, 'production'), promoteCheckpoint(second, 'production')])
    const promotion = await readPromotion(join(folder, 'promoted', 'production.json'))
    assert.ok(
      both.some(({ path, promotion: { sha256: wanted } }) => sha256(path) === wanted && wanted === promotion?.sha256),
    )
    assert.notEqual(both[0].path, both[1].path)
  })

  it('refuses what is damaged, and leaves nothing', async () => {
    const bytes = readFileSync(first)
    const at = bytes.indexOf(Buffer.from(new Float32Array([4, -5]).buffer))
    assert.ok(at > 0)
    bytes.writeUInt8((bytes[at] as number) ^ 1, at)
    writeFileSync(first, bytes)
    await assert.rejects(promoteCheckpoint(first, 'production'), {
      code: 'ERR_CHECKPOINT_CORRUPT',
      message: /record\.crc/,
    })
    assert.deepEqual(await promotionsIn(folder), [])
  })

  it('refuses names that are none, and metrics that the checkpoint does not have', async () => {
    for (const name of ['', '../x', 'a/b', '.hidden', 'dot.', 'x'.repeat(101), 'a b'])
      await assert.rejects(promoteCheckpoint(first, name), { code: 'ERR_INVALID_ARGUMENT' }, name)
    await assert.rejects(promoteCheckpoint(first, 'x', { metric: 'val_los' }), {
      code: 'ERR_INVALID_ARGUMENT',
      suggestions: ['val_loss'],
    })
    assert.deepEqual(readdirSync(folder).includes('promoted'), false)
  })

  it('leaves nothing when it is stopped', async () => {
    await assert.rejects(promoteCheckpoint(first, 'production', { signal: AbortSignal.abort() }), {
      code: 'ERR_ABORTED',
    })
    assert.deepEqual(await promotionsIn(folder), [])
  })

  it('refuses a name whose file says something else, and keeps that file', async () => {
    const { provenancePath } = await promoteCheckpoint(first, 'production')
    appendFileSync(provenancePath, 'x')
    const before = readFileSync(provenancePath)
    await assert.rejects(promoteCheckpoint(second, 'production'), { code: 'ERR_CHECKPOINT_CORRUPT' })
    assert.deepEqual(readFileSync(provenancePath), before)
  })

  it('keeps copy and source from clean-up, also in a folder that was moved', async () => {
    await promoteCheckpoint(first, 'production')
    const moved = `${folder}-moved`
    renameSync(folder, moved)
    try {
      const { plan } = await cleanCheckpoints(moved, { keepLast: 1 })
      const choices = new Map(plan.map((choice) => [choice.path.slice(moved.length + 1), choice]))
      const source = choices.get(`regular/checkpoint_epoch_1_phase_1_${began}.pth`)
      assert.deepEqual([source?.keep, source?.reason], [true, 'promoted as production'])
      const copies = [...choices].filter(([path]) => path.startsWith('promoted/'))
      assert.deepEqual(
        copies.map(([, { keep, rule }]) => [keep, rule]),
        [[true, 'role']],
      )
      assert.equal((await surveyFolder(moved)).filter(({ role }) => role === 'promoted').length, 1)
    } finally {
      renameSync(moved, folder)
    }
  })

  it('keeps the source from the rotation of a run', async () => {
    const names = [1, 2, 3].map((epoch) =>
      join(folder, 'regular', `checkpoint_epoch_${epoch}_phase_2_${began + epoch}.pth`),
    )
    for (const [index, path] of names.entries()) {
      const value = checkpointValue({ epoch: index + 1, phase: 2, valLoss: 1, timestamp: began + index + 1 })
      value.set('metadata', new Map([['run_id', 'run']]))
      await writeValue(path, value)
    }
    await promoteCheckpoint(names[0] as string, 'production')
    const rotation = new Rotation(folder, { regular: { keepLast: 1 }, best: null })
    const { removed } = await rotation.rotate('run', [names[2] as string])
    assert.deepEqual(
      removed.filter((path) => path.endsWith('.pth')),
      [names[1]],
    )
  })

  it('is no checkpoint of its own in a list', async () => {
    const before = await listCheckpoints(folder)
    await promoteCheckpoint(first, 'production')
    assert.equal((await listCheckpoints(folder)).length, before.length)
  })
})
