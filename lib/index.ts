/** "torch for Node": everything that lib offers to the layers above. */
export { loadArchive, saveArchive, type ArchiveValue } from './archive.js'
export { autocast } from './autocast.js'
export { call, callTensor, callTensors, type Argument, type Result } from './call.js'
export type { Complex, FilePart, MapTensorFileOptions, TensorHandle, TensorInfo } from './contract.js'
export * from './creation.js'
export { DataLoader, type DataLoaderOptions } from './data/data-loader.js'
export { batchGetter, Dataset, TensorDataset, wholeTensors } from './data/dataset.js'
export { Subset } from './data/subset.js'
export * from './device.js'
export { isComplex, isDType, isFloatingPoint, type DType, type TypedArray } from './dtype.js'
export { enableGrad, isGradEnabled, noGrad } from './grad-mode.js'
export type { Index, Range } from './indexing.js'
export { exportedProgram, type ExportedGraph, type ExportedProgram } from '../src/format/export-schema.js'
export * as nn from './nn/index.js'
export { Module } from './nn/module.js'
export { Parameter } from './nn/parameter.js'
export type { LoadReport, StateDictLike } from './nn/state-dict.js'
export { constantsOf, trace, traceFunction } from './nn/trace.js'
export * as optim from './optim/index.js'
export * as lrScheduler from './optim/lr-scheduler.js'
export { Generator, getRngState, manualSeed, preserveRngState, setRngState } from './random.js'
export { keep, liveTensors, scope } from './scope.js'
export {
  Session,
  type BatchSource,
  type EvaluateOptions,
  type EvaluateResult,
  type RunOptions,
  type RunResult,
  type SessionOptions,
} from './session.js'
export { Tensor } from './tensor.js'
export type { NestedValues, ScalarValue } from './values.js'
