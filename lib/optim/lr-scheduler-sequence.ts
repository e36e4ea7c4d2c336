/** Schedulers made of schedulers: SequentialLR and ChainedScheduler. */
import { knownOptions } from '../options.js'
import { CountingScheduler, LRScheduler, type ScheduledOptimizer } from './lr-scheduler-base.js'
import { checkOption } from './lr-scheduler-checks.js'
import { checkMilestones } from './lr-scheduler-decay.js'
import {
  flag,
  floats,
  incompatible,
  int,
  ints,
  optional,
  readState,
  writeState,
  type Kinds,
} from './lr-scheduler-state.js'

/** What Python notes in a scheduler that a sequence has as its first; absent in others. */
interface Begun {
  _step_count: number | undefined
  _is_initial: boolean | undefined
}

interface Composite extends Begun {
  _last_lr: readonly number[]
}

interface Sequence extends Composite {
  _milestones: readonly number[]
  last_epoch: number
}

const absent = undefined as unknown as never
const begun: Kinds<Begun> = { _step_count: optional(int, absent), _is_initial: optional(flag, absent) }

/** What both are: the state of each member is in the list `_schedulers`, after their own. */
abstract class CompositeScheduler<S extends Composite> extends LRScheduler {
  protected abstract state: S
  protected abstract readonly kinds: Kinds<S>

  constructor(
    optimizer: ScheduledOptimizer,
    readonly schedulers: readonly LRScheduler[],
  ) {
    super(optimizer)
    const { name } = this.constructor
    checkOption(name, 'schedulers', schedulers, 'at least one scheduler', schedulers.length > 0)
    schedulers.forEach((scheduler, i) => {
      const isMember = scheduler instanceof CountingScheduler || scheduler instanceof CompositeScheduler
      checkOption(name, `scheduler ${i}`, scheduler.constructor.name, 'one that needs no metric and counts', isMember)
      checkOption(name, `scheduler ${i}`, 'for another optimizer', 'the same', scheduler.optimizer === optimizer)
    })
  }

  /** As if it were made only now; for a sequence that has it as its first. */
  initialStep(): void {
    this.state._step_count = 0
    this.state._is_initial = true
    this.step()
    this.state._is_initial = false
  }

  /** Takes back the steps that the members' constructors made. */
  undoStep(): void {
    for (const scheduler of this.schedulers) (scheduler as CompositeScheduler<Composite>).undoStep()
  }

  override getLastLr(): number[] {
    return [...this.state._last_lr]
  }

  override stateDict(): Map<string, unknown> {
    const members = this.schedulers.map((scheduler) => scheduler.stateDict())
    return writeState(this.kinds, this.state).set('_schedulers', members)
  }

  override loadStateDict(dict: ReadonlyMap<unknown, unknown>): void {
    const { name } = this.constructor
    const state = readState(name, this.kinds, dict)
    const members: unknown = dict.get('_schedulers')
    const expected = this.schedulers.length
    if (!Array.isArray(members) || members.length !== expected)
      throw incompatible(name, `_schedulers should be a list of ${expected} state dicts`)
    const before = this.schedulers.map((scheduler) => scheduler.stateDict())
    try {
      this.schedulers.forEach((scheduler, i) => scheduler.loadStateDict(asDict(name, members[i])))
    } catch (error) {
      this.schedulers.forEach((scheduler, i) => scheduler.loadStateDict(before[i] as Map<string, unknown>))
      throw error
    }
    this.state = state
  }
}

function asDict(name: string, value: unknown): ReadonlyMap<unknown, unknown> {
  if (value instanceof Map) return value as ReadonlyMap<unknown, unknown>
  throw incompatible(name, '_schedulers holds what is no dict')
}

export interface SequentialLROptions {
  /** Made for the same optimizer, in the order in which they have their turn. */
  schedulers: readonly LRScheduler[]
  /** Steps at which the second, third... begins: one less than there are schedulers, rising. */
  milestones: readonly number[]
}

/** Schedulers one after another. The first may itself be a SequentialLR or ChainedScheduler. */
export class SequentialLR extends CompositeScheduler<Sequence> {
  protected override state: Sequence
  protected override readonly kinds: Kinds<Sequence> = {
    _milestones: ints,
    last_epoch: int,
    _last_lr: floats(() => this.groups.length),
    ...begun,
  }

  constructor(optimizer: ScheduledOptimizer, options: SequentialLROptions) {
    const { schedulers, milestones } = knownOptions('SequentialLR', options, ['schedulers', 'milestones'])
    super(optimizer, schedulers)
    checkMilestones('SequentialLR', milestones, 1)
    const isRising = milestones.every((milestone, i) => i === 0 || milestone > (milestones[i - 1] as number))
    const isFine = milestones.length === schedulers.length - 1 && isRising
    const expected = `${schedulers.length - 1} rising integers for ${schedulers.length} schedulers`
    checkOption('SequentialLR', 'milestones', `[${milestones.join(', ')}]`, expected, isFine)
    schedulers.slice(1).forEach((scheduler, i) => {
      // Python raises NotImplementedError when its turn comes.
      const canStart = scheduler instanceof CountingScheduler
      const found = scheduler.constructor.name
      checkOption(
        'SequentialLR',
        `scheduler ${i + 1}`,
        found,
        'one that is not made of others, except as the first',
        canStart,
      )
    })
    for (const group of this.groups) group.lr = group['initialLr'] as number
    this.undoStep()
    const first = schedulers[0] as CountingScheduler<object> | CompositeScheduler<Composite>
    first.initialStep()
    this.state = {
      _milestones: [...milestones],
      last_epoch: 0,
      _last_lr: first.getLastLr(),
      _step_count: undefined,
      _is_initial: undefined,
    }
  }

  override step(): void {
    const { state } = this
    state.last_epoch += 1
    const index = state._milestones.filter((milestone) => milestone <= state.last_epoch).length
    const scheduler = this.schedulers[index] as LRScheduler
    if (state._milestones[index - 1] === state.last_epoch) (scheduler as CountingScheduler<object>).start()
    else scheduler.step()
    state._last_lr = scheduler.getLastLr()
  }
}

export interface ChainedSchedulerOptions {
  /** Made for the same optimizer. */
  schedulers: readonly LRScheduler[]
}

/** Schedulers that act together: each step is a step of all of them, one upon the other. */
export class ChainedScheduler extends CompositeScheduler<Composite> {
  protected override state: Composite
  protected override readonly kinds: Kinds<Composite> = { _last_lr: floats(() => this.groups.length), ...begun }

  constructor(optimizer: ScheduledOptimizer, options: ChainedSchedulerOptions) {
    const { schedulers } = knownOptions('ChainedScheduler', options, ['schedulers'])
    super(optimizer, schedulers)
    this.state = { _last_lr: this.rates(), _step_count: undefined, _is_initial: undefined }
  }

  override step(): void {
    for (const scheduler of this.schedulers) scheduler.step()
    this.state._last_lr = this.rates()
  }
}
