/** Opcodes of the `.metadata` of a torch.distributed.checkpoint folder, part by part. */
import { ints, op, pickle } from './fixtures.js'

/** Opcodes of an instance of a dataclass of torch.distributed.checkpoint with a state. */
export const instance = (module: string, name: string, state: Record<string, string>) =>
  op.global(`torch.distributed.checkpoint.${module}`, name) +
  op.tuple0 +
  op.newobj +
  op.dict +
  op.mark +
  Object.entries(state)
    .map(([key, value]) => op.str(key) + value)
    .join('') +
  op.setitems +
  op.build
export const dict = (...entries: string[]) => op.dict + op.mark + entries.join('') + op.setitems
export const list = (...items: string[]) => op.list + op.mark + items.join('') + op.appends
export const size = (...sizes: number[]) => op.global('torch', 'Size') + ints(...sizes) + op.tuple1 + op.reduce

const properties =
  op.global('torch.distributed.checkpoint.metadata', 'TensorProperties') +
  op.tuple0 +
  op.newobj +
  (op.mark + op.global('torch', 'float32') + op.none + op.no + op.none + op.no + op.tuple) +
  op.build
export const chunk = (offsets: string, sizes: string) =>
  instance('metadata', 'ChunkStorageMetadata', { offsets, sizes })
export const tensorItem = (sizes: string, ...chunks: string[]) =>
  instance('metadata', 'TensorStorageMetadata', { properties, size: sizes, chunks: list(...chunks) })
export const place = (name: string, file: string, offset: string, length: string) =>
  instance('metadata', 'MetadataIndex', { fqn: op.str(name), offset: size(0), index: op.int(0) }) +
  instance('filesystem', '_StorageInfo', { relative_path: op.str(file), offset, length })

/** The whole pickle. */
export const metadata = (items: string, places: string, planner = op.none) =>
  pickle(instance('metadata', 'Metadata', { state_dict_metadata: items, planner_data: planner, storage_data: places }))
