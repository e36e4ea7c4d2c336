/** Tensors of a file as data: `.safetensors`, `.pth` and whatever else `load` reads. */
import { type Dataset, Tensor, TensorDataset } from '../../lib/index.js'
import { TorchkeepError } from '../format/errors.js'
import { nearNames } from '../format/near-names.js'
import { load } from '../serialization.js'
import { batchSettings, evalLoader, trainLoader } from './batches.js'
import type { OpenedData, OpenOptions, TensorDescription } from './open-data.js'
import { splitDataset } from './split-dataset.js'
import type { TensorFileSpec } from './spec.js'
import { invalid, resolvePath } from './table-recipe.js'

export async function openTensors(spec: TensorFileSpec, { baseFolder, seed = 0 }: OpenOptions): Promise<OpenedData> {
  const settings = batchSettings(spec)
  const names = [...spec.inputs, spec.target]
  if (spec.inputs.length === 0) invalid('inputs', 'names no tensor')
  const open = async (file: string | undefined): Promise<TensorDataset | null> =>
    file === undefined ? null : tensorsOf(resolvePath(baseFolder, file), names)
  const [whole, ownVal, ownTest] = [
    await tensorsOf(resolvePath(baseFolder, spec.file), names),
    await open(spec.val_file),
    await open(spec.test_file),
  ]
  for (const [file, other] of [
    [spec.val_file, ownVal],
    [spec.test_file, ownTest],
  ] as const)
    if (other !== null) requireAlike(names, whole, other, file ?? '')
  const { train, val, test, sentence } = await splitDataset(whole, spec.split, { baseFolder, seed })
  const one = (name: 'val' | 'test', split: Dataset | null, own: Dataset | null): Dataset | null => {
    if (split !== null && own !== null)
      invalid(`${name}_file`, `is given, but the split has rows of ${spec.file} for ${name} too`)
    return split ?? own
  }
  const [valSet, testSet] = [one('val', val, ownVal), one('test', test, ownTest)]
  return {
    train: trainLoader(train, settings),
    val: evalLoader(valSet, settings),
    test: evalLoader(testSet, settings),
    fitted: null,
    report: [
      `${train.length} samples for training, ${valSet?.length ?? 0} for validation, ${testSet?.length ?? 0} for test${sentence === null ? '' : ` (${sentence})`}`,
    ],
    inputs: describeTensors(whole.tensors.slice(0, -1), spec.inputs),
    target: {
      ...(describeTensors(whole.tensors.slice(-1), [spec.target])[0] as TensorDescription),
      classes: null,
      columns: [spec.target],
    },
  }
}

/** What tensors are without their first dimension. */
export function describeTensors(tensors: readonly Tensor[], names: readonly string[]): TensorDescription[] {
  return tensors.map(({ dtype, shape }, index) => ({
    name: names[index] ?? `input ${index + 1}`,
    dtype,
    shape: shape.slice(1),
    indices: null,
  }))
}

async function tensorsOf(path: string, names: readonly string[]): Promise<TensorDataset> {
  const found = new Map<string, Tensor>()
  collect(await load(path), '', found)
  const tensors = names.map((name) => tensorAt(found, name, path))
  // One tensor may have several names, as tied weights have.
  for (const tensor of found.values()) if (!tensors.includes(tensor)) tensor.dispose()
  const [samples] = tensors[0]?.shape ?? []
  for (const [index, { shape }] of tensors.entries())
    if (shape.length === 0 || shape[0] !== samples)
      throw new TorchkeepError(
        'ERR_DATA',
        `${path}: the tensor '${names[index]}' has shape [${shape.join(', ')}], but '${names[0]}' has ${samples ?? 'no'} samples along its first dimension`,
      )
  return new TensorDataset(...tensors)
}

/** Every tensor of a loaded value by its keys, joined by dots. */
function collect(value: unknown, at: string, found: Map<string, Tensor>): void {
  if (value instanceof Tensor) found.set(at, value)
  const entries: [unknown, unknown][] =
    value instanceof Map ? [...value] : Array.isArray(value) ? [...value.entries()] : []
  for (const [key, item] of entries) collect(item, at === '' ? String(key) : `${at}.${String(key)}`, found)
}

function tensorAt(found: ReadonlyMap<string, Tensor>, name: string, path: string): Tensor {
  const tensor = found.get(name)
  if (tensor !== undefined) return tensor
  const names = [...found.keys()]
  throw new TorchkeepError(
    'ERR_DATA',
    `${path} has no tensor '${name}'; it has ${names.slice(0, 10).join(', ') || 'none'}${names.length > 10 ? `, ... (${names.length})` : ''}`,
    {
      suggestions: nearNames(name, names).map((near) => `is '${near}' meant?`),
    },
  )
}

function requireAlike(
  names: readonly string[],
  { tensors: expected }: TensorDataset,
  { tensors: found }: TensorDataset,
  file: string,
): void {
  for (const [index, name] of names.entries()) {
    const [before, now] = [expected[index], found[index]].map(
      (tensor) =>
        `${tensor?.dtype} [n${tensor?.shape
          .slice(1)
          .map((size) => `, ${size}`)
          .join('')}]`,
    )
    if (before !== now)
      throw new TorchkeepError(
        'ERR_DATA',
        `${file}: the tensor '${name}' should be ${before} as in the training file, but is ${now}`,
      )
  }
}
