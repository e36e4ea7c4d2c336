/** Gives models away. */
import { exportForInference } from './inference-export.js'
import { exportForSharing } from './sharing-export.js'
import type { ExportResult, InferenceExportOptions, SharingExportOptions } from './types.js'

/** How {@link ModelExporter} is set up. */
export interface ModelExporterOptions {
  /** Where exports go; made where it is not there. Default `exports`, as in the older system. */
  exportDir?: string
}

/** Exports checkpoints of every layout that Torchkeep reads. What needs only weights runs without LibTorch. */
export class ModelExporter {
  readonly exportDir: string

  constructor({ exportDir = 'exports' }: ModelExporterOptions = {}) {
    this.exportDir = exportDir
  }

  /**
   * Makes `{exportDir}/{name}_{seconds}/` and its archive: weights (`model.pth`, `model.safetensors`), the model with its weights (`model.pt2`, for `torch.export.load` and `loadForInference`), a sample with its outputs, and programs that run
   * in Python and Node. Every byte of the checkpoint is checked first; the exported model is read back, run and compared with the checkpoint's. The folder appears whole or not at all.
   *
   * @throws TorchkeepError `ERR_INVALID_ARGUMENT` for options; `ERR_CHECKPOINT_*` for a checkpoint that is damaged or does not fit; `ERR_LIBTORCH_MISSING` where a model is to be run; `ERR_CHECKPOINT_WRITE`; `ERR_ABORTED`.
   */
  exportForInference(checkpoint: string, name: string, options: InferenceExportOptions = {}): Promise<ExportResult> {
    return exportForInference(checkpoint, name, { ...options, exportDir: this.exportDir })
  }

  /**
   * Makes `{exportDir}/{name}_shared_{seconds}/` and its archive: weights and a model card, without optimizer and training state unless asked for, and without what names people, machines or secrets. What was taken out is in
   * `scrub_report.json` and in the result, by key and kind. The written files are searched again. Needs no LibTorch (but for the format `archive`).
   *
   * @throws TorchkeepError `ERR_EXPORT_SECRET` where something is left that looks private, in names of tensors too; `ERR_INVALID_ARGUMENT` for options, an `allow` that names nothing, an unknown license; `ERR_CHECKPOINT_*`; `ERR_ABORTED`.
   */
  exportForSharing(checkpoint: string, name: string, options: SharingExportOptions = {}): Promise<ExportResult> {
    return exportForSharing(checkpoint, name, { ...options, exportDir: this.exportDir })
  }
}
