/** The schema of a configuration file of `torchkeep train`: what editors, the reference of docs/training.md and the checks before a run are made of. */
import * as z from 'zod'
import type { TrainingConfig } from '../checkpoint/training-config.js'
import type { DataSpec } from '../data/spec.js'
import { data } from './schema-data.js'
import { count, exported, name, path, positive, whole } from './schema-parts.js'
import { scheduler } from './schema-scheduler.js'
import { phase, phaseDefaults } from './schema-training.js'

/** The losses that need no module. */
const lossNames = ['mse', 'l1', 'cross_entropy', 'bce_with_logits'] as const satisfies readonly TrainingConfig['loss'][]

const mlp = z
  .strictObject({
    name: z.literal('mlp'),
    hidden: z.array(count).optional().describe('Sizes of the hidden layers; default [64, 64].'),
    dropout: z.number().min(0).max(1).optional().describe('After each hidden layer; default 0.'),
  })
  .describe('A multilayer perceptron for tables. Its first and last sizes come from the data.')

const best = z.strictObject({
  monitor: name.describe('`train_loss`, `val_loss` or `val_` and a metric.'),
  mode: z.enum(['min', 'max']).optional().describe("Default by the metric's own direction."),
  count: count.nullable().optional().describe('How many are kept; null keeps all. Default 3.'),
})

const checkpoint = z.strictObject({
  every_epochs: count.nullable().optional().describe('Saves after every so many epochs; default 1, null: not.'),
  every_steps: count
    .nullable()
    .optional()
    .describe('Saves also after every so many optimizer steps; default null: not.'),
  every_seconds: positive
    .nullable()
    .optional()
    .describe('Saves also inside epochs where the last save was so many seconds ago; default null: not.'),
  save_best: z.boolean().optional().describe('Saves new bests in best/; default true.'),
  best: z
    .array(best)
    .min(1)
    .optional()
    .describe("By which values bests are saved and kept; default the run's monitor, which is always among them."),
  keep_last: count
    .nullable()
    .optional()
    .describe('How many of the newest files stay in regular/; null keeps all. Default 5.'),
  phase_ends: z.boolean().optional().describe('Saves the end of each phase in phases/; default true.'),
  save_optimizer: z
    .boolean()
    .optional()
    .describe('Without it the files are smaller, but no run goes on from them; default true.'),
  save_metrics: z.boolean().optional().describe('Writes metrics/*.json beside each checkpoint; default true.'),
})

const logs = z.strictObject({
  events: z.boolean().optional().describe('events.jsonl; default true.'),
  csv: z.boolean().optional().describe('metrics.csv; default true.'),
  tensorboard: z.boolean().optional().describe("TensorBoard's event files; default false."),
})

const ownMetric = exported
  .omit({ options: true })
  .extend({ export: name.describe('Name of the export, which is what the metric is called.') })

/** The whole file. */
export const trainFile = z
  .strictObject({
    seed: whole
      .optional()
      .describe('Of the initial weights, the order of the samples, dropout and the split; default 0.'),
    device: name.optional().describe('`cpu`, `cuda` or `cuda:N`; default `cpu`.'),
    threads: count
      .optional()
      .describe("Threads of an operator; default LibTorch's choice. Other numbers may give other last bits."),
    checkpoint_dir: path.optional().describe('Folder of the checkpoints; default `checkpoints`.'),
    model: z.union([mlp, exported]).describe('A model built in, or one that a module exports.'),
    data,
    loss: z
      .union([z.enum(lossNames), exported])
      .describe('A loss by name, or a function (output, target) => scalar that a module exports.'),
    metrics: z
      .array(z.union([name, ownMetric]))
      .optional()
      .describe(
        'Computed over the validation data after each epoch: metrics by name, or functions that modules export.',
      ),
    monitor: name
      .optional()
      .describe(
        'What "best" means: `train_loss`, `val_loss` or `val_` and a metric. Default `val_loss`, without validation data `train_loss`.',
      ),
    mode: z
      .enum(['min', 'max'])
      .optional()
      .describe("Whether a smaller or a larger value is better; default by the metric's own direction."),
    on_non_finite: z
      .enum(['stop', 'skip'])
      .optional()
      .describe(
        'What happens at a loss or gradient that is NaN or infinite: the run ends (`stop`, the default) or the batch is passed over.',
      ),
    ...phaseDefaults(scheduler),
    phases: z.array(phase(scheduler)).min(1).describe('Stretches of the run, one after another.'),
    checkpoint: checkpoint.optional().describe('When checkpoints are saved and which are kept.'),
    logs: z
      .union([z.boolean(), logs])
      .optional()
      .describe('Logs in the checkpoint folder; default true, false for none.'),
  })
  .describe('A configuration of torchkeep train. Paths are relative to the file itself.')

/** What a configuration file holds. */
export type TrainFile = Omit<z.infer<typeof trainFile>, 'data'> & { data: DataSpec }
/** A model of a configuration. */
export type ModelSpec = TrainFile['model']
/** Something that a module exports. */
export type Exported = z.infer<typeof exported>

/** The JSON Schema of the file, for editors. */
export function trainFileJsonSchema(): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(trainFile, { io: 'input' })
  return { $schema, title: 'torchkeep train CONFIG', ...rest }
}
