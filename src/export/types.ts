/** What an export is asked for and what it gives: shared by the exporters, the command and the library. */
import type { Plain } from '../checkpoint/fields.js'
import type { DTypeName } from '../format/dtypes.js'
import type { AnyTensorRecord, ByteOrigin } from '../format/tensor-record.js'
import type { ExportedProgram } from '../format/export-schema.js'

/** What of an export is written of the weights. `archive` is C++'s `torch::save` archive, the others open in Python. */
export type ExportFormat = 'pth' | 'safetensors' | 'pt2' | 'archive'

/** A dtype that weights are rounded to. Only what is stored is rounded: the exported model computes in the dtypes of the checkpoint. */
export type ExportDType = 'bfloat16' | 'float16'

/** The archive beside the folder. */
export type ArchiveFormat = 'tar.gz' | 'zip'

/** How far one part of an export is: `checking` the checkpoint, `packing` the archive. */
export interface ExportProgress {
  what: string
  doneBytes: number
  totalBytes: number
}

/** What both kinds of export take. */
export interface ExportOptions {
  /** Default: for inference `pth`, `safetensors` and, where the model is known, `pt2`; for sharing `safetensors`. */
  formats?: readonly ExportFormat[]
  /** Default null: as in the checkpoint. */
  dtype?: ExportDType | null
  /** Default `tar.gz`; null: the folder only. */
  compress?: ArchiveFormat | null
  /** Ends the export, which then rejects with `ERR_ABORTED` and leaves nothing. */
  signal?: AbortSignal
  onProgress?: (progress: ExportProgress) => void
}

/** Options of `ModelExporter.exportForInference`. */
export interface InferenceExportOptions extends ExportOptions {
  /** For a checkpoint without a recorded graph: a module that exports the model (`.js`, `.ts`), or a `.pt2` with its graph. */
  model?: string
  /** Name of the module's export; its options as the first argument. Default: the default export and none. */
  modelExport?: string
  modelOptions?: Plain
  /** A `.safetensors` or `.pth` file with one tensor for each input, in their order or by their names. Default: drawn from a fixed seed. */
  sample?: string
}

/** Options of `ModelExporter.exportForSharing`. */
export interface SharingExportOptions extends ExportOptions {
  /** Optimizer and training state go along, scrubbed, in a `.pth`. Default false. */
  includeTrainingState?: boolean
  /** Scrubs what names people, machines and secrets, and summarises the metrics. Default true. */
  anonymize?: boolean
  /** Dotted keys (`config.data.contact`) whose values stay although a pattern matches them. */
  allow?: readonly string[]
  /** Identifier of the model card's `license`, such as `mit`. Default: left open, a gap of the card. */
  license?: string
}

/** A text that was taken out. What it was is told nowhere. */
export interface Removal {
  /** File or part, and the dotted key in it: `config.data.password`. */
  key: string
  /** What it was taken for: `email`, `absolute_path`... */
  kind: string
  count: number
}

/** What an export made. */
export interface ExportResult {
  kind: 'inference' | 'sharing'
  /** The folder. */
  folder: string
  archive: string | null
  /** Relative to the folder, in the order of SHA256SUMS. */
  files: readonly { name: string; sizeBytes: number; sha256: string }[]
  /** What is missing or left to do, as sentences. */
  gaps: readonly string[]
  /** Of inference: what was measured; null where the model could not be run. */
  check: ExportCheck | null
  /** Of sharing. */
  removals: readonly Removal[]
}

/** How the outputs of the exported files compare with the checkpoint's, on the sample. */
export interface ExportCheck {
  /** Whether every byte is equal. */
  equal: boolean
  /** Largest absolute difference; 0 where equal. */
  maxDifference: number
  /** Rows of the sample. */
  samples: number
  /** Of all batches that were compared, the sample's first; only that where the graph takes no other. */
  batchSizes: readonly number[]
  threads: number
  libtorchVersion: string
}

/** A model that can run without its code: a graph and the tensors that it needs. Descriptions, no values. */
export interface ExportableModel {
  /** Evaluation mode. `graph_module` of a `.pt2` from Python stays as Python wrote it. */
  program: ExportedProgram
  /** Parameters and buffers, persistent or not, under all their names. Aliases share a storage. */
  state: ReadonlyMap<string, AnyTensorRecord<ByteOrigin>>
  /** Tensor constants by the names of the graph's signature. */
  constants: ReadonlyMap<string, AnyTensorRecord<ByteOrigin>>
  /** `torch.autocast` that the graph has to run under. */
  autocast: 'bfloat16' | null
  /** Where the graph is from. */
  origin: 'checkpoint' | 'module' | 'pt2'
}

/** One input or output of a model. */
export interface ModelTensor {
  name: string
  dtype: DTypeName
  /** Null for the batch. */
  shape: readonly (number | null)[]
}
