/** The configuration that `torchkeep init` writes: complete, with what one is likely to change explained where it stands. */

/** What the template is made for. */
export interface TemplateOptions {
  /** Path of the JSON Schema, as seen from the file. */
  schema: string
  /** Whether it is for the table of `example.ts`; else the columns are to be filled in. */
  example: boolean
}

/** The text of the file. */
export function configTemplate({ schema, example }: TemplateOptions): string {
  return `# yaml-language-server: $schema=${schema}
#
# A configuration of torchkeep train:  torchkeep train train.yaml
# Every key is explained in docs/training.md. Paths are relative to this file.
# Any key can be given on the command line instead:  --set phases[0].lr=1e-4

seed: 0 # of the initial weights, the order of the samples, dropout and the split
device: cpu # cpu, cuda or cuda:1
threads: 1 # plenty for a small model; leave it out for LibTorch's own choice
checkpoint_dir: checkpoints # for torchkeep list, best, inspect, watch...

data:
  format: csv # csv, tensors (.safetensors, .pth) or module (a data set of your own)
  file: ${example ? 'example.csv' : 'data.csv'}
  columns: # a role for each column that is used; others are left alone
${example ? exampleColumns : ownColumns}
  target: ${example ? 'species' : 'label'}
  split: { by: fraction, val: 0.2, test: 0.1 } # or by: column, by: folds; or val_file and test_file
  batch_size: 16

model:
  name: mlp # a multilayer perceptron; its first and last sizes come from the data
  hidden: [32, 32]
  dropout: 0.1
# A model of your own (a class that extends nn.Module, or a function that gives one):
# model:
#   file: model.ts
#   export: default
#   options: { hidden: 32 } # passed to it, and kept in every checkpoint

loss: cross_entropy # mse, l1, cross_entropy, bce_with_logits, or {file: loss.ts}
metrics: [accuracy, macro_f1] # over the validation data, after each epoch
monitor: val_loss # what "best" means: train_loss, val_loss, val_accuracy...

optimizer: { name: AdamW, weight_decay: 0.01 }
clip_grad_norm: 1.0

phases: # one after another, each with its own rate; freeze: [PATTERN] keeps parameters still
  - name: main
    epochs: 200 # at most
    lr: 1e-3
    early_stopping: { patience: 15 } # epochs without a better val_loss; the best weights are put back
  - name: fine
    epochs: 5
    lr: 1e-4

checkpoint:
  every_epochs: 1
  keep_last: 5 # in regular/; the best and the ends of phases are kept besides
  best: [{ monitor: val_loss, count: 3 }]

logs: { events: true, csv: true, tensorboard: false }
`
}

const exampleColumns = `    petal_mm: { role: number, normalize: mean_std }
    stem_mm: { role: number, normalize: mean_std }
    weight_g: { role: number, normalize: mean_std }
    colour: { role: category }
    species: { role: category } # the target: a category gives classes, numbers a regression`

const ownColumns = `    x1: { role: number, normalize: mean_std }
    x2: { role: number, normalize: mean_std, missing: mean }
    kind: { role: category, unknown: true }
    # sequence: { role: text, alphabet: ACDEFGHIKLMNPQRSTVWY, length: 200 }
    label: { role: category } # the target: a category gives classes, numbers a regression`
