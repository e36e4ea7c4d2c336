/** Gives a checkpoint a name for deployment: a copy that nothing touches, with where it is from. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { copyFile, constants, stat, writeFile } from 'node:fs/promises'
import { basename, join, relative, resolve, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'
import { describeCheckpoint } from './describe.js'
import { readMetadata } from './metadata.js'
import { packageVersion } from './package-version.js'
import { promotedFolder, promotionJson, readPromotion, type Promotion } from './promotions.js'
import { runFolder } from './sidecar.js'
import { makeFolder, publish, publishNew, removeStaleTemporaries } from './store.js'
import { CheckpointValidator } from './validator.js'

/** How {@link promoteCheckpoint} works. */
export interface PromoteOptions {
  /** The folder of the copy and its JSON file. Default: `promoted/` of the checkpoint folder that the checkpoint lies in. */
  to?: string
  /** The metric that is noted. Default `val_loss`. */
  metric?: string
  /** Anything worth remembering. */
  note?: string
  signal?: AbortSignal
  onProgress?: (doneBytes: number, totalBytes: number) => void
}

/** What was promoted. */
export interface PromoteResult {
  /** The copy. */
  path: string
  /** The JSON file. */
  provenancePath: string
  promotion: Promotion
}

/**
 * Promotes a checkpoint: every byte of it is validated, it is copied to `{name}_{seconds}.pth`, and `{name}.json` says where it is from and names the copy. That file is switched in one step when the copy is durable, so a script that reads it
 * always finds a whole checkpoint. A name that is given again moves on; what had it before stays and is listed. Clean-up and rotation leave the copies and the checkpoint that was promoted alone.
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` for a name, or a metric that the checkpoint does not have; `ERR_CHECKPOINT_CORRUPT` where it does not validate; `ERR_CHECKPOINT_MISSING`; `ERR_CHECKPOINT_WRITE`; `ERR_ABORTED`.
 */
export async function promoteCheckpoint(
  checkpoint: string,
  name: string,
  options: PromoteOptions = {},
): Promise<PromoteResult> {
  checkName(name)
  const { metric = 'val_loss', note = '', signal } = options
  await requireValid(checkpoint, options)
  const description = await describeCheckpoint(checkpoint)
  const { configHash } = await readMetadata(checkpoint)
  const score = scoreOf(checkpoint, description.metrics, metric, options.metric !== undefined)
  const folder = options.to ?? promotedFolder(runFolder(checkpoint))
  await makeFolder(folder)
  await removeStaleTemporaries(folder)
  const provenancePath = join(folder, `${name}.json`)
  const before = await readPromotion(provenancePath)
  const promotedAt = new Date()
  const { sha256, path } = await copyTo(checkpoint, join(folder, `${name}_${seconds(promotedAt)}.pth`), signal)
  const { epoch, phase, globalStep, timestamp } = description
  const promotion: Promotion = {
    ...{ name, file: basename(path), sha256, sizeBytes: (await stat(path)).size },
    source: relative(resolve(folder), resolve(checkpoint)).split(sep).join('/'),
    ...{ promotedAt: promotedAt.toISOString(), timestamp, epoch, phase, step: globalStep, metric, score },
    ...{ configHash, runId: description.runId, note, torchkeepVersion: packageVersion },
    previous: before === null ? [] : [formerOf(before), ...before.previous],
  }
  await publish(provenancePath, (temporary) => writeFile(temporary, promotionJson(promotion), { flag: 'wx' }))
  return { path, provenancePath, promotion }
}

const seconds = (date: Date): number => Math.floor(date.getTime() / 1000)

const formerOf = ({ file, sha256, promotedAt }: Promotion): Promotion['previous'][number] => ({
  ...{ file, sha256, promotedAt },
})

function checkName(name: string): void {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(name) && !name.endsWith('.')) return
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `the name of a promotion should have up to 100 letters, digits, '.', '_' and '-' and begin with a letter or digit, found ${JSON.stringify(name)}`,
  )
}

async function requireValid(checkpoint: string, { signal, onProgress }: PromoteOptions): Promise<void> {
  const report = await CheckpointValidator.validateCheckpointFile(checkpoint, {
    ...(signal !== undefined && { signal }),
    ...(onProgress !== undefined && { progress: onProgress }),
  })
  if (report.valid) return
  const [first, ...others] = report.errors
  const more = others.length === 0 ? '' : ` (and ${others.length} more)`
  throw new TorchkeepError(
    'ERR_CHECKPOINT_CORRUPT',
    `${checkpoint} is not valid: ${first?.id ?? ''}: ${first?.message ?? ''}${more}`,
    {
      suggestions: [`torchkeep validate ${checkpoint} says all that is wrong`],
    },
  )
}

function scoreOf(
  checkpoint: string,
  metrics: Readonly<Record<string, number>>,
  metric: string,
  isNamed: boolean,
): number | null {
  const score = metrics[metric]
  if (score !== undefined && Number.isFinite(score)) return score
  if (!isNamed) return null
  const known = Object.keys(metrics)
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `${checkpoint} has no ${score === undefined ? '' : 'finite '}${metric}, but ${known.join(', ') || 'no metrics'}`,
    { suggestions: nearNames(metric, known) },
  )
}

/** Copies under a free name and hashes what lies on the disk afterwards: the hash is that of the copy. */
async function copyTo(
  checkpoint: string,
  wanted: string,
  signal: AbortSignal | undefined,
): Promise<{ path: string; sha256: string }> {
  const before = await sha256Of(checkpoint, signal)
  const path = await publishNew(wanted, async (temporary) => {
    await copyFile(checkpoint, temporary, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
    const found = await sha256Of(temporary, signal)
    if (found === before) return
    throw new TorchkeepError('ERR_CHECKPOINT_WRITE', `${checkpoint} changed while it was copied; nothing was promoted`)
  })
  return { path, sha256: before }
}

async function sha256Of(path: string, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) {
      if (signal?.aborted === true) throw new TorchkeepError('ERR_ABORTED', 'the promotion was interrupted')
      hash.update(chunk)
    }
  })
  return hash.digest('hex')
}
