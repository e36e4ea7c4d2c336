/** `torchkeep/format`: PyTorch's file formats in pure TypeScript. Needs neither LibTorch nor the addon. */
export { TorchkeepError, type ErrorCode, type ErrorDetails } from './errors.js'
export {
  ByteArray,
  Complex,
  Counter,
  DefaultDict,
  Device,
  FrozenSet,
  Layout,
  NumpyArray,
  NumpyDType,
  NumpyScalar,
  OpaqueObject,
  OrderedDict,
  PyFloat,
  PythonGlobal,
  Size,
  TorchDType,
  Tuple,
} from './values.js'
export { numpyValues } from './numpy-values.js'
export { dtypes, isDTypeName, type DTypeName, type TypedArray } from './dtypes.js'
export {
  ChunkedTensorRecord,
  contiguousStrides,
  elementCount,
  isTensorRecord,
  MetaTensorRecord,
  NestedTensorRecord,
  QuantizedTensorRecord,
  SparseTensorRecord,
  StorageRecord,
  TensorRecord,
  tensorFromBytes,
  type AnyTensorRecord,
  type ByteOrder,
  type ByteOrigin,
  type FileIdentity,
  type FileRange,
  type Quantizer,
  type TensorFacts,
} from './tensor-record.js'
export { formatPath, listTensors, replaceTensors, walk, type ValuePath } from './walk.js'
export { planTorchFile, topFolderOf, type PlanOptions, type PlannedStorage, type TorchFilePlan } from './plan.js'
export type { CrcPatch, PlannedPart } from './zip-write.js'
export type { DescribeTensor } from './storage-spans.js'
export { checkWritten, type Verify } from './check-written.js'
export { writePlan, type WrittenFile } from './write-plan.js'
export { readTorchFile, type Container, type ReadOptions, type TorchFile } from './read.js'
export {
  readStorageBytes,
  readTensorBytes,
  readTensorValues,
  verifyStorages,
  type ReadBytesOptions,
} from './read-bytes.js'
export type { ZipRecord } from './zip-read.js'
export { formatFinding, formatFindings, type Finding, type FormatFindingId, type Severity } from './findings.js'
export { readDequantized, readElements, type ElementOptions } from './elements.js'
export { scanStorages, type ScanOptions, type ScannedStorage } from './scan.js'
export { castTensors } from './cast.js'
export { planSafetensors, type SafetensorsPlan } from './safetensors-write.js'
export { planPt2, type Pt2Contents } from './pt2-write.js'
export { upcastProgram } from './pt2-upcast.js'
