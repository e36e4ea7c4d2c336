/** The training part of a configuration: `TrainingConfig` with the names that its keys have in a checkpoint. */
import * as z from 'zod'
import { count, fraction, name, notNegative, positive, whole } from './schema-parts.js'

const patterns = z.array(name)

const sgdOptions = {
  momentum: z.number().min(0).optional().describe('Default 0.'),
  dampening: z.number().optional().describe('Default 0.'),
  nesterov: z.boolean().optional().describe('Default false.'),
  weight_decay: notNegative.optional().describe('Default 0.'),
  maximize: z.boolean().optional().describe('Default false.'),
  fused: z.boolean().optional().describe("The fast path that agrees with PyTorch's `fused=True`; default false."),
}
const adamOptions = {
  betas: z.tuple([fraction, fraction]).optional().describe('Default [0.9, 0.999].'),
  eps: notNegative.optional().describe('Default 1e-8.'),
  weight_decay: notNegative.optional().describe('Default 0 for Adam, 0.01 for AdamW.'),
  amsgrad: z.boolean().optional().describe('Default false.'),
  maximize: z.boolean().optional().describe('Default false.'),
  fused: z.boolean().optional().describe("The fast path that agrees with PyTorch's `fused=True`; default false."),
}
const optimizer = z
  .discriminatedUnion('name', [
    z.strictObject({ name: z.literal('AdamW'), ...adamOptions }),
    z.strictObject({ name: z.literal('Adam'), ...adamOptions }),
    z.strictObject({ name: z.literal('SGD'), ...sgdOptions }),
  ])
  .describe("PyTorch's optimizer of this name, with PyTorch's options and defaults; the rate is the phase's `lr`.")

const group = z.strictObject({
  params: patterns.min(1).describe('Patterns of parameter names, as in `freeze`.'),
  lr: positive.optional().describe("Default: the phase's."),
  ...sgdOptions,
  ...adamOptions,
})

const earlyStopping = z
  .strictObject({
    monitor: name.optional().describe("What is watched; default the run's `monitor`."),
    mode: z.enum(['min', 'max']).optional().describe("Default by the metric's own direction."),
    patience: count
      .optional()
      .describe(
        'Validations without improvement until the phase stops; default 10 where neither of the next two is given.',
      ),
    patience_steps: count.optional().describe('Optimizer steps without improvement, noticed at the next validation.'),
    patience_seconds: positive
      .optional()
      .describe('Seconds of training without improvement, noticed at the next validation.'),
    min_delta: notNegative.optional().describe('Changes no larger than this are no improvement; default 0.'),
    min_delta_mode: z
      .enum(['abs', 'rel'])
      .optional()
      .describe('Whether `min_delta` is absolute or a fraction of the best score; default `abs`.'),
    warmup_epochs: whole.optional().describe('Epochs of the phase in which nothing is counted; default 0.'),
    baseline: z.number().optional().describe('Without reaching this score within the patience the phase stops.'),
    stopping_threshold: z.number().optional().describe('Stops as soon as the score is at least this good.'),
    divergence_threshold: z.number().optional().describe('Stops as soon as the score is at least this bad.'),
    check_finite: z.boolean().optional().describe('Stops at a score that is NaN or infinite; default true.'),
  })
  .describe('When a phase ends before its epochs do.')

/** What a phase may set, or the run for all phases. */
export function phaseDefaults(scheduler: z.ZodType) {
  return {
    optimizer: optimizer.optional().describe('Default `{name: AdamW}`.'),
    scheduler: scheduler.nullable().optional().describe('How the rates change; default: they are constant.'),
    batch_size: count
      .nullable()
      .optional()
      .describe("Samples of a batch of training; default the data's `batch_size`."),
    accumulate_grad_batches: count
      .optional()
      .describe('Batches whose gradients are averaged for one optimizer step; default 1.'),
    clip_grad_norm: positive.nullable().optional().describe('Largest 2-norm of all gradients together; default: none.'),
    clip_grad_value: positive
      .nullable()
      .optional()
      .describe("Largest absolute value of a gradient's elements; default: none."),
    autocast: z
      .literal('bfloat16')
      .nullable()
      .optional()
      .describe('Runs model and loss under `torch.autocast`; default: not.'),
    early_stopping: earlyStopping
      .nullable()
      .optional()
      .describe('When a phase ends before its epochs do; default: never.'),
    restore_best: z
      .boolean()
      .optional()
      .describe('Puts back the best weights of the phase when it ends; default true with early stopping, else false.'),
    frozen_batch_norm: z
      .enum(['eval', 'train'])
      .optional()
      .describe('Whether frozen batch norms keep their statistics (`eval`, the default) or go on updating them.'),
  }
}

/** One phase. */
export function phase(scheduler: z.ZodType) {
  return z
    .strictObject({
      name: name.describe('For people: progress, events, checkpoints.'),
      epochs: count.optional().describe('Length of the phase. Either this or `steps`.'),
      steps: count.optional().describe('Length of the phase in optimizer steps.'),
      lr: positive.describe('Learning rate.'),
      groups: z
        .array(group)
        .optional()
        .describe('Parameters with rates of their own; those in none form the last group.'),
      freeze: patterns
        .optional()
        .describe('Patterns of parameter names that stand still (`features.*`); `*` is any run of characters.'),
      unfreeze: patterns
        .optional()
        .describe('Exceptions to `freeze`, and parameters to train that the model itself froze.'),
      keep_optimizer: z
        .boolean()
        .optional()
        .describe('Goes on with the optimizer state of the phase before; default false.'),
      ...phaseDefaults(scheduler),
    })
    .meta({ oneOf: [{ required: ['epochs'] }, { required: ['steps'] }] })
}
