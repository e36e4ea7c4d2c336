/** Inputs that a model is recorded, tried and proved with: out of a file, or drawn. */
import type { Tensor } from '../../lib/index.js'
import { arange, Generator, isFloatingPoint, randint, randn, zeros, type DType } from '../../lib/index.js'
import { TorchkeepError } from '../format/errors.js'
import { readTorchFile } from '../format/read.js'
import { isTensorRecord, type AnyTensorRecord, type TensorRecord } from '../format/tensor-record.js'
import { disposeTensors } from '../training/dispose-tensors.js'
import { embeddingRange } from './embedding-range.js'
import { batchRange, inputsOf, type GraphTensor } from './graph-tensors.js'
import { liveTensors, recordOf } from './live-tensors-with-libtorch.js'
import type { ExportableModel } from './types.js'

/** The seed of all drawn inputs: two exports of a checkpoint have the same sample. */
const seed = 0

/**
 * Inputs for a model: those of a file, or drawn from a fixed seed as `torch.randn` does. Integers that are looked up in an embedding are drawn from its range; other integers are 0, booleans alternate.
 *
 * @param rows of the batch, fitted to what the graph takes (one recorded for one batch size gets that). Not for a file.
 * @param sampleFile `.safetensors` or `.pth` with a tensor for each input, by the names of the graph's inputs or in their order.
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` for a file that does not fit, naming the input; `ERR_CHECKPOINT_UNSUPPORTED` for an input dtype that is not drawn.
 */
export async function makeSample(
  { program }: Pick<ExportableModel, 'program'>,
  rows = 4,
  sampleFile?: string,
): Promise<TensorRecord<Uint8Array>[]> {
  const inputs = inputsOf(program)
  const range = batchRange(program)
  const fitting = range === null ? rows : Math.min(Math.max(rows, range.min), range.max)
  const generator = new Generator(seed)
  const tensors =
    sampleFile === undefined
      ? inputs.map((input) => draw(input, fitting, embeddingRange(program, input.name), generator))
      : await readSample(sampleFile, inputs)
  const records = tensors.map(recordOf)
  disposeTensors(tensors)
  return records
}

function draw({ name, dtype, shape }: GraphTensor, rows: number, range: number | null, generator: Generator): Tensor {
  const sizes = shape.map((size) => size ?? rows)
  const own = dtype as DType
  if (isFloatingPoint(own)) {
    const isWide = own === 'float32' || own === 'float64'
    return isWide ? randn(sizes, { dtype: own, generator }) : randn(sizes, { generator }).to(own)
  }
  if (own === 'bool')
    return arange(sizes.reduce((a, b) => a * b, 1))
      .remainder(2)
      .eq(0)
      .reshape(...sizes)
  if (/^u?int\d+$/.test(own))
    return range === null ? zeros(sizes, { dtype: own }) : randint(0, range, sizes, { dtype: own, generator })
  throw new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `the input '${name}' is ${own}, of which no sample is drawn`, {
    suggestions: ['--sample FILE gives one'],
  })
}

/**
 * The tensors of a sample file in the order of the model's inputs.
 *
 * @param inputs of the model; null where it is not recorded yet: then the file's own order counts.
 */
export async function readSample(path: string, inputs: readonly GraphTensor[] | null): Promise<Tensor[]> {
  const { value, container } = await readTorchFile(path)
  const named = tensorsIn(value)
  if (named === null || named.size === 0)
    throw refused(path, 'holds no tensors, expected one for each input of the model')
  const names = orderOf(path, [...named.keys()], inputs, container === 'safetensors')
  const live = await liveTensors(new Map(names.map((name) => [name, named.get(name) as AnyTensorRecord])))
  const tensors = [...live.values()].map((tensor) => tensor.detach())
  if (inputs !== null) checkInputs(path, inputs, tensors)
  return tensors
}

/** Tensors by name or place: a dict, a list, one tensor, or what our exports keep in `sample.pth`. */
function tensorsIn(value: unknown): Map<string, AnyTensorRecord> | null {
  if (value instanceof Map && Array.isArray(value.get('inputs'))) return tensorsIn(value.get('inputs'))
  if (isTensorRecord(value)) return new Map([['0', value]])
  const entries: [unknown, unknown][] =
    value instanceof Map ? [...value] : Array.isArray(value) ? [...value.entries()] : []
  const tensors = new Map<string, AnyTensorRecord>()
  for (const [name, item] of entries) {
    if (!isTensorRecord(item)) return null
    tensors.set(String(name), item)
  }
  return tensors
}

/** Names of the file in the order of the inputs. A safetensors file has an order of its own (by dtype and name), so that names have to tell. */
function orderOf(
  path: string,
  names: readonly string[],
  inputs: readonly GraphTensor[] | null,
  isSorted: boolean,
): string[] {
  const wanted = inputs?.map(({ name }) => name)
  if (wanted !== undefined && wanted.length === names.length && wanted.every((name) => names.includes(name)))
    return wanted
  if (wanted !== undefined && wanted.length !== names.length)
    throw refused(path, `holds ${names.length} tensors (${names.join(', ')}), but the model takes ${wanted.join(', ')}`)
  if (names.length === 1) return [...names]
  const numbered = names.map((name) => /^(.*?)(\d+)$/.exec(name))
  const stems = new Set(numbered.map((match) => match?.[1]))
  if (stems.size === 1 && !stems.has(undefined))
    return [...names].sort((a, b) => Number(/\d+$/.exec(a)?.[0]) - Number(/\d+$/.exec(b)?.[0]))
  if (!isSorted) return [...names]
  throw refused(
    path,
    `does not say which of ${names.join(', ')} is which input: name them ${(wanted ?? names.map((_, index) => `args_${index}`)).join(', ')}`,
  )
}

/** Rows may be any number, the same for all. */
function checkInputs(path: string, inputs: readonly GraphTensor[], tensors: readonly Tensor[]): void {
  let rows: number | null = null
  for (const [index, { name, dtype, shape }] of inputs.entries()) {
    const given = tensors[index] as Tensor
    const fits =
      given.dtype === dtype &&
      given.shape.length === shape.length &&
      shape.every((size, dimension) => size === (size === null ? null : given.shape[dimension]))
    const [own] = shape[0] === null ? given.shape : []
    if (fits && (own === undefined || rows === null || own === rows)) {
      rows ??= own ?? null
      continue
    }
    const expected = `${dtype} [${shape.map((size) => size ?? rows ?? 'rows').join(', ')}]`
    throw refused(path, `has ${given.dtype} [${given.shape.join(', ')}] for the input '${name}', expected ${expected}`)
  }
}

const refused = (path: string, what: string): TorchkeepError =>
  new TorchkeepError('ERR_INVALID_ARGUMENT', `the sample ${path} ${what}`)
