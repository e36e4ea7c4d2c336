/** An export for inference: a folder with weights, model, sample and programs that run as they are. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { requireNotAborted } from '../checkpoint/publish-folder.js'
import { tensorRoles } from '../checkpoint/tensor-roles.js'
import { TorchkeepError } from '../format/errors.js'
import type { TensorRecord } from '../format/tensor-record.js'
import { checkExportName, exportPath } from './export-name.js'
import { configOf, countElements, sourceFacts, torchkeepVersion } from './facts.js'
import { checkExportOptions, chooseFormats, type ChosenFormats } from './formats.js'
import { batchRange, inputsOf, outputsOf } from './graph-tensors.js'
import { inferenceReadme } from './inference-readme.js'
import { inferenceNode, inferencePython, loadWeightsNode, loadWeightsPython } from './inference-scripts.js'
import { openExportSource, type ExportSource } from './model-source.js'
import { prettyJson } from './pretty-json.js'
import { publishExport } from './publish-export.js'
import type { ExportableModel, ExportCheck, ExportResult, InferenceExportOptions, ModelTensor } from './types.js'
import { roundedStateDict, writePt2, writePth, writeSafetensors } from './weight-files.js'

/** See `ModelExporter.exportForInference`. */
export async function exportForInference(
  checkpoint: string,
  name: string,
  { exportDir, ...options }: InferenceExportOptions & { exportDir: string },
): Promise<ExportResult> {
  checkExportName(name)
  checkExportOptions(options)
  const chosen = chooseFormats(['pth', 'safetensors', 'pt2'], options.formats)
  if (options.model !== undefined && !chosen.formats.has('pt2'))
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', 'a model is given, but no pt2 is to be written')
  const source = await openExportSource(checkpoint, options)
  await requireRunnable(source, chosen)
  const createdAt = new Date()
  const making = new InferenceFolder(name, source, chosen, options, createdAt)
  const { folder, archive, files } = await publishExport(
    exportPath(exportDir, name, 'inference', createdAt),
    (temporary) => making.write(temporary),
    { ...options, createdAt },
  )
  return { kind: 'inference', folder, archive, files, gaps: making.gaps, check: making.check, removals: [] }
}

/** What cannot be written is told before anything is. */
async function requireRunnable(source: ExportSource, { formats, isNamed }: ChosenFormats): Promise<void> {
  if (source.model === null && isNamed('pt2'))
    throw new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `${source.path}: ${source.gaps.join(' ')}`, {
      suggestions: [
        '--model FILE gives the model: a module that exports it, or a .pt2 of it',
        '--format pth,safetensors exports the weights',
      ],
    })
  if (!formats.has('archive') && (source.model === null || !formats.has('pt2'))) return
  const { requireLibTorch } = await import('../train-config/require-libtorch.js')
  try {
    requireLibTorch()
  } catch (error) {
    if (!(error instanceof TorchkeepError)) throw error
    throw new TorchkeepError(error.code, error.message, {
      cause: error.cause,
      suggestions: [...error.suggestions, '--format pth,safetensors exports the weights alone, without LibTorch'],
    })
  }
}

/** What is known of a model once it was run. */
interface Ran {
  inputs: ModelTensor[]
  outputs: ModelTensor[]
  check: ExportCheck
}

/** One export being made. */
class InferenceFolder {
  readonly gaps: string[]
  check: ExportCheck | null = null

  constructor(
    private readonly name: string,
    private readonly source: ExportSource,
    private readonly chosen: ChosenFormats,
    private readonly options: InferenceExportOptions,
    private readonly createdAt: Date,
  ) {
    this.gaps = [...source.gaps]
  }

  async write(folder: string): Promise<void> {
    const { formats } = this.chosen
    const { dtype = null, signal } = this.options
    const names = new Set(['config.json', 'metadata.json', 'README.md'])
    const stateDict = roundedStateDict(this.source.stateDict, dtype)
    if (formats.has('pth')) await writePth(folder, 'model', stateDict, signal)
    if (formats.has('safetensors')) this.gaps.push(...(await writeSafetensors(folder, stateDict, signal)))
    if (formats.has('archive')) {
      const { writeTorchArchive } = await import('./archive-with-libtorch.js')
      await writeTorchArchive(folder, stateDict, this.#buffers())
    }
    requireNotAborted(signal)
    const { model } = this.source
    const ran = model !== null && formats.has('pt2') ? await this.#writeModel(folder, model) : null
    for (const [name, text] of Object.entries(this.#scripts(ran))) {
      names.add(name)
      await writeFile(join(folder, name), text, { flag: 'wx' })
    }
    for (const [format, name] of fileNames) if (formats.has(format)) names.add(name)
    if (ran === null) names.delete('model.pt2')
    else names.add('sample.pth')
    await this.#writeDocuments(folder, [...names].sort(), ran)
  }

  #buffers(): string[] {
    const roles = tensorRoles(this.source.normalized, this.source.stateDict)
    return [...roles].flatMap(([name, role]) => (role === 'buffer' ? [name] : []))
  }

  /** Writes `model.pt2` and `sample.pth`, and runs what was written. */
  async #writeModel(folder: string, model: ExportableModel): Promise<Ran> {
    const { dtype = null, sample, signal } = this.options
    const { checkExport, makeSample } = await import('./run-model-with-libtorch.js')
    const inputs = this.source.sample ?? (await makeSample(model, 4, sample))
    const facts = prettyJson({
      format_version: 1,
      name: this.name,
      autocast: model.autocast,
      source_sha256: this.source.fileSha256,
      torchkeep_version: torchkeepVersion,
    })
    await writePt2(folder, model, { dtype, sampleInputs: inputs, facts, ...(signal !== undefined && { signal }) })
    const checked = await checkExport({
      ...{ model, inputs, exportedPath: join(folder, 'model.pt2') },
      ...(signal !== undefined && { signal }),
    })
    this.check = checked.check
    if (dtype === null) this.#requireEqual(checked.check)
    const outputs: TensorRecord<Uint8Array>[] = dtype === null ? checked.outputs : checked.exportedOutputs
    await writePth(
      folder,
      'sample',
      new Map([
        ['inputs', [...inputs]],
        ['outputs', outputs],
      ]),
      signal,
    )
    return { inputs: inputsOf(model.program), outputs: outputsOf(model.program), check: checked.check }
  }

