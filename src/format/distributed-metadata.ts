/**
 * Reads the `.metadata` of a `torch.distributed.checkpoint` folder: a pickle of dataclasses, which are checked here and become plain records. Source: `torch/distributed/checkpoint/metadata.py` and
 * `filesystem.py` (2.13).
 */
import { dtypes, isDTypeName, type DTypeName } from './dtypes.js'
import { fault, quoted } from './fault.js'
import { requireMemberName } from './member-name.js'
import { OpaqueObject, TorchDType } from './values.js'

/** A part of a tensor. */
export interface ChunkPlace {
  offsets: readonly number[]
  sizes: readonly number[]
}

/** A tensor of the state dict, whole. */
export interface DistributedTensor {
  dtype: DTypeName
  sizes: readonly number[]
  requiresGrad: boolean
  chunks: readonly ChunkPlace[]
}

/** Where an item, a whole torch.save file, lies. */
export interface ItemPlace {
  file: string
  offsetBytes: number
  sizeBytes: number
}

/** What the metadata say. */
export interface DistributedMetadata {
  /** By flattened name; null for what is no tensor. */
  items: ReadonlyMap<string, DistributedTensor | null>
  /** The place in the nested state dict of each flattened name, where it is told. */
  paths: ReadonlyMap<string, readonly (string | number)[]>
  /** By {@link itemKey}. */
  places: ReadonlyMap<string, ItemPlace>
  version: string | null
}

/** Key of an item: its flattened name, and where in the tensor the chunk begins. */
export function itemKey(name: string, offsets: readonly number[] | null): string {
  return `${name}\0${(offsets ?? []).join()}`
}

/** @param path of the metadata file, for messages. */
export function parseMetadata(path: string, value: unknown): DistributedMetadata {
  return new MetadataParser(path).parse(value)
}

class MetadataParser {
  readonly #path: string

  constructor(path: string) {
    this.#path = path
  }

  parse(value: unknown): DistributedMetadata {
    const metadata = this.#fields(value, 'Metadata', 'the metadata')
    const items = new Map<string, DistributedTensor | null>()
    for (const [name, item] of this.#map(metadata.get('state_dict_metadata'), 'state_dict_metadata'))
      items.set(this.#text(name, 'a name'), this.#item(this.#text(name, 'a name'), item))
    const places = new Map<string, ItemPlace>()
    for (const [index, info] of this.#map(metadata.get('storage_data'), 'storage_data'))
      this.#place(index, info, places)
    const version = metadata.get('version')
    const paths = this.#paths(metadata.get('planner_data'))
    return { items, paths, places, version: typeof version === 'string' ? version : null }
  }

  #item(name: string, item: unknown): DistributedTensor | null {
    if (item instanceof OpaqueObject && item.className.endsWith('.BytesStorageMetadata')) return null
    const fields = this.#fields(item, 'TensorStorageMetadata', quoted(name))
    const properties = fields.get('properties')
    const state = properties instanceof OpaqueObject ? properties.state : undefined
    // A tuple (dtype, layout, requires_grad, memory format, pinned), or before PyTorch 2.0.1 the fields by name.
    const [dtype, , requiresGrad] = Array.isArray(state)
      ? (state as unknown[])
      : state instanceof Map
        ? [state.get('dtype'), null, state.get('requires_grad')]
        : []
    if (!(dtype instanceof TorchDType) || !isDTypeName(dtype.name) || typeof requiresGrad !== 'boolean')
      return this.#broken(name, `the properties of ${quoted(name)} name no dtype that tensors can have`)
    if (dtypes[dtype.name].elementsPerByte > 1) this.#broken(name, `${quoted(name)} has the packed dtype ${dtype.name}`)
    const chunks = fields.get('chunks')
    if (!Array.isArray(chunks)) return this.#broken(name, `the chunks of ${quoted(name)} are no list`)
    const sizes = this.#sizes(fields.get('size'), name)
    const places = (chunks as unknown[]).map((chunk) => {
      const place = this.#fields(chunk, 'ChunkStorageMetadata', `a chunk of ${quoted(name)}`)
      return { offsets: this.#sizes(place.get('offsets'), name), sizes: this.#sizes(place.get('sizes'), name) }
    })
    return { dtype: dtype.name, sizes, requiresGrad, chunks: places }
  }

  #place(index: unknown, info: unknown, places: Map<string, ItemPlace>): void {
    const key = this.#fields(index, 'MetadataIndex', 'a key of storage_data')
    const name = this.#text(key.get('fqn'), 'the name in a key of storage_data')
    const fields = this.#fields(info, '_StorageInfo', `the place of ${quoted(name)}`)
    const [offset, length] = [fields.get('offset'), fields.get('length')]
    if (!isSize(offset) || !isSize(length)) this.#broken(name, `the place of ${quoted(name)} is no range of bytes`)
    const transforms = fields.get('transform_descriptors')
    if (Array.isArray(transforms) && transforms.length > 0) {
      const found = { finding: 'distributed.metadata', subject: name, code: 'ERR_CHECKPOINT_UNSUPPORTED' } as const
      fault(
        this.#path,
        found,
        `${quoted(name)} is stored transformed (${transforms.slice(0, 5).map(textOf).join(', ')}), which is not read`,
      )
    }
    const file = requireMemberName(this.#path, this.#text(fields.get('relative_path'), `the file of ${quoted(name)}`))
    const offsets = key.get('offset') ?? null
    const at = itemKey(name, offsets === null ? null : this.#sizes(offsets, name))
    if (places.has(at)) this.#broken(name, `${quoted(name)} has two places`)
    places.set(at, { file, offsetBytes: offset, sizeBytes: length })
  }

  #paths(planner: unknown): Map<string, readonly (string | number)[]> {
    const paths = new Map<string, readonly (string | number)[]>()
    if (!(planner instanceof Map)) return paths
    for (const [name, path] of planner as Map<unknown, unknown>) {
      const isStep = (step: unknown): step is string | number => typeof step === 'string' || isSize(step)
      if (typeof name !== 'string' || !Array.isArray(path) || path.length === 0 || !path.every(isStep))
        return this.#broken('planner_data', 'planner_data has a path that is no list of names and indices')
      paths.set(name, path)
    }
    return paths
  }

  /** The fields of an instance of a dataclass. */
  #fields(value: unknown, className: string, what: string): Map<unknown, unknown> {
    if (value instanceof OpaqueObject && value.className.endsWith(`.${className}`) && value.state instanceof Map)
      return value.state
    const found = value instanceof OpaqueObject ? value.className : typeof value
    return this.#broken(what, `${what} is ${found.slice(0, 200)}, expected a ${className}`)
  }

  #map(value: unknown, what: string): Map<unknown, unknown> {
    if (value === null || value === undefined) return new Map()
    return value instanceof Map ? value : this.#broken(what, `${what} is no dict`)
  }

  #text(value: unknown, what: string): string {
    return typeof value === 'string' ? value : this.#broken(what, `${what} is no str`)
  }

  #sizes(value: unknown, name: string): number[] {
    if (Array.isArray(value) && value.every(isSize)) return Array.from(value)
    return this.#broken(name, `${quoted(name)} has sizes or offsets that are no integers of at least 0`)
  }

  #broken(subject: string, reason: string): never {
    return fault(this.#path, { finding: 'distributed.metadata', subject }, reason)
  }
}

const textOf = (value: unknown): string => (typeof value === 'string' ? quoted(value) : typeof value)

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
