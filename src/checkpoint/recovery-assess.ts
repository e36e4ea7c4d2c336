/** How well a damaged file can be recovered, from its structure: no tensor's bytes are read unless nothing else tells where they end. */
import type { Finding, FormatFindingId } from '../format/findings.js'
import { salvageFile, type PickleState, type Salvage } from '../format/salvage.js'
import { listTensors, strided } from '../format/walk.js'
import { isThere } from './recovery-scan.js'

/**
 * `high`: every tensor is there; `medium`: at least half of them are, or the pickle breaks off; `low`: fewer, or bytes without names (a donor can name them), or a pickle whose words may be wrong;
 * `none`: nothing.
 */
export type RecoveryPotential = 'high' | 'medium' | 'low' | 'none'

/** What a recovery would give. */
export interface RecoveryAssessment {
  path: string
  potential: RecoveryPotential
  /** Whether the structure is as it should be. Then only bytes may be damaged, which `recover` looks at. */
  isSound: boolean
  pickle: PickleState
  tensors: {
    /** Tensors that the file names. */
    total: number
    /** Those whose bytes are all there. */
    saved: number
    /** Records of bytes that nothing names. */
    unnamed: number
  }
  /** What is broken. */
  problems: readonly Finding<FormatFindingId>[]
}

/**
 * Looks at a file, sound or broken.
 * @throws TorchkeepError ERR_CHECKPOINT_MISSING, ERR_CHECKPOINT_UNREADABLE for reasons outside the file.
 */
export async function assessRecovery(path: string): Promise<RecoveryAssessment> {
  const salvage = await salvageFile(path)
  const tensors = countTensors(salvage)
  const { isSound, pickle, damages } = salvage
  return { path, potential: potentialOf(pickle, tensors), isSound, pickle, tensors, problems: damages }
}

/** The tensors of a salvaged file. */
export function countTensors({ file, incomplete, unclaimed }: Salvage): RecoveryAssessment['tensors'] {
  const all = file.value === undefined ? [] : listTensors(file.value)
  const saved = all.filter(({ record }) => strided(record).every((part) => isThere(part, incomplete)))
  return { total: all.length, saved: saved.length, unnamed: unclaimed.length }
}

function potentialOf(pickle: PickleState, { total, saved, unnamed }: RecoveryAssessment['tensors']): RecoveryPotential {
  if (saved === 0) return unnamed > 0 ? 'low' : 'none'
  if (pickle === 'changed' || saved < total / 2) return 'low'
  return saved < total || pickle === 'partial' || unnamed > 0 ? 'medium' : 'high'
}
