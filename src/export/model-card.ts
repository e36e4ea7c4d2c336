/** The README of a shared export: a model card in the form of the Hugging Face Hub. What nobody but the author can say is left to fill, and listed. */
import { stringify } from 'yaml'
import { numberOf } from '../checkpoint/metrics.js'
import type { TopLevel } from '../checkpoint/migrations.js'
import { architectureText } from './model-card-architecture.js'
import { trainingText } from './model-card-training.js'
import type { MetricsSummary } from './metrics-summary.js'
import type { Tensors } from './weight-files.js'
import type { ExportDType, ExportFormat } from './types.js'

/** What a card tells. All of it is scrubbed already. */
export interface CardFacts {
  name: string
  /** Of the Hub's identifiers; null where nobody said. */
  license: string | null
  metadata: TopLevel
  /** Of these weights, by name. */
  metrics: TopLevel
  trainingConfig: unknown
  summary: MetricsSummary
  epoch: number | null
  phase: number | null
  stateDict: Tensors
  numParameters: number
  dtype: ExportDType | null
  formats: ReadonlySet<ExportFormat>
  scrubbed: boolean
  torchkeepVersion: string
  /** Of the export so far. */
  gaps: readonly string[]
}

/** A card, and what is left to fill. */
export interface ModelCard {
  text: string
  gaps: string[]
}

/** Front matter and sections; Markdown. */
export function modelCard(facts: CardFacts): ModelCard {
  const gaps = cardGaps(facts)
  const sections = [
    `# ${title(facts)}`,
    section('Model description', description(facts)),
    section('Intended use', toFill('What the model is for, and what it is not for.')),
    section(
      'Limitations',
      toFill('Where the model is known or likely to be wrong; on whom and what it was not tried.'),
    ),
    section('Training', `${trainingText(facts)}\n\n${toFill('On which data it was trained, and their licence.')}`),
    section('Metrics', metricsTable(facts)),
    section('How to load', loading(facts)),
    section('Architecture', architectureText(facts)),
    section('What is missing', [...facts.gaps, ...gaps].map((gap) => `- ${oneLine(gap)}`).join('\n')),
    `${facts.scrubbed ? 'Names of people and machines, paths and secrets were taken out of everything here: `scrub_report.json` says where. ' : ''}Written by torchkeep ${facts.torchkeepVersion}; \`sha256sum -c SHA256SUMS\` checks the files.`,
  ]
  return { text: `---\n${frontMatter(facts)}---\n\n${sections.filter((part) => part !== '').join('\n\n')}\n`, gaps }
}

const section = (name: string, text: string): string => (text === '' ? '' : `## ${name}\n\n${text}`)
const toFill = (what: string): string => `*To fill in: ${what}*`

