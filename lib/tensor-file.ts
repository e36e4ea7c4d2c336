/** Live tensors out of and into files that `src/format` planned or checked. */
import type { FilePart, MapTensorFileOptions } from './contract.js'
import { addon } from './native.js'
import { Tensor } from './tensor.js'

/** Creates `path` exclusively and streams the planned parts into it; with `fsync` it is durable when this resolves. On failure the file is removed. */
export async function writeTensorFile(options: {
  path: string
  parts: readonly FilePart[]
  fsync: boolean
}): Promise<{ sizeBytes: number; crc32: number[] }> {
  return addon().writeTensorFile(options)
}

/** Tensors over checked byte ranges of a file. A CRC-32 that does not fit is `ERR_CHECKPOINT_CORRUPT`. */
export async function mapTensorFile(options: MapTensorFileOptions): Promise<Tensor[]> {
  return (await addon().mapTensorFile(options)).map((handle) => new Tensor(handle))
}
