/** What all schedulers are, and what those have in common that follow a count of epochs. */
import type { Optimizer, ParamGroup } from './optimizer.js'
import { flag, floats, int, optional, readState, writeState, type Kinds } from './lr-scheduler-state.js'

/** What a scheduler changes. */
export type ScheduledOptimizer = Pick<Optimizer, 'paramGroups'>

/** `torch.optim.lr_scheduler.LRScheduler`: changes the rates of an optimizer. Making one may change them already, as in Python. */
export abstract class LRScheduler {
  constructor(readonly optimizer: ScheduledOptimizer) {}

  /**
   * Moves the rates on, after the optimizer's own step. What a step is (an epoch, a batch) is the caller's to say.
   *
   * @param metric what {@link ReduceLROnPlateau} goes by; the others take none.
   */
  abstract step(metric?: number): void

  /** The rates set last, one a group. */
  abstract getLastLr(): number[]

  /** With Python's keys in Python's order. The rates themselves are in the optimizer's state dict. */
  abstract stateDict(): Map<string, unknown>

  /**
   * Takes over a state, settings included. Everything is checked before anything changes.
   *
   * @throws TorchkeepError `ERR_CHECKPOINT_INCOMPATIBLE` for a state of another scheduler or another number of groups.
   */
  abstract loadStateDict(dict: ReadonlyMap<unknown, unknown>): void

  protected get groups(): readonly ParamGroup[] {
    return this.optimizer.paramGroups
  }

  /** The optimizer's present rates. */
  protected rates(): number[] {
    return this.groups.map((group) => group.lr)
  }
}

/** Attributes of every scheduler that counts, by Python's names. */
export interface Counting {
  base_lrs: readonly number[]
  last_epoch: number
  _step_count: number
  _is_initial: boolean
  _get_lr_called_within_step: boolean
  _last_lr: readonly number[]
}

/** A scheduler whose rates follow from its count of steps. `Own`: the attributes that it adds, by Python's names. */
export abstract class CountingScheduler<Own extends object> extends LRScheduler {
  protected state: Own & Counting
  readonly #kinds: Kinds<Own & Counting>

  constructor(optimizer: ScheduledOptimizer, kinds: Kinds<Own>, own: Own) {
    super(optimizer)
    for (const group of this.groups) group['initialLr'] ??= group.lr
    const perGroup = floats(() => this.groups.length)
    // As Kinds of an intersection that TypeScript cannot put together from its halves.
    this.#kinds = {
      ...kinds,
      base_lrs: perGroup,
      last_epoch: int,
      _step_count: int,
      _is_initial: optional(flag, false),
      _get_lr_called_within_step: optional(flag, false),
      _last_lr: perGroup,
    } as unknown as Kinds<Own & Counting>
    this.state = {
      ...own,
      base_lrs: this.groups.map((group) => group['initialLr'] as number),
      last_epoch: -1,
      _step_count: 0,
      _is_initial: false,
      _get_lr_called_within_step: false,
      _last_lr: [],
    }
    this.initialStep()
  }

  /** The rates for `state.last_epoch`, from the present ones where Python's form is chained. */
  protected abstract getLr(): readonly number[]

  /** The rates for `state.last_epoch` from the initial ones; Python uses it where a sequence starts a scheduler. */
  protected getClosedFormLr(): readonly number[] {
    return this.getLr()
  }

  override step(): void {
    this.state._step_count += 1
    this.state.last_epoch += 1
    this.apply(this.getLr())
  }

  /** The first step, which a constructor makes and a sequence makes again. */
  initialStep(): void {
    this.state._step_count = 0
    this.state._is_initial = true
    this.step()
    this.state._is_initial = false
  }

  /** Takes back one count, as a sequence does with the steps that its members' constructors made. */
  undoStep(): void {
    this.state.last_epoch -= 1
  }

  /** Begins at 0, as a sequence has its members do when their turn comes. */
  start(): void {
    this.state.last_epoch = 0
    this.apply(this.getClosedFormLr())
  }

  override getLastLr(): number[] {
    return [...this.state._last_lr]
  }

  override stateDict(): Map<string, unknown> {
    return writeState(this.#kinds, this.state)
  }

  override loadStateDict(dict: ReadonlyMap<unknown, unknown>): void {
    this.state = readState(this.constructor.name, this.#kinds, dict)
  }

  /** Sets the rates. */
  protected apply(rates: readonly number[]): void {
    this.groups.forEach((group, i) => (group.lr = rates[i] as number))
    this.state._last_lr = this.rates()
  }
}
