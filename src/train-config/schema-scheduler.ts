/** The schedulers of a configuration: PyTorch's, by class name, with PyTorch's options and defaults. */
import * as z from 'zod'
import type { SchedulerPart } from '../checkpoint/scheduler-config.js'
import { count, fraction, name, notNegative, positive, whole } from './schema-parts.js'

const factor = positive.max(1)
const belowOne = z.number().min(0).lt(1)

/** One value for all parameter groups, or a list with one for each. */
const perGroup = (item: z.ZodNumber): z.ZodUnion<[z.ZodNumber, z.ZodArray<z.ZodNumber>]> =>
  z.union([item, z.array(item)])

/** The options of the schedulers that SequentialLR and ChainedScheduler may hold, without these two. */
const simple = {
  StepLR: {
    step_size: count.describe('Epochs (or steps) between two decays.'),
    gamma: positive.optional().describe('Factor of a decay; default 0.1.'),
  },
  MultiStepLR: {
    milestones: z.array(whole).describe('After which epochs (or steps) it decays.'),
    gamma: positive.optional().describe('Factor of a decay; default 0.1.'),
  },
  ExponentialLR: { gamma: positive.describe('Factor after each epoch (or step).') },
  LinearLR: {
    start_factor: factor.optional().describe('Default 1/3.'),
    end_factor: fraction.optional().describe('Default 1.'),
    total_iters: count.optional().describe('From the first factor to the last; default 5.'),
  },
  ConstantLR: {
    factor: factor.optional().describe('Default 1/3.'),
    total_iters: whole.optional().describe('How long the factor holds; default 5.'),
  },
  PolynomialLR: {
    total_iters: count.optional().describe('Until the rate is 0; default 5.'),
    power: notNegative.optional().describe('Default 1.'),
  },
  CosineAnnealingLR: {
    T_max: count.describe('Until the rate is at its lowest.'),
    eta_min: z.number().optional().describe('The lowest rate; default 0.'),
  },
  CosineAnnealingWarmRestarts: {
    T_0: count.describe('Until the first restart.'),
    T_mult: count.optional().describe('How much longer each next stretch is; default 1.'),
    eta_min: z.number().optional().describe('The lowest rate; default 0.'),
  },
  OneCycleLR: {
    max_lr: perGroup(notNegative).describe('The highest rate.'),
    total_steps: count.optional().describe('Default: the steps of the phase.'),
    pct_start: fraction.optional().describe('Part of the cycle in which the rate rises; default 0.3.'),
    anneal_strategy: z.enum(['cos', 'linear']).optional().describe('Default `cos`.'),
    cycle_momentum: z.boolean().optional().describe('Default true.'),
    base_momentum: perGroup(belowOne).optional().describe('Default 0.85.'),
    max_momentum: perGroup(belowOne).optional().describe('Default 0.95.'),
    div_factor: positive.optional().describe('Default 25.'),
    final_div_factor: positive.optional().describe('Default 10000.'),
    three_phase: z.boolean().optional().describe('Default false.'),
  },
} as const satisfies Partial<Record<SchedulerPart['name'], z.ZodRawShape>>

const plateau = {
  monitor: name.optional().describe("What is watched; default the run's `monitor`."),
  mode: z.enum(['min', 'max']).optional().describe("Default by the metric's own direction."),
  factor: belowOne.optional().describe('Default 0.1.'),
  patience: whole.optional().describe('Default 10.'),
  threshold: notNegative.optional().describe('Default 1e-4.'),
  threshold_mode: z.enum(['rel', 'abs']).optional().describe('Default `rel`.'),
  cooldown: whole.optional().describe('Default 0.'),
  min_lr: perGroup(notNegative).optional().describe('Default 0.'),
  eps: notNegative.optional().describe('Default 1e-8.'),
  interval: z.literal('epoch').optional().describe('The metric is there once an epoch.'),
}
const warmupDecay = {
  warmup_epochs: whole.optional().describe('Until the full rate; default 5.'),
  decay_factor: positive.optional().describe('Factor after each later epoch; default 0.95.'),
  compatible: z
    .boolean()
    .optional()
    .describe('The first epoch at the full rate, as in the older Python system; default false.'),
}
const interval = {
  interval: z
    .enum(['epoch', 'step'])
    .optional()
    .describe('Whether it moves on after each epoch or each optimizer step; default `epoch`, of OneCycleLR `step`.'),
}

const named = (shapes: Readonly<Record<string, z.ZodRawShape>>): z.ZodObject[] =>
  Object.entries(shapes).map(([word, shape]) => z.strictObject({ name: z.literal(word), ...shape }))
const union = (forms: readonly z.ZodObject[]): z.ZodType =>
  z.discriminatedUnion('name', forms as unknown as readonly [z.ZodObject, ...z.ZodObject[]])

/** A scheduler inside another one. */
const part: z.ZodType = z.lazy(() => union(named({ ...simple, ...composite })))
const parts = z.array(part).min(1)
const composite = {
  SequentialLR: {
    schedulers: parts.describe('One after another.'),
    milestones: z.array(count).describe('After which epochs (or steps) the next one takes over.'),
  },
  ChainedScheduler: { schedulers: parts.describe('All at once.') },
}

const moving = Object.fromEntries(
  Object.entries({ ...simple, ...composite, WarmupDecay: warmupDecay }).map(([word, shape]) => [
    word,
    { ...shape, ...interval },
  ]),
)
/** Options of each scheduler, for the reference. */
export const schedulerShapes: Readonly<Record<string, z.ZodRawShape>> = { ...moving, ReduceLROnPlateau: plateau }

/** `scheduler` of a configuration. */
export const scheduler = union(named(schedulerShapes)).describe(
  "PyTorch's scheduler of this name, with PyTorch's options and defaults; `WarmupDecay` is the older Python system's.",
)
