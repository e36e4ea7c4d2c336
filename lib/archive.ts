/**
 * TorchScript archives, the files of C++'s `torch::save`. For files that Python opens use `save` of the package, which
 * writes Python's layout.
 */
import { TorchkeepError } from '../src/format/errors.js'
import { addon } from './native.js'
import { Tensor } from './tensor.js'

/** One tensor, a list of them, or tensors by dotted name as a `torch::nn::Module` has them. */
export type ArchiveValue = Tensor | readonly Tensor[] | ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>

/**
 * Writes `torch::save`'s archive, for C++ programs that call `torch::load`. Python's `torch.load` refuses such a file
 * under `weights_only=True`. `buffers`: the names among a module's tensors that are buffers; C++ loads parameters and
 * buffers apart.
 */
export async function saveArchive(
  path: string,
  value: ArchiveValue,
  { buffers = [] }: { buffers?: readonly string[] } = {},
): Promise<void> {
  await addon().saveArchive({ path, value: toHandles(value), buffers })
}

/**
 * Reads an archive by LibTorch's own `torch::load`: a bare tensor or list has the names `'0'`, `'1'`... LibTorch's
 * reader can crash on or be misled by hostile bytes, so the caller must say `trust: true`; anything else is
 * `ERR_CHECKPOINT_UNSAFE`.
 */
export async function loadArchive(
  path: string,
  { trust = false }: { trust?: boolean } = {},
): Promise<Map<string, Tensor>> {
  if (trust !== true) {
    throw new TorchkeepError(
      'ERR_CHECKPOINT_UNSAFE',
      `${path} is a TorchScript archive, which only LibTorch's own reader opens, and that is unsafe on untrusted files`,
      {
        suggestions: ['Pass { trust: true } if the file comes from a source you trust.'],
      },
    )
  }
  const loaded = await addon().loadArchive({ path })
  return new Map(Object.entries(loaded).map(([name, handle]) => [name, new Tensor(handle)]))
}

function toHandles(value: ArchiveValue): Parameters<ReturnType<typeof addon>['saveArchive']>[0]['value'] {
  if (value instanceof Tensor) return value.handle
  if (Array.isArray(value)) return (value as readonly Tensor[]).map((item) => item.handle)
  const entries =
    value instanceof Map ? [...(value as ReadonlyMap<string, Tensor>)] : Object.entries(value as Record<string, Tensor>)
  return Object.fromEntries(entries.map(([name, item]) => [name, item.handle]))
}
