/** What the name of a checkpoint says about it. */
import { basename } from 'node:path'

/** What the name of a checkpoint says; null where it does not. */
export interface NameFacts {
  epoch: number | null
  phase: number | null
  /** Seconds since 1970. */
  timestamp: number | null
}

/** Reads names such as `checkpoint_epoch_3_phase_1_1700000000.pth`, `best_model_epoch_3_phase_1.pth`, `checkpoint_epoch_3.pt`, with `backup_{T}_` or `recovered_` before them. */
export function factsOfName(path: string): NameFacts {
  const name = basename(path).replace(/^(backup_\d+_|recovered_)+/, '')
  const match = /^(?:checkpoint|best_model)_epoch_(\d{1,9})(?:_phase_(\d{1,9}))?(?:_(\d{6,12}))?(?=[._-])/.exec(name)
  const number = (text: string | undefined): number | null => (text === undefined ? null : Number(text))
  return { epoch: number(match?.[1]), phase: number(match?.[2]), timestamp: number(match?.[3]) }
}
