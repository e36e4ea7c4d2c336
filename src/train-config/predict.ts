/** Predictions for the rows of a CSV file, as a CSV file. */
import { closeSync, fsyncSync, openSync, writeFileSync } from 'node:fs'
import { type DataLoader, scope, type Tensor } from '../../lib/index.js'
import { exists, publish } from '../checkpoint/store.js'
import { readCsv } from '../data/csv-file.js'
import { recipeOf } from '../data/fitted.js'
import { type OpenedRows, openRows } from '../data/rows-data.js'
import { TorchkeepError } from '../format/errors.js'
import { csvText } from '../format/csv.js'
import { nearNames } from '../format/near-names.js'
import { predictCheckpoint } from '../training/evaluation.js'
import type { RecordedConfig } from './recorded-config.js'

/** What is predicted, and how it is written. */
export interface PredictOptions {
  /** The checkpoint, and what it holds of its configuration. */
  checkpoint: string
  recorded: RecordedConfig
  /** The loss of its training, which says what outputs mean: logits of classes, of one class, or values. */
  loss: string
  /** The table. */
  data: string
  output: string
  /** Whether a file that is there is replaced. */
  force: boolean
  /** Columns of the table that go along; default those that the model does not use. */
  keep?: readonly string[]
  /** Writes the model's outputs as they are. */
  raw: boolean
  batchSize: number
  device?: string
  threads?: number
  signal?: AbortSignal
  onProgress?: (done: number, total: number) => void
}

/** What was written. */
export interface PredictResult {
  checkpoint: string
  output: string
  /** Rows of the table, all of which are in the output. */
  rows: number
  /** Of these without a prediction, since fields that the model needs are empty. */
  withoutPrediction: number
  /** Names of the columns of the output. */
  columns: string[]
  report: readonly string[]
}

/**
 * Predicts all rows of a table in their order and publishes the result: the output is there whole, or not at all.
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` for an output that is there or a column that is not; `ERR_DATA`, `ERR_CHECKPOINT_*`, `ERR_ABORTED`.
 */
