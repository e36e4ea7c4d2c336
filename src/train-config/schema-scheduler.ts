/** The schedulers of a configuration: PyTorch's, by class name, with PyTorch's options and defaults. */
import * as z from 'zod'
import { count, notNegative, positive, whole } from './schema-parts.js'

const fraction = z.number().min(0).max(1)
const every = {
  interval: z
    .enum(['epoch', 'step'])
    .optional()
    .describe('After what it moves on; default `epoch`, of OneCycleLR `step`.'),
}

const chained = [
  z.strictObject({
    name: z.literal('StepLR'),
    step_size: count.describe('Epochs (or steps) between two decays.'),
    gamma: positive.optional().describe('Factor of a decay; default 0.1.'),
    ...every,
  }),
  z.strictObject({
    name: z.literal('MultiStepLR'),
    milestones: z.array(count).describe('After which epochs (or steps) it decays.'),
    gamma: positive.optional().describe('Factor of a decay; default 0.1.'),
    ...every,
  }),
  z.strictObject({ name: z.literal('ExponentialLR'), gamma: positive.describe('Factor after each.'), ...every }),
  z.strictObject({
    name: z.literal('LinearLR'),
    start_factor: positive.max(1).optional().describe('Default 1/3.'),
    end_factor: fraction.optional().describe('Default 1.'),
    total_iters: count.optional().describe('Default 5.'),
    ...every,
  }),
  z.strictObject({
    name: z.literal('ConstantLR'),
    factor: fraction.optional().describe('Default 1/3.'),
    total_iters: count.optional().describe('Default 5.'),
    ...every,
  }),
  z.strictObject({
    name: z.literal('PolynomialLR'),
    total_iters: count.optional().describe('Default 5.'),
    power: positive.optional().describe('Default 1.'),
    ...every,
  }),
  z.strictObject({
    name: z.literal('CosineAnnealingLR'),
    t_max: count.describe('Half of a period.'),
    eta_min: notNegative.optional().describe('Lowest rate; default 0.'),
    ...every,
  }),
  z.strictObject({
    name: z.literal('CosineAnnealingWarmRestarts'),
    t_0: count.describe('Length of the first period.'),
    t_mult: count.optional().describe('Factor of the length of each next period; default 1.'),
    eta_min: notNegative.optional().describe('Lowest rate; default 0.'),
    ...every,
  }),
  z.strictObject({
    name: z.literal('WarmupDecay'),
    warmup_epochs: whole.optional().describe('Epochs in which the rate rises to the full one; default 5.'),
    decay: positive.max(1).optional().describe('Factor after each later epoch; default 0.95.'),
    compatible: z
      .boolean()
      .optional()
      .describe('The first epoch at the full rate, as in the older system; default false.'),
    ...every,
  }),
] as const

const onStep = [
  z.strictObject({
    name: z.literal('OneCycleLR'),
    max_lr: positive.optional().describe("Default the phase's `lr`."),
    total_steps: count.optional().describe('Default: the steps of the phase.'),
    pct_start: fraction.optional().describe('Default 0.3.'),
    anneal_strategy: z.enum(['cos', 'linear']).optional().describe('Default `cos`.'),
    cycle_momentum: z.boolean().optional().describe('Default true.'),
    base_momentum: fraction.optional().describe('Default 0.85.'),
    max_momentum: fraction.optional().describe('Default 0.95.'),
    div_factor: positive.optional().describe('Default 25.'),
    final_div_factor: positive.optional().describe('Default 10000.'),
    three_phase: z.boolean().optional().describe('Default false.'),
    ...every,
  }),
  z.strictObject({
    name: z.literal('ReduceLROnPlateau'),
    monitor: z.string().optional().describe("What is watched; default the run's monitor."),
    mode: z.enum(['min', 'max']).optional().describe('Default `min`.'),
    factor: positive.optional().describe('Default 0.1.'),
    patience: whole.optional().describe('Default 10.'),
    threshold: notNegative.optional().describe('Default 1e-4.'),
    threshold_mode: z.enum(['rel', 'abs']).optional().describe('Default `rel`.'),
    cooldown: whole.optional().describe('Default 0.'),
    min_lr: notNegative.optional().describe('Default 0.'),
    eps: notNegative.optional().describe('Default 1e-8.'),
    ...every,
  }),
] as const

/** A scheduler; each is PyTorch's of this name but `WarmupDecay`, the older Python system's. */
export const scheduler = z.discriminatedUnion('name', [
  ...chained,
  ...onStep,
  z.strictObject({
    name: z.literal('SequentialLR'),
    schedulers: z.array(z.discriminatedUnion('name', chained)).min(1),
    milestones: z.array(count).describe('After which epochs (or steps) the next scheduler takes over.'),
    ...every,
  }),
])
