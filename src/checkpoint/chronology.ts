/** The order of a run's checkpoints in time, and which files are copies of one checkpoint. */

/** What the order is told from. */
export interface Moment {
  path: string
  epoch: number | null
  phase: number | null
  /** Optimizer steps of the whole run. */
  globalStep: number | null
  /** Seconds since 1970, as the file says. */
  timestamp: number | null
  modifiedMs: number
}

/**
 * Checkpoints from the oldest to the newest, in an order that does not depend on the one they come in: by the timestamps in the files where all have one (it survives copying, a run that is started
 * again in the same folder begins with small epochs), else by phase and epoch where all have them (modification times are lost by many ways of copying), else by modification time. What is equal there
 * is ordered by the criteria after it and at last by path.
 */
export function chronological<T extends Moment>(checkpoints: readonly T[]): T[] {
  const everyOne = (known: (moment: Moment) => boolean) => checkpoints.every(known)
  const criteria: ((moment: Moment) => number)[] = []
  if (everyOne(({ timestamp }) => isNumber(timestamp))) criteria.push(({ timestamp }) => timestamp as number)
  if (everyOne(({ epoch }) => isNumber(epoch))) {
    criteria.push(
      ({ phase }) => (isNumber(phase) ? phase : 0),
      ({ epoch }) => epoch as number,
      ({ globalStep }) => (isNumber(globalStep) ? globalStep : 0),
    )
  }
  criteria.push(({ modifiedMs }) => modifiedMs)
  return [...checkpoints].sort((left, right) => {
    for (const of of criteria) {
      const [a, b] = [of(left), of(right)]
      if (a !== b) return a < b ? -1 : 1
    }
    return left.path < right.path ? -1 : left.path > right.path ? 1 : 0
  })
}

function isNumber(value: number | null): value is number {
  return value !== null && !Number.isNaN(value)
}

/**
 * A text that is equal for copies of one checkpoint under several names (`regular/...`, `best/...`, `latest.pth`): moment, epoch, phase, step and metrics. Not the size: `torch.save` writes the file's name into
 * every record. Null where the file gives no timestamp or epoch: nothing then tells a copy.
 */
export function checkpointIdentity(checkpoint: Moment & { metrics: Readonly<Record<string, number>> }): string | null {
  const { timestamp, epoch, phase, globalStep, metrics } = checkpoint
  if (timestamp === null || epoch === null) return null
  const sorted = Object.entries(metrics).sort(([left], [right]) => (left < right ? -1 : 1))
  return JSON.stringify([timestamp, epoch, phase, globalStep, sorted.map(([name, value]) => [name, String(value)])])
}
