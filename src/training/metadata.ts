/** What made a checkpoint. */
import { getNumThreads, type Module, versions } from '../../lib/index.js'
import { configHash } from '../checkpoint/config-hash.js'
import type { Plain } from '../checkpoint/fields.js'
import { packageVersion } from '../checkpoint/package-version.js'
import type { Metadata } from '../checkpoint/schema.js'

/** The threads of an operator that a trainer's option means; 0 is LibTorch's own choice. */
export const effectiveThreads = (threads: number): number => (threads === 0 ? getNumThreads() : threads)

/** The metadata of a run's checkpoints. */
export function runMetadata(model: Module, config: Plain, threads: number): Metadata {
  return {
    title: '',
    description: '',
    tags: [],
    configHash: configHash(config),
    modelType: model.constructor.name,
    nodeVersion: process.versions.node,
    torchkeepVersion: packageVersion,
    libtorchVersion: versions().libtorchRuntime,
    threads: effectiveThreads(threads),
  }
}
