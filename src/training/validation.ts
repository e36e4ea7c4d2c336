/** One pass over the validation data. */
import { getRngState, setRngState } from '../../lib/index.js'
import type { BatchFeed, FeedEvaluation } from './feed.js'
import { metricValues } from './metric-values.js'
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
 * @returns null where the validation was ended before all batches were seen. The random state is then as it was before, as after a failure, since a resumed run validates from the start.
 */
export async function validate(
  phase: PhaseSession,
  data: BatchFeed,
  metrics: readonly Metric[],
  watched: (operation: () => Promise<FeedEvaluation>) => Promise<FeedEvaluation>,
): Promise<Validation | null> {
  const states = { default: getRngState(), own: data.generatorState() }
  const putBack = (): void => {
    setRngState(states.default)
    data.setGeneratorState(states.own)
  }
  try {
    const order = data.epochOrder()
    const result = await watched(() => data.evaluate(phase.session, order, metrics.length > 0))
    if (result.reason === 'end') return { loss: result.loss, metrics: await measure(metrics, result) }
    putBack()
    return null
  } catch (error) {
    putBack()
    throw error
  } finally {
    states.default.dispose()
    states.own?.dispose()
  }
}

/** The metrics of a validation; disposes the tensors. */
export async function measure(metrics: readonly Metric[], result: FeedEvaluation): Promise<Record<string, number>> {
  const values = await takeValues(result)
  return values === null ? {} : computeMetrics(metrics, values.outputs, values.targets)
}

async function takeValues({ outputs, targets }: FeedEvaluation): Promise<{ outputs: Values; targets: Values } | null> {
  const [output] = outputs
  try {
    if (output === undefined || targets === null) return null
    return { outputs: await metricValues(output), targets: await metricValues(targets) }
  } finally {
    for (const tensor of outputs) tensor.dispose()
    targets?.dispose()
  }
}
