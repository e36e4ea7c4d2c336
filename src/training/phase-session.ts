/** Everything that lives as long as one phase: the recorded graphs, the optimizer, the scheduler, the native session. */
import { autocast, type lrScheduler, type Module, type optim, Session, type Tensor } from '../../lib/index.js'
import type { Dict, ModelGraph, PhaseState } from '../checkpoint/schema.js'
import { intervalOf, makeScheduler, type PhaseLength } from './make-scheduler.js'
import type { PhaseConfig } from './phase-config.js'
import { disposeState, makeOptimizer, type NamedState, standingState, takeOverState } from './phase-optimizer.js'
import type { PhaseNames } from './patterns.js'
import { modelGraph } from './model-graph.js'
import { type BatchSizes, type LossFunction, recordGraphs } from './recording.js'

/** What a phase goes on with after a resume. */
export interface RestoredPhase {
  /** The optimizer's state dict where the phase is as it was; else null, and `state` counts. */
  optimizer: Dict | null
  /** State of the parameters by name: of those that the optimizer had, and of those that stood still. */
  state: NamedState
  /** Null where the phase's rates or groups were changed since: it then begins with the new ones and takes as many steps as it had. */
  scheduler: Dict | null
  /** What a scheduler has seen: the monitored values of the finished epochs, and the steps. */
  scores: readonly number[]
  stepsDone: number
  gradients: ReadonlyMap<string, Tensor>
}

/** What a phase is made of. */
export interface PhaseParts {
  model: Module
  config: PhaseConfig
  names: PhaseNames
  loss: LossFunction
  /** Inputs, then the target. */
  example: readonly Tensor[]
  batchSizes: BatchSizes
  threads: number
  /** For schedulers. */
  length: PhaseLength
  /** What to go on with after a resume; null at a phase's beginning. */
  restored: RestoredPhase | null
  /** State of the phase before, for one that keeps the optimizer; null for a fresh one. Copied. */
  carried: NamedState | null
}

export class PhaseSession {
  /** Whether the phase's end took the state out, and with it the duty to dispose it. */
  #stateTaken = false

  private constructor(
    readonly config: PhaseConfig,
    readonly names: PhaseNames,
    readonly optimizer: optim.Optimizer,
    readonly scheduler: lrScheduler.LRScheduler | null,
    readonly session: Session,
    /** For the checkpoint. */
    readonly graph: ModelGraph,
    /** State of parameters that stand still here, for a later phase. */
    readonly kept: NamedState,
  ) {}

  /** Records the model on an example batch, in the modes that the phase wants, and makes its session. Draws no random number. */
  static async open(parts: PhaseParts): Promise<PhaseSession> {
    const { model, config, names, restored, carried } = parts
    const parameters = model.namedParameters()
    for (const [name, parameter] of parameters) parameter.requiresGrad = names.trained.includes(name)
    const optimizer = makeOptimizer(parameters, names, config)
    const scheduler = config.scheduler === null ? null : makeScheduler(optimizer, config.scheduler, parts.length)
    if (restored !== null) restore(optimizer, scheduler, config, names, restored)
    else if (carried !== null) takeOverState(optimizer, names, carried)
    const kept = config.keepOptimizer
      ? copied(standingState(names, restored?.state ?? carried ?? new Map()))
      : new Map()
    // Under autocast where the session will be: a forward that asks for a tensor's dtype writes the answer into the graph.
    const graphs = autocast(model.parameters()[0]?.device ?? 'cpu', config.autocast, () =>
      recordGraphs(model, names.modulesInEval, parts.loss, parts.example, parts.batchSizes),
    )
    const graph = modelGraph(model, graphs)
    const session = await Session.create({
      module: model,
      ...graphs,
      optimizer,
      threads: parts.threads,
      autocast: config.autocast,
    })
    const phase = new PhaseSession(config, names, optimizer, scheduler, session, graph, kept)
    try {
      if (restored !== null && restored.gradients.size > 0) session.setGradients(restored.gradients)
      return phase
    } catch (error) {
      phase.dispose()
      throw error
    }
  }

  /** For the checkpoint. */
  get state(): PhaseState {
    const { names, kept } = this
    return {
      name: this.config.name,
      frozen: names.frozen,
      groups: names.groups,
      modulesInEval: names.modulesInEval,
      ...(kept.size === 0 ? {} : { keptOptimizerState: kept }),
    }
  }

  /** Rates of the groups. */
  get learningRates(): number[] {
    return this.optimizer.paramGroups.map(({ lr }) => lr)
  }

  /** Whether the rates may change at every optimizer step. */
  get changesEachStep(): boolean {
    return this.config.scheduler !== null && intervalOf(this.config.scheduler) === 'step'
  }

  /** Moves the rates on after an epoch, or after a step where the scheduler counts steps; `score` is for those that go by one. */
  stepScheduler(after: 'epoch' | 'step', score?: number): void {
    if (this.scheduler === null || this.changesEachStep !== (after === 'step')) return
    this.scheduler.step(score)
    this.session.syncOptimizer()
  }

  /** The optimizer's `state_dict()`, over the session's live tensors. */
  optimizerStateDict(): Map<string, unknown> {
    this.#releaseState()
    this.session.pullOptimizerState()
    return this.optimizer.stateDict()
  }

  /** Gradients of an unfinished step, by parameter name. */
  gradients(): Map<string, Tensor> {
    return this.session.gradients()
  }

  /** All optimizer state by parameter name, for the next phase. The caller disposes it; this session is over. */
  takeState(): NamedState {
    this.optimizerStateDict()
    this.#stateTaken = true
    const parameters = new Map(
      this.names.groups.flatMap((group, index) =>
        group.map((name, place) => [this.optimizer.paramGroups[index]?.params[place] as Tensor, name] as const),
      ),
    )
    const own = [...this.optimizer.state].map(
      ([parameter, state]) => [parameters.get(parameter) as string, state] as const,
    )
    return new Map([...this.kept, ...own])
  }

  /** Ends the native session; the model keeps the weights. */
  dispose(): void {
    this.session.dispose()
    if (this.#stateTaken) return
    this.#releaseState()
    disposeState(this.kept)
  }

  #releaseState(): void {
    for (const state of this.optimizer.state.values()) for (const tensor of state.values()) tensor.dispose()
  }
}

function restore(
  optimizer: optim.Optimizer,
  scheduler: lrScheduler.LRScheduler | null,
  config: PhaseConfig,
  names: PhaseNames,
  restored: RestoredPhase,
): void {
  if (restored.optimizer !== null) {
    optimizer.loadStateDict(restored.optimizer)
    if (restored.scheduler !== null) scheduler?.loadStateDict(restored.scheduler)
    return
  }
  takeOverState(optimizer, names, restored.state)
  if (scheduler === null || config.scheduler === null) return
  if (intervalOf(config.scheduler) === 'step') for (let step = 0; step < restored.stepsDone; step++) scheduler.step()
  else for (const score of restored.scores) scheduler.step(score)
}

const copied = (state: NamedState): NamedState =>
  new Map([...state].map(([name, own]) => [name, new Map([...own].map(([key, tensor]) => [key, tensor.clone()]))]))

export { lossFunction } from './losses.js'
