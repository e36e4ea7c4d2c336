/** `torchkeep/export`: gives models away. Weights are exported without LibTorch; what runs a model needs it. */
export { ModelExporter, type ModelExporterOptions } from './exporter.js'
export type {
  ArchiveFormat,
  ExportCheck,
  ExportDType,
  ExportFormat,
  ExportOptions,
  ExportProgress,
  ExportResult,
  InferenceExportOptions,
  ModelTensor,
  Removal,
  SharingExportOptions,
} from './types.js'
