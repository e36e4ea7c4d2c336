/** Checks of what a caller passes to the trainer: a misspelt option must not be passed over, since a run that starts anew where it should go on costs hours. */
import { type Field, flag, integer, list, Place, record, text } from '../checkpoint/fields.js'
import { modelCheckpointOptionsField } from './checkpoint-options.js'
import type { LogOptions } from './run-logs.js'
import type { TrainerOptions, TrainOptions } from './trainer.js'

/** A value of the API that is never written. */
function checked<T>(expected: string, accepts: (value: unknown) => boolean): Field<T> {
  const check = (value: unknown, at: Place): T => (accepts(value) ? (value as T) : at.refuse(expected, value))
  return { encode: check, decode: check }
}

const path = checked<string>('a path', (value) => typeof value === 'string' && value !== '' && !value.includes('\0'))

const logOptions = record<LogOptions>({
  events: ['events', flag, 'optional'],
  csv: ['csv', flag, 'optional'],
  tensorboard: ['tensorboard', flag, 'optional'],
})
/** All or nothing, or log by log. */
const logsField: Field<boolean | LogOptions> = {
  encode: (value, at) => (typeof value === 'boolean' ? value : logOptions.encode(value, at)),
  decode: (value, at) => (typeof value === 'boolean' ? value : logOptions.decode(value, at)),
}

const trainerOptions = record<TrainerOptions>({
  checkpointDir: ['checkpointDir', path, 'optional'],
  checkpoint: ['checkpoint', modelCheckpointOptionsField, 'optional'],
  loss: ['loss', checked('a function', (value) => typeof value === 'function'), 'optional'],
  // resolveMetrics looks at each.
  metrics: ['metrics', checked('an object', (value) => typeof value === 'object' && value !== null), 'optional'],
  threads: ['threads', integer(0), 'optional'],
  logs: ['logs', logsField, 'optional'],
})

const trainOptions = record<TrainOptions>({
  resumeFrom: ['resumeFrom', path, 'optional'],
  initFrom: ['initFrom', path, 'optional'],
  accept: ['accept', list(text), 'optional'],
  acceptRecovered: ['acceptRecovered', flag, 'optional'],
  signal: ['signal', checked('an AbortSignal', (value) => value instanceof AbortSignal), 'optional'],
})

/** @throws TorchkeepError `ERR_INVALID_ARGUMENT` naming the option. */
export function checkTrainerOptions(options: TrainerOptions): void {
  trainerOptions.encode(options, new Place('ERR_INVALID_ARGUMENT', '', 'options'))
}

/** @throws TorchkeepError `ERR_INVALID_ARGUMENT` naming the option. */
export function checkTrainOptions(options: TrainOptions): void {
  const at = new Place('ERR_INVALID_ARGUMENT', '', 'options')
  trainOptions.encode(options, at)
  if (options.resumeFrom !== undefined && options.initFrom !== undefined)
    at.field('initFrom').fail('cannot be given beside resumeFrom: a run goes on, or begins with given weights')
}
