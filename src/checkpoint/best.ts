/** The best checkpoint of a folder by a metric. */
import { basename, dirname } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { checkpointIdentity, chronological } from './chronology.js'
import type { CheckpointDescription } from './describe.js'
import { listCheckpoints } from './listing.js'

/** How {@link findBestCheckpoint} chooses. */
export interface BestOptions {
  /** Name of a metric in the descriptions; `val_loss` unless told. */
  metric?: string
  /** Whether small or large values are good; {@link defaultMode} of the metric unless told. */
  mode?: 'min' | 'max'
}

/** The best checkpoint of a folder. */
export interface BestCheckpoint {
  path: string
  metric: string
  mode: 'min' | 'max'
  value: number
  epoch: number | null
  phase: number | null
}

/** Words that name metrics of which more is better, whole or as a part between `_`, `-`, `/`, `.` and blanks. */
const higherIsBetter = new Set(
  [
    [
      'accuracy',
      'acc',
      'acc1',
      'acc5',
      'top1',
      'top5',
      'precision',
      'recall',
      'sensitivity',
      'specificity',
      'f1',
      'fbeta',
    ],
    [
      'auc',
      'auroc',
      'aupr',
      'auprc',
      'roc',
      'ap',
      'map',
      'map50',
      'ndcg',
      'mrr',
      'hits',
      'iou',
      'miou',
      'dice',
      'jaccard',
    ],
    [
      'r2',
      'pearson',
      'spearman',
      'kendall',
      'pcc',
      'scc',
      'correlation',
      'corr',
      'ci',
      'cindex',
      'concordance',
      'rm2',
      'mcc',
      'kappa',
    ],
    ['bleu', 'rouge', 'meteor', 'psnr', 'ssim', 'score', 'reward', 'return'],
  ].flat(),
)

/**
 * Whether small or large values of a metric are good, told from its name: `max` where a part of it is the name of a metric of which more is better (`val_accuracy`, `val_f1`, `auroc`,
 * `test/r2`, `val_ci`, `concordance_index`), `min` for everything else (losses, errors, perplexity).
 */
export function defaultMode(metric: string): 'min' | 'max' {
  const parts = metric.toLowerCase().split(/[^a-z0-9]+/)
  return !parts.some((part) => ['loss', 'error', 'err'].includes(part)) &&
    parts.some((part) => higherIsBetter.has(part))
    ? 'max'
    : 'min'
}

/**
 * The checkpoint with the best value of a metric, told from heads and tails. Only whole training checkpoints count: no backup, export, recovered or foreign file, none whose structure is broken, and
 * none whose value is NaN or absent. Of equal values the earlier checkpoint is better; of copies of one checkpoint the name that will always mean it comes first (`best/best_model_epoch_3_phase_1.pth`
 * before one in `regular/`, which is rotated, and that before `latest_best.pth`), so that a script may keep it.
 *
 * @returns null where no checkpoint of the folder has a value.
 * @throws TorchkeepError ERR_INVALID_ARGUMENT for a metric that no checkpoint has, listing those that there are; ERR_CHECKPOINT_MISSING where there is no such folder.
 */
export async function findBestCheckpoint(folder: string, options: BestOptions = {}): Promise<BestCheckpoint | null> {
  return bestOf(await listCheckpoints(folder, { recursive: true }), options)
}

/** {@link findBestCheckpoint} among descriptions. */
export function bestOf(
  descriptions: readonly CheckpointDescription[],
  { metric = 'val_loss', mode = defaultMode(metric) }: BestOptions = {},
): BestCheckpoint | null {
  const candidates = descriptions.filter(
    ({ role, kind, structure }) => role === 'checkpoint' && kind === 'training_checkpoint' && structure === 'ok',
  )
  requireMetric(candidates, metric)
  const valueOf = ({ metrics }: CheckpointDescription) =>
    (Object.hasOwn(metrics, metric) ? metrics[metric] : undefined) ?? NaN
  const inTime = chronological(candidates)
  const sign = mode === 'min' ? 1 : -1
  const [first] = inTime
    .filter((candidate) => !Number.isNaN(valueOf(candidate)))
    .sort((left, right) => sign * Math.sign(valueOf(left) - valueOf(right) || 0))
  if (first === undefined) return null
  const identity = checkpointIdentity(first)
  const copies = inTime.filter((candidate) => identity !== null && checkpointIdentity(candidate) === identity)
  const chosen = copies.sort((left, right) => fleeting(left.path) - fleeting(right.path))[0] ?? first
  return { path: chosen.path, metric, mode, value: valueOf(chosen), epoch: chosen.epoch, phase: chosen.phase }
}

/** Refuses a metric that none of some checkpoints has, where there are any. */
export function requireMetric(checkpoints: readonly Pick<CheckpointDescription, 'metrics'>[], metric: string): void {
  if (checkpoints.length === 0 || checkpoints.some(({ metrics }) => Object.hasOwn(metrics, metric))) return
  const known = [...new Set(checkpoints.flatMap(({ metrics }) => Object.keys(metrics)))].sort()
  throw new TorchkeepError(
    'ERR_INVALID_ARGUMENT',
    `no checkpoint has a metric '${metric}'; ${known.length === 0 ? 'they have none at all' : `there are: ${known.join(', ')}`}`,
  )
}

/** How soon a name may mean another checkpoint or none: those of `best/` stay, others are rotated, the lasting names move on. */
function fleeting(path: string): number {
  const lasting = ['latest_best.pth', 'latest.pth'].indexOf(basename(path))
  return lasting >= 0 ? 2 + lasting : basename(dirname(path)) === 'best' ? 0 : 1
}
