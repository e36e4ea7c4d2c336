/** E13: a broken newest checkpoint is passed over for an older one that is whole, aloud; a whole one that is refused is not. */
import assert from 'node:assert/strict'
import {
  copyFileSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { latestBestPath, latestPath } from '../../src/checkpoint/layout.js'
import type { TrainingConfig } from '../../src/checkpoint/training-config.js'
import type { TorchkeepError } from '../../src/format/errors.js'
import { readTorchFile } from '../../src/format/read.js'
import { readTrainConfig } from '../../src/train-config/read-config.js'
import { prepareRun } from '../../src/train-config/train.js'
import { assertSameBits } from './fixture.js'
import { smallRun } from './small-run.js'

/** A configuration of `torchkeep train`. */
const ofCommand = {
  threads: 1,
  logs: false,
  model: { name: 'mlp', hidden: [4] },
  data: {
    format: 'csv',
    file: 'table.csv',
    columns: { a: { role: 'number' }, y: { role: 'number' } },
    target: 'y',
    split: { by: 'fraction', val: 0.25 },
    batch_size: 4,
  },
  loss: 'mse',
  phases: [{ name: 'one', epochs: 3, lr: 0.01 }],
}

describe('resume from latest where it is broken', function () {
  this.timeout(60_000)
  const config: TrainingConfig = { loss: 'mse', phases: [{ name: 'p', epochs: 4, lr: 0.01 }] }
  let root: string
  /** The run in one go, and one that was interrupted after the third of its four epochs. */
  let whole: string
  let interrupted: string
  let folder: string
  before(async () => {
    root = mkdtempSync(join(tmpdir(), 'torchkeep-fallback-'))
    whole = join(root, 'whole')
    interrupted = join(root, 'interrupted')
    await smallRun(whole, { config }).train()
    const stop = new AbortController()
    const run = smallRun(interrupted, { config })
    run.trainer.on('epoch', ({ epoch }) => epoch === 3 && stop.abort())
    await assert.rejects(run.train({ signal: stop.signal }), { code: 'ERR_ABORTED' })
  })
  after(() => rmSync(root, { recursive: true }))
  beforeEach(() => cpSync(interrupted, (folder = join(root, 'run')), { recursive: true }))
  afterEach(() => rmSync(folder, { recursive: true }))

  const filesOf = (place: string): string[] =>
    readdirSync(join(folder, place))
      .sort()
      .map((name) => join(folder, place, name))
  const regular = (epoch: number): string =>
    filesOf('regular').find((path) => path.includes(`_epoch_${epoch}_`)) as string
  const cut = (path: string, share = 0.5): void => {
    const bytes = readFileSync(path)
    writeFileSync(path, bytes.subarray(0, bytes.length * share))
  }
  /** Changes one bit of a tensor, which `torch.load` does not notice. */
  const flip = async (path: string): Promise<void> => {
    const { storages } = await readTorchFile(path)
    const bytes = readFileSync(path)
    const at = storages[0]?.source.offsetBytes as number
    bytes[at] = (bytes[at] as number) ^ 1
    writeFileSync(path, bytes)
  }
  async function resumed(): Promise<string[]> {
    const run = smallRun(folder, { config, seed: 20 })
    const warnings: string[] = []
    run.trainer.on('warning', ({ id, message }) => warnings.push(`${id}: ${message}`))
    const { notes } = await run.train({ resumeFrom: 'latest' })
    assert.deepEqual(
      warnings,
      notes.map((note) => `fallback: ${note}`),
    )
    await assertSameBits(latestPath(folder), latestPath(whole))
    return warnings
  }
  const refused = async (code: string, message: RegExp): Promise<string> => {
    const states = (): string[] => filesOf('regular').map((path) => `${path} ${statSync(path).mtimeMs}`)
    const before = states()
    let text = ''
    await assert.rejects(smallRun(folder, { config }).train({ resumeFrom: 'latest' }), (error: TorchkeepError) => {
      assert.equal(error.code, code, error.stack)
      assert.match(error.message, message)
      text = error.message
      return true
    })
    assert.deepEqual(states(), before, 'nothing was written')
    return text
  }

  it('E13: goes on from a copy where latest.pth is cut, empty, overwritten or missing, and says so', async () => {
    const latest = latestPath(folder)
    const harms: (() => void | Promise<void>)[] = [
      () => cut(latest),
      () => cut(latest, 0),
      () => writeFileSync(latest, Buffer.alloc(5000)),
      () => rmSync(latest),
      () => flip(latest),
    ]
    for (const harm of harms) {
      await harm()
      const [passedOver = '', taken = '', ...more] = await resumed()
      assert.ok(passedOver.startsWith('fallback: passed over: ') && passedOver.includes(latest), passedOver)
      assert.match(taken, /goes on from .*\.pth \(epoch 3, phase 1, step 12\), the newest/)
      assert.deepEqual(more, [])
      rmSync(folder, { recursive: true })
      cpSync(interrupted, folder, { recursive: true })
    }
  })

  it('E13: passes over each newer one that is damaged, down to a flipped bit, until one is whole', async () => {
    cut(latestPath(folder))
    const third = regular(3) // the run that goes on makes another of that epoch
    for (const path of [...filesOf('best'), ...filesOf('phases'), third]) await flip(path)
    const warnings = await resumed()
    assert.match(warnings.at(-1) ?? '', /goes on from .*\(epoch 2, phase 1, step 8\)/)
    assert.ok(
      warnings.some((text) => text.includes(third) && /CRC-32|damaged/.test(text)),
      warnings.join('\n'),
    )
  })

  it('E13: lists all that was tried where none is whole, and leaves everything as it is', async () => {
    const all = [latestPath(folder), ...['regular', 'best', 'phases'].flatMap(filesOf)]
    for (const path of all) cut(path, 0.9)
    const text = await refused('ERR_CHECKPOINT_CORRUPT', /^no checkpoint in .*run is whole; tried /)
    for (const path of all) assert.ok(text.includes(path), `${path} in: ${text}`)
  })

  it('E13: refuses a whole one of another configuration instead of passing it over', async () => {
    const other = join(root, 'other')
    await smallRun(other, { config: { ...config, phases: [{ name: 'p', epochs: 4, lr: 0.02 }] } }).train()
    copyFileSync(latestPath(other), latestPath(folder))
    await refused('ERR_CHECKPOINT_INCOMPATIBLE', /latest\.pth was made with another .* differ: phases\[0\]\.lr/)
    const newest = join(folder, 'regular', 'checkpoint_epoch_4_phase_1_9999999999.pth')
    copyFileSync(latestPath(other), newest)
    cut(latestPath(folder))
    await refused('ERR_CHECKPOINT_INCOMPATIBLE', /9999999999\.pth was made with another .* differ: phases\[0\]\.lr/)
  })

  it('E13: best and paths mean that file and no other', async () => {
    cut(latestBestPath(folder))
    const run = smallRun(folder, { config })
    await assert.rejects(run.train({ resumeFrom: 'best' }), { code: 'ERR_CHECKPOINT_CORRUPT' })
    const path = regular(3)
    cut(path)
    await assert.rejects(run.train({ resumeFrom: path }), { code: 'ERR_CHECKPOINT_CORRUPT' })
    rmSync(folder, { recursive: true })
    await assert.rejects(run.train({ resumeFrom: 'latest' }), {
      code: 'ERR_CHECKPOINT_MISSING',
      message: /no checkpoint 'latest': looked for .*latest\.pth$/,
    })
    cpSync(interrupted, folder, { recursive: true })
  })

  it('E13: so does torchkeep train --resume latest, with what the file taken says of the data', async () => {
    const file = (...names: string[]): string => join(root, ...names)
    const table = Array.from({ length: 20 }, (_, row) => `${row % 5},${(row * 3) % 4}`)
    writeFileSync(file('table.csv'), ['a,y', ...table, ''].join('\n'))
    writeFileSync(file('train.yaml'), JSON.stringify(ofCommand))
    const train = async (name: string, abortAt: number, resume?: string): Promise<readonly string[]> => {
      const read = await readTrainConfig(file('train.yaml'), [])
      const run = await prepareRun(read, { checkpointDir: file(name), ...(resume !== undefined && { resume }) })
      const stop = new AbortController()
      run.trainer.on('epoch', ({ epoch }) => epoch === abortAt && stop.abort())
      run.trainer.on('warning', () => undefined)
      const result = run.train(stop.signal)
      if (abortAt === 0) return (await result).notes
      await assert.rejects(result, { code: 'ERR_ABORTED' })
      return []
    }
    await train('through', 0)
    await train('stopped', 2)
    // Of its own: harm to a file that has further names is harm under all of them.
    copyFileSync(latestPath(file('stopped')), file('damaged.pth'))
    await flip(file('damaged.pth'))
    renameSync(file('damaged.pth'), latestPath(file('stopped')))
    const notes = await train('stopped', 0, 'latest')
    assert.match(
      notes.join('\n'),
      /^passed over: .*latest\.pth.*\nthe run goes on from .*\(epoch 2, phase 1, step 8\).*$/,
    )
    await assertSameBits(latestPath(file('stopped')), latestPath(file('through')))
    rmSync(latestPath(file('stopped')))
    for (const place of ['regular', 'best', 'phases'])
      for (const name of readdirSync(file('stopped', place))) cut(file('stopped', place, name))
    await assert.rejects(train('stopped', 0, 'latest'), {
      code: 'ERR_CHECKPOINT_MISSING',
      message: /no checkpoint in .*stopped is whole; tried /,
    })
  })
})