export async function predictFile(options: PredictOptions): Promise<PredictResult> {
  const { checkpoint, recorded, data, output } = options
  if (!options.force && (await exists(output)))
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${output} is there already; nothing was written`, {
      suggestions: ['--force replaces it', 'another name after -o'],
    })
  const rows = await openRows(recorded.data.fitted, { file: data, batchSize: options.batchSize, target: 'ignore' })
  const predictions = await predictRows(rows, options)
  const table = new PredictionTable(options, rows, predictions)
  await publish(output, (temporaryPath) => table.write(temporaryPath))
  return {
    checkpoint,
    output,
    rows: table.rows,
    withoutPrediction: table.rows - rows.rows.length,
    columns: table.columns,
    report: rows.report,
  }
}

/** Columns of predictions, each with a text for every sample. */
interface Predictions {
  names: readonly string[]
  text: (sample: number) => (string | null)[]
}

async function predictRows(rows: OpenedRows, options: PredictOptions): Promise<Predictions> {
  const { checkpoint, signal, onProgress, device, threads } = options
  const values: Values[] = []
  let [width, done] = [0, 0]
  const outputs = predictCheckpoint(checkpoint, batchesOf(rows.data), {
    ...(device === undefined ? {} : { device }),
    ...(threads === undefined ? {} : { threads }),
    ...(signal === undefined ? {} : { signal }),
  })
  for await (const [output, ...more] of outputs) {
    const [samples = 0, columns = 1, ...deeper] = output?.shape ?? []
    if (output === undefined || more.length > 0 || deeper.length > 0)
      throw new TorchkeepError(
        'ERR_CHECKPOINT_UNSUPPORTED',
        `predictions are written for a model with one output [rows] or [rows, columns]; this one has ${more.length + 1}, the first ${JSON.stringify(output?.shape ?? [])}`,
        { suggestions: ['predictCheckpoint() of the API gives the tensors'] },
      )
    width = columns
    values.push(valuesOf(output, options, rows))
    output.dispose()
    done += samples
    onProgress?.(done, rows.rows.length)
  }
  return named(values, width, options, rows)
}

/** The batches in the order of the rows, each disposed when the next is asked for. */
function* batchesOf(data: DataLoader): Generator<Tensor[], void, undefined> {
  for (const batch of data) {
    yield batch
    for (const tensor of batch) tensor.dispose()
  }
}

type Values = Float32Array | Float64Array

/** Probabilities where the outputs are logits and `raw` is not asked for; computed by LibTorch, as the training did. */
function valuesOf(output: Tensor, { loss, raw }: PredictOptions, { target }: OpenedRows): Values {
  return scope(() => {
    const float = output.dtype === 'float64' ? output : output.float()
    const isClasses = target.classes !== null && output.shape[1] === target.classes.length
    const shown = raw ? float : loss === 'bce_with_logits' ? float.sigmoid() : isClasses ? float.softmax(1) : float
    return shown.data() as Values
  })
}

function named(
  values: readonly Values[],
  width: number,
  { loss, raw, batchSize }: PredictOptions,
  { target }: OpenedRows,
): Predictions {
  const at = (sample: number, column: number): number =>
    values[Math.floor(sample / batchSize)]?.[(sample % batchSize) * width + column] ?? NaN
  const text = values[0] instanceof Float64Array ? String : float32Text
  const all = (sample: number): string[] => Array.from({ length: width }, (_, column) => text(at(sample, column)))
  const { classes, columns } = target
  if (raw || (classes === null ? columns.length !== width : classes.length !== width))
    return { names: Array.from({ length: width }, (_, column) => `output_${column}`), text: all }
  if (classes === null)
    return {
      names: columns.map((name) => `${loss === 'bce_with_logits' ? 'probability' : 'predicted'}_${name}`),
      text: all,
    }
  const best = (sample: number): string | null => {
    let top = 0
    for (let column = 1; column < width; column++) if (at(sample, column) > at(sample, top)) top = column
    return Number.isNaN(at(sample, top)) ? null : (classes[top] as string)
  }
  return {
    names: [`predicted_${columns[0]}`, ...classes.map((name) => `probability_${name}`)],
    text: (sample) => [best(sample), ...all(sample)],
  }
}

/** The shortest decimal that is read back as the same float32. */
export function float32Text(value: number): string {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits))
    if (Math.fround(short) === value) return String(short)
  }
  return String(Number(value.toPrecision(9)))
}

/** Bytes gathered before they are written. */
const chunkLength = 1 << 16

/** The table read once more, each row with what goes along and what was predicted for it. */
class PredictionTable {
  rows = 0
  columns: string[] = []
  #kept: number[] = []

  constructor(
    private readonly options: PredictOptions,
    private readonly opened: OpenedRows,
    private readonly predictions: Predictions,
  ) {}

  async write(path: string): Promise<void> {
    const file = openSync(path, 'wx')
    let text = ''
    const flush = (): void => {
      writeFileSync(file, text)
      text = ''
    }
    const put = (cells: readonly (string | null)[]): void => {
      text += csvText([cells])
      if (text.length > chunkLength) flush()
    }
    try {
      const { delimiter, header } = recipeOf(this.options.recorded.data.fitted)
      let sample = 0
      await readCsv(
        this.options.data,
        { delimiter: delimiter ?? undefined, header },
        {
          columns: (names) => {
            this.#choose(names)
            put(this.columns)
          },
          row: (fields, _line, row) => {
            const isPredicted = this.opened.rows[sample] === row
            const predicted = isPredicted ? this.predictions.text(sample++) : this.predictions.names.map(() => null)
            put([...this.#kept.map((index) => fields[index] as string), ...predicted])
            this.rows++
          },
        },
      )
      flush()
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
  }

  #choose(names: readonly string[]): void {
    const { columns, target } = recipeOf(this.options.recorded.data.fitted)
    const used = new Set(columns.filter(({ name }) => !target.includes(name)).map(({ column }) => column))
    const wanted = this.options.keep ?? names.filter((name) => !used.has(name))
    const absent = wanted.find((name) => !names.includes(name))
    if (absent !== undefined)
      throw new TorchkeepError(
        'ERR_INVALID_ARGUMENT',
        `${this.options.data} has no column '${absent}' to keep; it has ${names.join(', ')}`,
        { suggestions: nearNames(absent, names).map((name) => `--keep ${name}`) },
      )
    this.#kept = wanted.map((name) => names.indexOf(name))
    this.columns = [...wanted, ...this.predictions.names]
  }
}
