/** Everything that lives as long as one phase: the recorded graphs, the optimizer, the scheduler, the native session. */
import { lrScheduler, type Module, nn, optim, type Parameter, Session, type Tensor } from '../../lib/index.js'
import type { Dict, ModelGraph, PhaseState } from '../checkpoint/schema.js'
import type { OptimizerConfig, SchedulerConfig, TrainingConfig } from '../checkpoint/training-config.js'
import { TorchkeepError } from '../format/errors.js'
import type { PhaseConfig } from './phase-config.js'
import type { PhaseNames } from './patterns.js'
import { type BatchSizes, type LossFunction, recordGraphs } from './recording.js'

/** The optimizers by PyTorch's names. */
const optimizers = { SGD: optim.SGD, Adam: optim.Adam, AdamW: optim.AdamW }

const adamOptions = ['betas', 'eps', 'weightDecay', 'amsgrad', 'maximize', 'fused']
/** Which options of an `OptimizerConfig` each takes. */
const optionsOf: Readonly<Record<OptimizerConfig['name'], readonly string[]>> = {
  SGD: ['momentum', 'dampening', 'nesterov', 'weightDecay', 'maximize', 'fused'],
  Adam: adamOptions,
  AdamW: adamOptions,
}

/** State of an optimizer and a scheduler from a checkpoint. */
export interface RestoredPhase {
  optimizer: Dict
  scheduler: Dict | null
  /** Finished epochs of the phase. */
  epochsDone: number
  /** Whether the phase's own configuration was changed since, so that its rates and other hyperparameters count, not the saved ones. */
  isChanged: boolean
}

export class PhaseSession {
  private constructor(
    readonly config: PhaseConfig,
    readonly names: PhaseNames,
    readonly optimizer: optim.Optimizer,
    readonly scheduler: lrScheduler.StepLR | null,
    readonly session: Session,
    /** For the checkpoint. */
    readonly graph: ModelGraph,
  ) {}

  /** Records the model on an example batch, in the modes that the phase wants, and makes its session. Draws no random number. */
  static async open(options: {
    model: Module
    config: PhaseConfig
    names: PhaseNames
    loss: LossFunction
    /** Inputs, then the target. */
    example: readonly Tensor[]
    batchSizes: BatchSizes
    threads: number
    /** What to go on with. */
    restored: RestoredPhase | null
  }): Promise<PhaseSession> {
    const { model, config, names, restored } = options
    const parameters = model.namedParameters()
    for (const [name, parameter] of parameters) parameter.requiresGrad = names.trained.includes(name)
    const optimizer = makeOptimizer(
      names.trained.map((name) => parameters.get(name) as Parameter),
      config,
    )
    const scheduler = config.scheduler === null ? null : makeScheduler(optimizer, config.scheduler)
    if (restored !== null) restore(optimizer, scheduler, restored)
    const graphs = recordGraphs(model, names.modulesInEval, options.loss, options.example, options.batchSizes)
    const session = await Session.create({ module: model, ...graphs, optimizer, threads: options.threads })
    return new PhaseSession(config, names, optimizer, scheduler, session, {
      train: JSON.stringify(graphs.trainGraph),
      eval: JSON.stringify(graphs.evalGraph),
    })
  }

  /** For the checkpoint. */
  get state(): PhaseState {
    return {
      name: this.config.name,
      frozen: this.names.frozen,
      groups: [this.names.trained],
      modulesInEval: this.names.modulesInEval,
    }
  }

  /** Rate of the (one) group. */
  get learningRate(): number {
    return this.optimizer.paramGroups[0]?.lr as number
  }

  /** Moves the rate on after an epoch. */
  stepScheduler(): void {
    if (this.scheduler === null) return
    this.scheduler.step()
    this.session.syncOptimizer()
  }

  /** The optimizer's `state_dict()`, over the session's live tensors. */
  optimizerStateDict(): Map<string, unknown> {
    this.#releaseState()
    this.session.pullOptimizerState()
    return this.optimizer.stateDict()
  }

  /** Ends the native session; the model keeps the weights. */
  dispose(): void {
    this.session.dispose()
    this.#releaseState()
  }

  #releaseState(): void {
    for (const state of this.optimizer.state.values()) for (const tensor of state.values()) tensor.dispose()
  }
}

/**
 * The optimizer of a phase over these parameters.
 *
 * @throws TorchkeepError `ERR_INVALID_ARGUMENT` for an option that is out of range or that the optimizer does not have.
 */
export function makeOptimizer(parameters: Parameter[], phase: PhaseConfig): optim.Optimizer {
  const { name, ...options } = phase.optimizer
  const foreign = Object.keys(options).find((option) => !optionsOf[name].includes(option))
  if (foreign !== undefined)
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `phase '${phase.name}': ${name} has no option ${foreign} (it has ${optionsOf[name].join(', ')})`,
    )
  return new optimizers[name](parameters, { lr: phase.lr, ...options })
}

function makeScheduler(optimizer: optim.Optimizer, { stepSize, gamma }: SchedulerConfig): lrScheduler.StepLR {
  return new lrScheduler.StepLR(optimizer, { stepSize, ...(gamma === undefined ? {} : { gamma }) })
}

function restore(optimizer: optim.Optimizer, scheduler: lrScheduler.StepLR | null, restored: RestoredPhase): void {
  if (restored.isChanged) {
    const fresh = optimizer.stateDict()
    optimizer.loadStateDict(new Map([...fresh, ['state', restored.optimizer.get('state')]]))
    for (let epoch = 0; epoch < restored.epochsDone; epoch++) scheduler?.step()
    return
  }
  optimizer.loadStateDict(restored.optimizer)
  if (restored.scheduler !== null) scheduler?.loadStateDict(restored.scheduler)
}

/** The loss functions by the names of a training configuration. */
export function lossFunction(name: Exclude<TrainingConfig['loss'], 'custom'>): LossFunction {
  const criterion = name === 'mse' ? new nn.MSELoss() : new nn.CrossEntropyLoss()
  return (output, target) => criterion.call(output, target)
}
