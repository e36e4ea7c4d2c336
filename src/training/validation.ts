/** One pass over the validation data. */
import { getRngState, scope, setRngState, type Tensor } from '../../lib/index.js'
import type { BatchFeed, FeedEvaluation } from './feed.js'
import { computeMetrics, type Metric, type Values } from './metrics.js'
import type { PhaseSession } from './phase-session.js'

/** What a validation found. */
export interface Validation {
  loss: number
  metrics: Record<string, number>
}

/**
 * Evaluates the model on all validation data.
 *
 * @param watched runs an operation that the signal may end.
 * @returns null where the validation was ended before all batches were seen. The random state is then as it was before, since a resumed run validates from the start.
 */
export async function validate(
  phase: PhaseSession,
  data: BatchFeed,
  metrics: readonly Metric[],
  watched: (operation: () => Promise<FeedEvaluation>) => Promise<FeedEvaluation>,
): Promise<Validation | null> {
  const states = { default: getRngState(), own: data.generatorState() }
  try {
    const order = data.epochOrder()
    const result = await watched(() => data.evaluate(phase.session, order, metrics.length > 0))
    if (result.reason === 'end') return { loss: result.loss, metrics: await measure(metrics, result) }
    setRngState(states.default)
    data.setGeneratorState(states.own)
    return null
  } finally {
    states.default.dispose()
    states.own?.dispose()
  }
}

/** The metrics of a validation; disposes the tensors. */
async function measure(metrics: readonly Metric[], result: FeedEvaluation): Promise<Record<string, number>> {
  const { outputs, targets } = result
  const [output] = outputs
  const values =
    output === undefined || targets === null ? null : { outputs: valuesOf(output), targets: valuesOf(targets) }
  for (const tensor of outputs) tensor.dispose()
  targets?.dispose()
  return values === null ? {} : computeMetrics(metrics, values.outputs, values.targets)
}

const valuesOf = (tensor: Tensor): Values => ({
  data: scope(() => tensor.to('float64').data() as Float64Array),
  shape: tensor.shape,
})
