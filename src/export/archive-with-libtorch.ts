/** Weights as C++ programs read them: `torch::save`'s own archive. */
import { join } from 'node:path'
import { saveArchive } from '../../lib/index.js'
import { disposeTensors } from '../training/dispose-tensors.js'
import { liveTensors } from './live-tensors-with-libtorch.js'
import type { Tensors } from './weight-files.js'

/** Writes `model_archive.pt`. `buffers`: which of the names are buffers, which C++ loads apart from parameters. */
export async function writeTorchArchive(folder: string, tensors: Tensors, buffers: readonly string[]): Promise<void> {
  const live = await liveTensors(tensors)
  try {
    await saveArchive(join(folder, 'model_archive.pt'), live, { buffers })
  } finally {
    disposeTensors([...live.values()])
  }
}
