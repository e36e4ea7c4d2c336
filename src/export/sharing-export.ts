/** An export for sharing: weights with a model card, without what names people, machines and secrets. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { requireNotAborted } from '../checkpoint/publish-folder.js'
import { numberOf, validationLossOf } from '../checkpoint/metrics.js'
import { strictJson } from '../checkpoint/sidecar.js'
import { checkpointVersion } from '../checkpoint/schema.js'
import { countParameters, tensorRoles } from '../checkpoint/tensor-roles.js'
import { TorchkeepError } from '../format/errors.js'
import { isTensorRecord, TensorRecord, type AnyTensorRecord, type ByteOrigin } from '../format/tensor-record.js'
import { OrderedDict, PyFloat } from '../format/values.js'
import { checkExportName, exportPath } from './export-name.js'
import { countElements, torchkeepVersion } from './facts.js'
import { checkExportOptions, chooseFormats } from './formats.js'
import { checkLicense } from './hub-licenses.js'
import { modelCard } from './model-card.js'
import { openExportSource, type ExportSource } from './model-source.js'
import { prettyJson } from './pretty-json.js'
import { publishExport } from './publish-export.js'
import { requireUsed, scrub, type ScrubOptions } from './scrub.js'
import { scrubText } from './secrets.js'
import { refuseSecrets, searchFolder } from './search-folder.js'
import {
  anonymousContent,
  forJson,
  namesOf,
  sharedContent,
  unkept,
  writable,
  type AnonymousContent,
  type SharedContent,
} from './sharing-content.js'
import { shareableProgram, zeroInputs } from './sharing-graph.js'
import type { ExportableModel, ExportFormat, ExportResult, Removal, SharingExportOptions } from './types.js'
import { roundedStateDict, writePt2, writePth, writeSafetensors } from './weight-files.js'

/** See `ModelExporter.exportForSharing`. */
export async function exportForSharing(
  checkpoint: string,
  name: string,
  { exportDir, ...options }: SharingExportOptions & { exportDir: string },
): Promise<ExportResult> {
  checkExportName(name)
  checkExportOptions(options)
  if (options.anonymize === false && (options.allow ?? []).length > 0)
    throw new TorchkeepError('ERR_INVALID_ARGUMENT', 'allow: nothing is taken out without anonymize')
  const license = options.license === undefined ? null : checkLicense(options.license)
  const { formats } = chooseFormats(['safetensors'], options.formats)
  const source = await openExportSource(checkpoint, options)
  if (formats.has('pt2') && source.model === null)
    throw new TorchkeepError('ERR_CHECKPOINT_UNSUPPORTED', `${checkpoint}: ${source.gaps.join(' ')}`, {
      suggestions: ['--format safetensors,pth exports the weights'],
    })
  const createdAt = new Date()
  const wanted = new Set<ExportFormat>([
    ...formats,
    ...(options.includeTrainingState === true ? (['pth'] as const) : []),
  ])
  const making = new SharingFolder({ name, source, formats: wanted, options, license, createdAt })
  const { folder, archive, files } = await publishExport(
    exportPath(exportDir, name, 'sharing', createdAt),
    (temporary) => making.write(temporary),
    { ...options, createdAt, search: (temporary) => making.search(temporary) },
  )
  return { kind: 'sharing', folder, archive, files, gaps: making.gaps, check: null, removals: making.removals }
}

/** What a {@link SharingFolder} is made of. */
interface SharingFacts {
  name: string
  source: ExportSource
  formats: ReadonlySet<ExportFormat>
  options: SharingExportOptions
  license: string | null
  createdAt: Date
}

/** One export being made. */
class SharingFolder {
  readonly gaps: string[]
  readonly removals: Removal[] = []
  readonly #facts: SharingFacts
  readonly #content: SharedContent
  readonly #anonymous: AnonymousContent | null
  readonly #model: ExportableModel | null
  /** Secrets in names of tensors that may stay. */
  #allowedNames: ReadonlySet<string> = new Set()

