/** The values of tensors as metrics take them. */
import { scope, type Tensor } from '../../lib/index.js'
import { letOthersRun } from './event-loop.js'
import type { Values } from './metrics.js'

/** Elements that are converted and copied in about a millisecond. */
const pieceSize = 1 << 18

/** Copies a tensor of any dtype into doubles; the event loop turns in between. */
export async function metricValues(tensor: Tensor): Promise<Values> {
  const data = new Float64Array(tensor.numel())
  const flat = tensor.reshape(-1)
  try {
    for (let start = 0; start < data.length; start += pieceSize) {
      const length = Math.min(pieceSize, data.length - start)
      data.set(
        scope(() => flat.narrow(0, start, length).to('float64').data() as Float64Array),
        start,
      )
      await letOthersRun()
    }
  } finally {
    flat.dispose()
  }
  return { data, shape: tensor.shape }
}
