/** Recording a model for a session, and looking at it, without leaving a trace in its modes or in the random state. */
import { type Module, noGrad, preserveRngState, scope, type Tensor, trace, traceFunction } from '../../lib/index.js'

/**
 * A loss: from the model's output and the target to a scalar. A model with several outputs passes them all before the target. It is recorded once, so it may not look at
 * values.
 */
export type LossFunction = (output: Tensor, target: Tensor, ...more: Tensor[]) => Tensor

/** Puts the model into training mode but for some modules (not those inside them). */
function trainExcept(model: Module, modulesInEval: readonly string[]): Module {
  const modules = model.namedModules()
  model.train()
  for (const name of modulesInEval) (modules.get(name) as Module).training = false
  return model
}

/** Runs `fn`, which may change the model's modes and draw random numbers, and puts both back. */
function preserving<Result>(model: Module, fn: () => Result): Result {
  const modes = [...model.namedModules().values()].map((module) => [module, module.training] as const)
  try {
    return preserveRngState(fn)
  } finally {
    for (const [module, training] of modes) module.training = training
  }
}

/** The model's first output for a batch, in evaluation mode and without gradients: neither statistics nor weights change. */
export function exampleOutputs(model: Module, inputs: readonly Tensor[]): Tensor[] {
  return preserving(model, () => scope(() => noGrad(() => [model.eval().call(...inputs)].flat())))
}

/** The loss of a batch, without gradients; whatever the function returns. */
export function exampleLoss(loss: LossFunction, outputs: readonly Tensor[], target: Tensor): unknown {
  const fn = loss as (...tensors: Tensor[]) => Tensor
  return preserveRngState(() => scope(() => noGrad(() => fn(...outputs, target))))
}

/** The sizes of the batches that a run will meet, the last ones included. */
export interface BatchSizes {
  training: readonly number[]
  validation: readonly number[]
}

/**
 * Records the training, evaluation and loss graphs.
 *
 * @param modulesInEval modules that stay in evaluation mode in the training graph.
 * @param example a batch: inputs, then the target.
 */
export function recordGraphs(
  model: Module,
  modulesInEval: readonly string[],
  loss: LossFunction,
  example: readonly Tensor[],
  batchSizes: BatchSizes,
) {
  const inputs = example.slice(0, -1)
  return preserving(model, () => {
    const trainGraph = trace(trainExcept(model, modulesInEval), inputs, { batchSizes: batchSizes.training })
    const evalGraph = trace(model.eval(), inputs, { batchSizes: batchSizes.validation })
    const outputs = exampleOutputs(model, inputs)
    const lossGraph = traceFunction(loss as (...tensors: Tensor[]) => Tensor, [...outputs, example.at(-1) as Tensor], {
      batchSizes: [...batchSizes.training, ...batchSizes.validation],
    })
    for (const output of outputs) output.dispose()
    return { trainGraph, evalGraph, lossGraph }
  })
}

/** Records the training graph only, to learn whether a batch of this size can be trained on. */
export function tryRecording(model: Module, modulesInEval: readonly string[], inputs: readonly Tensor[]): void {
  preserving(model, () => void trace(trainExcept(model, modulesInEval), inputs))
}
