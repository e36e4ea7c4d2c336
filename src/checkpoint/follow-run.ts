/** Follows a run through its `events.jsonl`. */
import { join } from 'node:path'
import { TorchkeepError } from '../format/errors.js'
import { EventTail, fileChange } from './event-tail.js'
import { eventsName } from './run-events.js'
import { type EventFields, RunPicture, type RunState } from './run-picture.js'

/** Systems do not tell of every change of a file, so it is looked at this often in any case. */
const lookIntervalMs = 1000

/** What {@link followRun} calls. */
export interface FollowOptions {
  /** Each event, in order, those from before included. */
  onEvent?: (event: EventFields) => void
  /** How the run stands, after each look at the file. */
  onState?: (state: RunState) => void
  /** Ends the following. */
  signal?: AbortSignal
}

/** How the run in a folder stands. @throws TorchkeepError `ERR_CHECKPOINT_MISSING` where no run has logged there, `ERR_CHECKPOINT_UNREADABLE` where the file cannot be read. */
export async function readRun(folder: string, { onEvent }: Pick<FollowOptions, 'onEvent'> = {}): Promise<RunState> {
  const path = join(folder, eventsName)
  const picture = new RunPicture()
  await look(new EventTail(path), picture, path, onEvent)
  const state = picture.state()
  if (state.status !== 'none') return state
  throw new TorchkeepError('ERR_CHECKPOINT_MISSING', `no run has logged in ${folder}: there is no event in ${path}`, {
    suggestions: ['name the folder of the run, its checkpointDir', 'without --once, watch waits for a run to begin'],
  })
}

/**
 * Follows the run in a folder, or the one that will begin there, until it has ended, its process is gone, or `signal` fires. The file may be absent at first, be cut short or replaced.
 * @throws TorchkeepError `ERR_CHECKPOINT_UNREADABLE` where the file cannot be read.
 */
export async function followRun(folder: string, { onEvent, onState, signal }: FollowOptions = {}): Promise<RunState> {
  const path = join(folder, eventsName)
  const tail = new EventTail(path)
  const picture = new RunPicture()
  const stop = signal ?? new AbortController().signal
  for (let wasLost = false; ;) {
    await look(tail, picture, path, onEvent)
    const state = picture.state()
    onState?.(state)
    const lost = state.status === 'lost'
    // Its last words may have come between the look at the file and the one at the process.
    if (stop.aborted || isOver(state) || (lost && wasLost)) return state
    if (!lost) await fileChange(path, lookIntervalMs, stop)
    wasLost = lost
  }
}

const isOver = ({ status }: RunState): boolean =>
  status === 'finished' || status === 'interrupted' || status === 'failed'

async function look(
  tail: EventTail,
  picture: RunPicture,
  path: string,
  onEvent: FollowOptions['onEvent'],
): Promise<void> {
  try {
    for await (const lines of tail.read())
      for (const line of lines) {
        const event = picture.add(line)
        if (event !== null) onEvent?.(event)
      }
  } catch (cause) {
    throw new TorchkeepError('ERR_CHECKPOINT_UNREADABLE', `cannot read ${path}: ${(cause as Error).message}`, { cause })
  }
}
