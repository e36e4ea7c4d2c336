/** The README of an inference export. */
import type { SourceFacts } from './facts.js'
import type { ExportCheck, ExportDType, ModelTensor } from './types.js'

/** What the README tells. */
export interface ReadmeFacts {
  name: string
  source: SourceFacts
  numParameters: number
  files: readonly string[]
  inputs: readonly ModelTensor[]
  outputs: readonly ModelTensor[]
  check: ExportCheck | null
  dtype: ExportDType | null
  autocast: 'bfloat16' | null
  /** Whether the model is known, written or not. */
  hasModel: boolean
  torchkeepVersion: string
  gaps: readonly string[]
}

/** Markdown. */
export function inferenceReadme(facts: ReadmeFacts): string {
  const { name, source, files, check, gaps } = facts
  const runs = files.includes('model.pt2')
  const parts = [
    `# ${source.title === '' ? name : source.title}`,
    source.description,
    origin(facts),
    runs ? runText(facts) : loadText(facts),
    runs ? tensorTable('Inputs', facts.inputs) : '',
    runs ? tensorTable('Outputs', facts.outputs) : '',
    metricsTable(source),
    `## Files\n\n${files.map((file) => `- \`${file}\`: ${fileText(file)}`).join('\n')}\n\n\`sha256sum -c SHA256SUMS\` checks them.`,
    check === null ? '' : checkText(facts, check),
    gaps.length === 0 ? '' : `## To know\n\n${gaps.map((gap) => `- ${gap}`).join('\n')}`,
  ]
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`
}

function origin({ source, numParameters, torchkeepVersion, dtype, autocast }: ReadmeFacts): string {
  const place = [
    source.epoch === null ? '' : `epoch ${source.epoch}`,
    source.phase === null ? '' : `phase ${source.phase}`,
  ].filter((text) => text !== '')
  return [
    `Exported by torchkeep ${torchkeepVersion} from \`${source.file}\`${place.length === 0 ? '' : ` (${place.join(', ')})`}, SHA-256 \`${source.sha256}\`. ${numParameters.toLocaleString('en-US')} numbers in weights and buffers.`,
    dtype === null
      ? ''
      : `Floating weights and buffers are stored rounded to ${dtype}; the model computes in the dtypes it was trained in.`,
    autocast === null
      ? ''
      : `The model was trained under \`torch.autocast\` (${autocast}) and is to be run under it: the scripts do so.`,
  ]
    .filter((text) => text !== '')
    .join(' ')
}

function runText({ inputs, autocast }: ReadmeFacts): string {
  const names = inputs.map(({ name }) => name).join(', ')
  const under = autocast === null ? '' : `, torch.autocast("cpu", dtype=torch.${autocast})`
  return `## Run

\`\`\`sh
pip install -r requirements.txt
python inference.py              # the stored sample: prints whether its outputs are the stored ones
python inference.py INPUTS.pth   # a list of tensors saved with torch.save
\`\`\`

\`\`\`sh
npm install && npx torchkeep setup
node inference.mjs
\`\`\`

In a program of your own:

\`\`\`python
import torch

model = torch.export.load("model.pt2").module()
with torch.no_grad()${under}:
    outputs = model(${names})
\`\`\`

\`\`\`js
import { loadForInference } from 'torchkeep'

const model = await loadForInference('model.pt2')
const [output] = await model.predict([${names}])
\`\`\``
}

function loadText({ files, hasModel }: ReadmeFacts): string {
  const load = files.includes('model.pth')
    ? 'model.load_state_dict(torch.load("model.pth", weights_only=True))'
    : 'safetensors.torch.load_model(model, "model.safetensors")'
  return `## Load

The weights only: **the model's code is not in this export**, and whoever uses it needs the class that the weights are of.

\`\`\`python
model = YourModel(...)
${load}
model.eval()
\`\`\`

\`python load_weights.py\` and \`node load_weights.mjs\` check the files and list what is in them. ${hasModel ? 'The checkpoint has its model: exported without `--format`, it runs by itself.' : 'To get an export that runs, export again with `--model FILE`: a module that exports the model, or a `.pt2` of it that `torch.export.save` wrote.'}`
}

function tensorTable(title: string, tensors: readonly ModelTensor[]): string {
  const rows = tensors.map(
    ({ name, dtype, shape }) => `| \`${name}\` | ${dtype} | [${shape.map((size) => size ?? 'batch').join(', ')}] |`,
  )
  return `## ${title}\n\n| name | dtype | shape |\n|---|---|---|\n${rows.join('\n')}`
}

function metricsTable({ metrics }: SourceFacts): string {
  const rows = Object.entries(metrics).map(([name, value]) => `| ${name.replaceAll('|', '\\|')} | ${value} |`)
  return rows.length === 0
    ? ''
    : `## Metrics\n\nOf these weights, as the run measured them.\n\n| metric | value |\n|---|---|\n${rows.join('\n')}`
}

function checkText({ dtype }: ReadmeFacts, check: ExportCheck): string {
  const sizes = check.batchSizes.join(', ')
  const how = `on the CPU with ${check.threads} thread${check.threads === 1 ? '' : 's'} and LibTorch ${check.libtorchVersion}, on the sample and batches of ${sizes} rows`
  const result = check.equal
    ? 'the outputs of `model.pt2`, read back from the disk, were equal to those of the checkpoint in every bit'
    : `the outputs of \`model.pt2\`, read back from the disk, differed from those of the checkpoint by up to ${check.maxDifference}${dtype === null ? '' : `, which is what rounding to ${dtype} does`}`
  return `## Checked\n\nWhen this was exported, ${result}: ${how}. \`sample.pth\` holds the sample with ${dtype === null ? "the checkpoint's" : "the exported model's"} outputs.`
}

const fileTexts: Readonly<Record<string, string>> = {
  'model.pt2': 'the model with its weights, for `torch.export.load` and `loadForInference`',
  'model.pth': 'the state dict, for `torch.load(weights_only=True)`',
  'model.safetensors': 'the same weights as safetensors',
  'model_archive.pt': "the same weights as an archive of C++'s `torch::save`",
  'sample.pth': 'inputs and their outputs',
  'config.json': "the checkpoint's configuration",
  'metadata.json': 'what this is, for programs',
  'inference.py': 'runs the model in Python',
  'inference.mjs': 'runs the model in Node',
  'load_weights.py': 'loads the weights in Python',
  'load_weights.mjs': 'reads the weights in Node',
  'requirements.txt': 'what the Python script needs',
  'package.json': 'what the Node script needs',
}

const fileText = (name: string): string => fileTexts[name] ?? ''