  #requireEqual({ equal, maxDifference }: ExportCheck): void {
    if (equal) return
    throw new TorchkeepError(
      'ERR_CHECKPOINT_INCOMPATIBLE',
      `the exported model of ${this.source.path} gives other outputs than the checkpoint, by up to ${maxDifference}: nothing was exported`,
      { suggestions: ['please report it: an export is to have the same bits'] },
    )
  }

  #scripts(ran: Ran | null): Record<string, string> {
    const { name } = this
    const { formats } = this.chosen
    const { dtype = null } = this.options
    const node = {
      name: name.toLowerCase(),
      private: true,
      type: 'module',
      dependencies: { torchkeep: `^${torchkeepVersion}` },
    }
    const shared = { 'package.json': prettyJson(node) }
    if (ran !== null) {
      const facts = { name, autocast: this.source.model?.autocast ?? null, threads: ran.check.threads, dtype }
      return {
        ...shared,
        'requirements.txt': `${torchRequirement}\n`,
        'inference.py': inferencePython(facts),
        'inference.mjs': inferenceNode(facts),
      }
    }
    const weights = formats.has('pth') ? 'pth' : formats.has('safetensors') ? 'safetensors' : null
    if (weights === null) return {}
    return {
      ...shared,
      'requirements.txt': weights === 'pth' ? 'torch>=1.13\n' : `torch>=1.13\nsafetensors>=0.4\n`,
      'load_weights.py': loadWeightsPython({ name, weights }),
      'load_weights.mjs': loadWeightsNode({ name, weights }),
    }
  }

  async #writeDocuments(folder: string, files: readonly string[], ran: Ran | null): Promise<void> {
    const { name, gaps, source, createdAt } = this
    const { dtype = null } = this.options
    const facts = sourceFacts(source)
    const numParameters = countElements(source.stateDict)
    const autocast = source.model?.autocast ?? null
    const batch = source.model === null ? null : batchRange(source.model.program)
    const metadata = {
      ...{ name, export_type: 'inference', created_at: createdAt.toISOString(), torchkeep_version: torchkeepVersion },
      ...{ source: facts, num_parameters: numParameters, dtype, autocast },
      model: ran === null ? null : modelFacts(ran, source.model?.origin ?? null, batch),
      check: ran === null ? null : checkFacts(ran.check),
      gaps,
    }
    const readme = inferenceReadme({
      hasModel: source.model !== null,
      ...{
        name,
        source: facts,
        numParameters,
        files: files.filter((file) => file !== 'README.md'),
        dtype,
        autocast,
        torchkeepVersion,
        gaps,
      },
      ...{ inputs: ran?.inputs ?? [], outputs: ran?.outputs ?? [], check: ran?.check ?? null },
    })
    const write = (file: string, text: string): Promise<void> => writeFile(join(folder, file), text, { flag: 'wx' })
    await write('config.json', prettyJson(configOf(source.normalized)))
    await write('metadata.json', prettyJson(metadata))
    await write('README.md', readme)
  }
}

function modelFacts(
  { inputs, outputs }: Ran,
  origin: string | null,
  batch: { min: number; max: number } | null,
): Record<string, unknown> {
  const tensors = (list: readonly ModelTensor[]): ModelTensor[] =>
    list.map(({ name, dtype, shape }) => ({ name, dtype, shape }))
  const sizes = batch === null ? null : { min: batch.min, max: Number.isFinite(batch.max) ? batch.max : null }
  return { origin, inputs: tensors(inputs), outputs: tensors(outputs), batch_sizes: sizes }
}

function checkFacts({
  equal,
  maxDifference,
  batchSizes,
  threads,
  libtorchVersion,
}: ExportCheck): Record<string, unknown> {
  return {
    ...{ equal, max_difference: maxDifference, batch_sizes: batchSizes, threads },
    libtorch_version: libtorchVersion,
  }
}

const fileNames = [
  ['pth', 'model.pth'],
  ['safetensors', 'model.safetensors'],
  ['pt2', 'model.pt2'],
  ['archive', 'model_archive.pt'],
] as const

/**
 * The first version that reads weights as raw bytes with a table (`data/weights/model_weights_config.json`), as `planPt2` writes them; it passes over fields of later minor versions of the schema. Source:
 * https://github.com/pytorch/pytorch/pull/160394. Tried with 2.9.1 and 2.13: the same bits.
 */
const torchRequirement = 'torch>=2.9'
