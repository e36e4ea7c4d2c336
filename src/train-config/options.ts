/** Parts of a configuration as options of the trainer. */
import { Place, type Plain } from '../checkpoint/fields.js'
import { type ModelCheckpointOptions, modelCheckpointOptionsField } from '../training/checkpoint-options.js'
import type { LogOptions } from '../training/run-logs.js'
import type { TrainFile } from './schema.js'
import { toDicts } from './read-config.js'

/** `checkpoint`, through the same table of names that checks the trainer's option. */
export function modelCheckpointOptions(checkpoint: NonNullable<TrainFile['checkpoint']>): ModelCheckpointOptions {
  return modelCheckpointOptionsField.decode(
    toDicts(checkpoint as Plain),
    new Place('ERR_INVALID_ARGUMENT', '', 'checkpoint'),
  )
}

/** `logs`, and `--tensorboard`. */
export function loggingOptions(logs: TrainFile['logs'], tensorboard: boolean): { logs: boolean | LogOptions } {
  const options = logs === undefined || logs === true ? {} : logs
  if (options === false) return { logs: tensorboard ? { events: false, csv: false, tensorboard } : false }
  return { logs: { ...(options as LogOptions), ...(tensorboard ? { tensorboard } : {}) } }
}