  constructor(facts: SharingFacts) {
    const { source, options } = facts
    this.#facts = facts
    const whole = sharedContent(source, options)
    // Weights are shared without their model unless it is asked for, and then there is one.
    this.gaps = [...source.gaps.filter((gap) => gap !== source.modelGap), ...unkept(source, whole)]
    this.#anonymous = options.anonymize === false ? null : anonymousContent(source, whole, options)
    this.#content = this.#anonymous?.content ?? whole
    this.removals.push(...(this.#anonymous?.removals ?? []))
    this.#model = source.model !== null && facts.formats.has('pt2') ? source.model : null
    if (this.#anonymous === null) return
    this.#requireAllowed(this.#anonymous)
    if (this.#model !== null) this.#model = shareableProgram(this.#model)
    this.gaps = this.gaps.map((gap) => scrubText(gap, this.#search).text)
  }

  /** What the written files are searched with. */
  get #search(): ScrubOptions {
    if (this.#anonymous === null) return {}
    const { words, allowed } = this.#anonymous
    return {
      words,
      allowed: new Set([...allowed, ...this.#allowedNames]),
      allow: this.#facts.options.allow ?? [],
      names: namesOf(this.#facts.source),
    }
  }

  /** Names of tensors are the model's: one that looks private is refused, since no program would find it under another. */
  #requireAllowed({ used }: AnonymousContent): void {
    const { name, source, options } = this.#facts
    const names = new Map([...source.stateDict.keys()].map((key) => [key, null]))
    const { allow = [] } = options
    const found = scrub(new Map([['model_state_dict', names]]), this.#search)
    this.#allowedNames = found.allowed
    refuseSecrets([
      ...scrubText(name, this.#search).kinds.map((kind) => ({ file: 'the export', key: '(its name)', kind })),
      ...found.removals.map(({ key, kind }) => ({ file: 'the weights', key, kind })),
    ])
    const tensors = allow.filter(
      (key) => key === 'model_state_dict' || (key.startsWith('model_state_dict.') && names.has(key.slice(17))),
    )
    requireUsed(allow, new Set([...used, ...found.used, ...tensors]), this.removals)
  }

  async write(folder: string): Promise<void> {
    const { source, formats, options } = this.#facts
    const { dtype = null, signal } = options
    const stateDict = roundedStateDict(bare(source.stateDict), dtype)
    if (formats.has('safetensors')) this.gaps.push(...(await writeSafetensors(folder, stateDict, signal)))
    if (formats.has('pth')) await writePth(folder, 'model', this.#checkpoint(stateDict), signal)
    if (this.#model !== null) await this.#writeModel(folder, this.#model)
    if (formats.has('archive')) await this.#writeArchive(folder, stateDict)
    requireNotAborted(signal)
    await this.#writeDocuments(folder)
  }

  /** Everything that was written is read again and searched. */
  async search(folder: string): Promise<void> {
    if (this.#anonymous !== null) await searchFolder(folder, this.#search)
  }

  /** Layout L9. */
  #checkpoint(stateDict: OrderedDict<string, AnyTensorRecord<ByteOrigin>>): Map<string, unknown> {
    const { source, createdAt } = this.#facts
    const { config, metadata, summary, trainingState, trainingConfig } = this.#content
    const loss = validationLossOf(source.normalized)
    const summaryDict = new Map(
      Object.entries(summary).map(([key, value]) => [
        key,
        key.endsWith('loss') ? floatOf(value as number | null) : value,
      ]),
    )
    const { training_state: state = null, ...others } = Object.fromEntries(trainingState) as Record<string, unknown>
    const asked = trainingState.size > 0
    return new Map<string, unknown>([
      ['model_state_dict', stateDict],
      ['config', config],
      ['validation_loss', floatOf(loss)],
      ['epoch', numberOf(source.normalized.get('epoch'))],
      ['phase', numberOf(source.normalized.get('phase'))],
      ['version', checkpointVersion],
      ['export_timestamp', Math.floor(createdAt.getTime() / 1000)],
      ['export_type', 'shared'],
      ['metrics_summary', summaryDict],
      ['metadata', metadata],
      ...(asked ? [['training_config', trainingConfig] as const] : []),
      ...(state instanceof Map
        ? [
            [
              'training_state',
              new Map([...(state as Map<unknown, unknown>), ['metrics_summary', summaryDict]]),
            ] as const,
          ]
        : []),
      ...Object.entries(others),
    ])
  }

  async #writeModel(folder: string, model: ExportableModel): Promise<void> {
    const { name, options } = this.#facts
    const { dtype = null, signal } = options
    const facts = prettyJson({ format_version: 1, name, autocast: model.autocast, torchkeep_version: torchkeepVersion })
    await writePt2(folder, model, {
      dtype,
      sampleInputs: zeroInputs(model),
      facts,
      ...(signal !== undefined && { signal }),
    })
  }

  async #writeArchive(folder: string, stateDict: OrderedDict<string, AnyTensorRecord<ByteOrigin>>): Promise<void> {
    const { source } = this.#facts
    const { writeTorchArchive } = await import('./archive-with-libtorch.js')
    const roles = [...tensorRoles(source.normalized, source.stateDict)]
    const buffers = roles.flatMap(([name, role]) => (role === 'buffer' ? [name] : []))
    await writeTorchArchive(folder, stateDict, buffers)
  }

  async #writeDocuments(folder: string): Promise<void> {
    const { name, source, formats, license, options, createdAt } = this.#facts
    const { dtype = null, anonymize = true, allow = [] } = options
    const { config, metadata, trainingConfig, metrics, summary } = this.#content
    const numParameters = countParameters(source.normalized) ?? countElements(source.stateDict)
    const [epoch, phase] = ['epoch', 'phase'].map((key) => numberOf(source.normalized.get(key)))
    const card = modelCard({
      ...{ name, license, metadata, metrics, trainingConfig, summary, numParameters, dtype, formats, torchkeepVersion },
      ...{
        epoch: epoch ?? null,
        phase: phase ?? null,
        stateDict: source.stateDict,
        gaps: this.gaps,
        scrubbed: anonymize,
      },
    })
    this.gaps.push(...card.gaps)
    const about = new Map<string, unknown>([
      ...Object.entries({
        name,
        export_type: 'shared',
        created_at: createdAt.toISOString(),
        torchkeep_version: torchkeepVersion,
      }),
      ...Object.entries({ epoch, phase, validation_loss: validationLossOf(source.normalized), license, dtype }),
      ...Object.entries({ num_parameters: numParameters, metrics, metrics_summary: summary, metadata }),
      ...Object.entries({ training_config: trainingConfig, gaps: this.gaps }),
    ])
    const report = {
      format_version: 1,
      anonymized: anonymize,
      removals: this.removals,
      allowed: anonymize ? allow : [],
    }
    const write = (file: string, text: string): Promise<void> => writeFile(join(folder, file), text, { flag: 'wx' })
    await write('config.json', `${strictJson(forJson(config))}\n`)
    await write('metadata.json', `${strictJson(forJson(about))}\n`)
    await write('scrub_report.json', prettyJson(report))
    await write('README.md', card.text)
  }
}

const floatOf = (value: number | null): PyFloat | null => (value === null ? null : new PyFloat(value))

/** Tensors without the attributes that Python code hung onto them. */
function bare(stateDict: OrderedDict<string, AnyTensorRecord>): OrderedDict<string, AnyTensorRecord<ByteOrigin>> {
  const tensors = new OrderedDict<string, AnyTensorRecord<ByteOrigin>>()
  for (const [name, record] of stateDict)
    tensors.set(
      name,
      isTensorRecord(record) && record instanceof TensorRecord ? (writable(record) as TensorRecord) : record,
    )
  if (stateDict.metadata !== undefined) tensors.metadata = stateDict.metadata
  return tensors
}