/** Text that cannot leave its line or its cell. */
export const oneLine = (text: unknown): string => String(text).replace(/\s+/g, ' ').trim()
/** A cell of a table. */
export const cell = (text: unknown): string => oneLine(text).replace(/[\\|`]/g, '\\$&')

const textOf = ({ metadata }: CardFacts, key: string): string => {
  const value = metadata.get(key)
  return typeof value === 'string' ? value.trim() : ''
}

const title = (facts: CardFacts): string => oneLine(textOf(facts, 'title') || facts.name)

function description(facts: CardFacts): string {
  const type = textOf(facts, 'model_type')
  const size = `${facts.numParameters.toLocaleString('en-US')} parameters`
  const told = [textOf(facts, 'description'), textOf(facts, 'notes')].filter((text) => text !== '')
  const kind = `${type === '' ? 'A PyTorch model' : `A PyTorch model of the class \`${oneLine(type)}\``} with ${size}.`
  return [...(told.length === 0 ? [toFill('What the model does.')] : told), kind].join('\n\n')
}

function cardGaps(facts: CardFacts): string[] {
  return [
    facts.license === null
      ? 'No licence is given: nobody may use the model until there is one. `--license ID` sets it.'
      : '',
    textOf(facts, 'description') === '' ? 'The model is not described: `torchkeep tag` sets a description.' : '',
    'Intended use and limitations are to be filled in.',
    'The training data and their licence are not named.',
    finiteMetrics(facts).length === 0
      ? 'The checkpoint holds no metrics of these weights.'
      : 'The data that the metrics were measured on are not named.',
  ].filter((gap) => gap !== '')
}

/** Names under which the Hub knows metrics. */
const hubMetrics: Readonly<Record<string, string>> = {
  pearson: 'pearsonr',
  spearman: 'spearmanr',
  macro_f1: 'f1',
  auroc: 'roc_auc',
  r2: 'r_squared',
}

interface CardMetric {
  name: string
  /** The Hub's identifier. */
  type: string
  value: number
}

/** Those of the validation; others tell how it was trained, not how good it is. */
function finiteMetrics({ metrics }: CardFacts): CardMetric[] {
  return [...metrics].flatMap(([key, item]) => {
    const value = numberOf(item)
    const name = String(key)
    if (value === null || !Number.isFinite(value) || !name.startsWith('val_')) return []
    const short = name.slice('val_'.length)
    return [{ name: oneLine(name), type: oneLine(hubMetrics[short] ?? short), value }]
  })
}

function frontMatter(facts: CardFacts): string {
  const { name, license, metadata } = facts
  const metrics = finiteMetrics(facts)
  const given: unknown = metadata.get('tags')
  const tags = [...(Array.isArray(given) ? given.map(oneLine) : []), 'pytorch', 'torchkeep'].filter((tag) => tag !== '')
  const yaml = stringify(
    {
      ...(license !== null && { license }),
      library_name: 'pytorch',
      tags: [...new Set(tags)],
      ...(metrics.length > 0 && {
        metrics: [...new Set(metrics.map(({ type }) => type))],
        'model-index': [modelIndex(name, facts, metrics)],
      }),
    },
    // The Hub and Python read YAML 1.1, in which `no` and `12:30` need quotes.
    { lineWidth: 0, version: '1.1', aliasDuplicateObjects: false },
  )
  // In YAML 1.1 a float has a point: 1e-7 would be a text.
  return yaml.replace(/^(\s*value: -?\d+)(e[-+]\d+)$/gm, '$1.0$2')
}

function modelIndex(
  name: string,
  { trainingConfig }: CardFacts,
  metrics: readonly CardMetric[],
): Record<string, unknown> {
  const loss: unknown = trainingConfig instanceof Map ? trainingConfig.get('loss') : undefined
  const task =
    loss === 'cross_entropy' || loss === 'bce_with_logits'
      ? 'Classification'
      : loss === 'mse' || loss === 'l1'
        ? 'Regression'
        : 'Prediction'
  return {
    name,
    results: [
      {
        task: { type: 'other', name: task },
        dataset: { type: 'unknown', name: 'Validation data of the training run', split: 'validation' },
        metrics: metrics.map(({ name: metric, type, value }) => ({ type, value, name: metric })),
      },
    ],
  }
}

function metricsTable({ metrics, summary, epoch }: CardFacts): string {
  const rows = [...metrics].flatMap(([key, item]) => {
    const value = numberOf(item)
    return value === null ? [] : [`| ${cell(key)} | ${value} |`]
  })
  const best =
    summary.best_val_loss === null
      ? ''
      : `The smallest validation loss of the run was ${summary.best_val_loss}${summary.best_epoch === null ? '' : `, in epoch ${summary.best_epoch}`}; the last was ${summary.final_val_loss ?? 'not measured'}.`
  if (rows.length === 0)
    return ['The checkpoint holds no metrics of these weights.', best].filter((text) => text !== '').join(' ')
  const head = `Of these weights${epoch === null ? '' : ` (epoch ${epoch})`}, as the run measured them.`
  return [head, `| metric | value |\n|---|---|\n${rows.join('\n')}`, best].filter((text) => text !== '').join('\n\n')
}

function loading({ formats, dtype }: CardFacts): string {
  const rounded = dtype === null ? '' : `Floating weights and buffers are stored rounded to ${dtype}.`
  const safetensors = `\`\`\`python
from safetensors.torch import load_file

tensors = load_file("model.safetensors")
for name, tensor in tensors.items():
    print(name, tuple(tensor.shape), tensor.dtype)
\`\`\`

With the model's class at hand, \`safetensors.torch.load_model(model, "model.safetensors")\` puts them in, tied weights included. In Node, without LibTorch:

\`\`\`js
import { readTensorValues, readTorchFile } from 'torchkeep/format'

const file = await readTorchFile('model.safetensors')
for (const [name, tensor] of file.value) {
  const values = await readTensorValues(file, tensor)
  console.log(name, tensor.sizes, tensor.dtype, values.length)
}
\`\`\``
  const pth = `\`model.pth\` is a dict with \`model_state_dict\`:

\`\`\`python
import torch

checkpoint = torch.load("model.pth", weights_only=True)
state_dict = checkpoint["model_state_dict"]
\`\`\``
  const pt2 = `\`model.pt2\` holds the model itself, in evaluation mode:

\`\`\`python
import torch

model = torch.export.load("model.pt2").module()
\`\`\`

\`loadForInference('model.pt2')\` of torchkeep runs it in Node.`
  const archive = "`model_archive.pt` is an archive of C++'s `torch::save`."
  const parts: [ExportFormat, string][] = [
    ['safetensors', safetensors],
    ['pth', pth],
    ['pt2', pt2],
    ['archive', archive],
  ]
  return [rounded, ...parts.map(([format, text]) => (formats.has(format) ? text : ''))]
    .filter((text) => text !== '')
    .join('\n\n')
}
