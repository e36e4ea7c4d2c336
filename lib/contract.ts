/**
 * The native boundary: every name that the addon exports, with its types, declared once.
 *
 * `test/native/contract.test.ts` compares the addon's real exports with {@link exportNames}. The same names are used in C++
 * (`native/addon.cpp`), so one search finds both sides. Each operation takes one options object; plain values, typed arrays
 * and opaque handles cross, nothing else. Friendly options are normalised in `lib`; C++ receives complete values and still
 * guards them.
 *
 * A failure is thrown (or rejects) as a plain `Error` with a `code` from design section 7; `lib/native.ts` turns it into a
 * `TorchkeepError` in one place.
 */

/** Raised whenever a name or a type below changes; an addon built for another value is refused with `ERR_ADDON_MISMATCH`. */
export const contractVersion = 3

/** PyTorch's dtype names without the `torch.` prefix, as `str(torch.float32)` prints them. */
export type DType =
  | 'float16'
  | 'bfloat16'
  | 'float32'
  | 'float64'
  | 'int8'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'uint8'
  | 'uint16'
  | 'uint32'
  | 'uint64'
  | 'bool'
  | 'complex32'
  | 'complex64'
  | 'complex128'
  | 'float8_e4m3fn'
  | 'float8_e5m2'
  | 'float8_e4m3fnuz'
  | 'float8_e5m2fnuz'
  | 'float8_e8m0fnu'
  | 'qint8'
  | 'quint8'
  | 'qint32'

declare const tensorBrand: unique symbol
declare const generatorBrand: unique symbol

/** A native tensor: owns one reference to an `at::Tensor`. Made only by the addon. */
export interface TensorHandle {
  readonly [tensorBrand]: true
  /** Drops the reference now. Idempotent; every later use throws `ERR_DISPOSED`. A finalizer does the same. */
  dispose(): void
  /** True after {@link dispose}. */
  readonly disposed: boolean
}

/** A native random generator (`at::Generator`, CPU, mt19937). */
export interface GeneratorHandle {
  readonly [generatorBrand]: true
}

/**
 * What may cross as an operator argument or result. Numbers become int, float or Scalar as the operator's schema asks (an int argument
 * refuses a fraction; a Scalar argument takes an integral number as int). dtypes, layouts, memory formats and devices travel as
 * PyTorch's names: `'float32'`, `'strided'`, `'channels_last'`, `'cuda:0'`. Integers beyond 2^53 come back as bigint.
 */
export type Value =
  null | undefined | boolean | number | bigint | string | TensorHandle | GeneratorHandle | Complex | readonly Value[]

/** A complex Scalar. */
export interface Complex {
  readonly re: number
  readonly im: number
}

/** Options of {@link NativeAddon.call}. A number where the schema wants a Tensor becomes a wrapped number (0-d, as in Python's `x + 1`). */
export interface CallOptions {
  /** Operator name with its namespace, such as `aten::conv1d`. */
  op: string
  /** Overload name; the default overload is the empty string (`'default'` is accepted too). */
  overload?: string
  /** Positional arguments in schema order. Missing trailing ones take the schema's defaults. */
  args: readonly Value[]
  /** Arguments by schema name. */
  kwargs?: Readonly<Record<string, Value>>
  /** Whether autograd records this call (`torch.is_grad_enabled()` at the call site). */
  gradEnabled: boolean
  /** `torch.autocast` around this call, for tensors of this kind of device; the casts of weights are not kept. Default null: none. */
  autocast?: { device: string; dtype: 'bfloat16' } | null
}

/** An operator's schema, as much of it as recording a graph needs. */
export interface OperatorSchema {
  arguments: {
    name: string
    /** The type as the schema spells it: `Tensor`, `Tensor?`, `Tensor[]`, `Tensor?[]`, `int`, `SymInt[]`, `float?`, `Scalar`, `ScalarType?`, `Device?`, `bool`, `str`... */
    type: string
    kwargOnly: boolean
    /** Absent where the argument has none; a sized list default such as `int[2] stride=1` is the whole list. */
    default?: Value
  }[]
  returns: { type: string }[]
}

/** What is known of a tensor without reading its values. */
export interface TensorInfo {
  dtype: DType
  sizes: number[]
  /** In elements. */
  strides: number[]
  /** In elements. */
  storageOffset: number
  /** `'cpu'`, `'cuda:0'`, `'meta'`. */
  device: string
  requiresGrad: boolean
  isLeaf: boolean
  isContiguous: boolean
  /** Equal for tensors that share one storage, different for all others alive at the time (the storage's address, in hex). */
  storageId: string
  storageSizeBytes: number
  /** Name of the autograd node that made it (`'AddBackward0'`), or null. */
  gradFn: string | null
}

/** One piece of a planned file; pieces are written one after another. See `src/format/plan.ts`. */
export type FilePart =
  | {
      kind: 'bytes'
      bytes: Uint8Array
      /** Places inside `bytes` where the CRC-32 of a slot is written as a little-endian u32 before the piece goes out. */
      crcPatches?: readonly { at: number; slot: number }[]
    }
  | {
      kind: 'storage'
      /** Any tensor over the storage. */
      tensor: TensorHandle
      /** First byte of the storage to write. */
      offsetBytes: number
      sizeBytes: number
      /** Where the CRC-32 of these bytes is remembered for later `crcPatches`. */
      crcSlot: number
    }

/** A checked byte range of a file and the tensors that view it. */
export interface MapTensorFileOptions {
  path: string
  storages: readonly {
    offsetBytes: number
    sizeBytes: number
    /** Expected CRC-32, or null: not checked. */ crc32: number | null
  }[]
  tensors: readonly {
    /** Index into `storages`. */
    storage: number
    dtype: DType
    sizes: readonly number[]
    strides: readonly number[]
    /** In elements. */
    storageOffset: number
  }[]
  /** `'read'` copies into memory of our own; `'map'` maps the file privately (copy on write): the file must not be cut while in use. */
  mode: 'read' | 'map'
}

/**
 * A recorded graph: `graph_module` of `torch.export`'s JSON schema 8.x (`models/model.json` in a `.pt2`), parsed: `{graph: {inputs, outputs, nodes,
 * tensor_values, ...}, signature: {input_specs, output_specs}, ...}`. Typed in `src/format/export-schema.ts`; the addon reads `graph` and `signature` only.
 */
export type GraphModule = Readonly<Record<string, unknown>>

/** Names as in Python's `param_groups`; numbers are Python floats, flags booleans. */
export interface ParamGroup {
  /** Parameter names (dotted), in Python's order. */
  params: readonly string[]
  /** PyTorch's hyperparameters by PyTorch's names: `lr`, `betas`, `eps`, `weight_decay`, `momentum`, `dampening`, `nesterov`, `amsgrad`, `maximize`, `fused`. */
  options: Readonly<Record<string, number | boolean | readonly number[] | null>>
}

export interface OptimizerSpec {
  name: 'SGD' | 'Adam' | 'AdamW'
  groups: readonly ParamGroup[]
  /** State by parameter name, with Python's keys (`step`, `exp_avg`, `exp_avg_sq`, `max_exp_avg_sq`, `momentum_buffer`); absent for a fresh optimizer. Copied. */
  state?: Readonly<Record<string, Readonly<Record<string, TensorHandle>>>>
}

export interface SessionSpec {
  /** The model recorded in training mode; its user outputs feed the loss. null, with `optimizer` null: a session that does not train. */
  trainGraph: GraphModule | null
  /** The model recorded in evaluation mode. */
  evalGraph: GraphModule
  /** Inputs: the model's user outputs, then the target(s); one output: the scalar loss. null, with `optimizer` null: no loss is computed. */
  lossGraph: GraphModule | null
  /** By dotted name, shared with the module (updated in place). Those with `requires_grad` are trained. */
  parameters: Readonly<Record<string, TensorHandle>>
  buffers: Readonly<Record<string, TensorHandle>>
  /** Constants that the graphs name, if any. */
  constants?: Readonly<Record<string, TensorHandle>>
  /** null: a session for evaluation only. */
  optimizer: OptimizerSpec | null
  /** Device of the parameters; `device` constants in the graphs follow it. */
  device: string
  /** Threads of the session's own thread; 0 takes LibTorch's default. */
  threads: number
  /** `torch.autocast` of this dtype around the three graphs, in training and evaluation; null: none. */
  autocast?: 'bfloat16' | null
}

/** Where the batches of a chunk come from: rows of whole tensors by index, or ready batches. */
export type BatchSource =
  | {
      /** Model inputs, then targets; all with the same first size. */
      tensors: readonly TensorHandle[]
      /** Row numbers in order; cut into batches of `batchSize`, the last one may be shorter. */
      order: BigInt64Array
      batchSize: number
    }
  | { batches: readonly (readonly TensorHandle[])[] }

export type RunOptions = BatchSource & {
  /** How many leading tensors of a batch are model inputs; the rest go to the loss. */
  inputs: number
  /** The chunk ends after the first batch past this time. */
  maxDurationMs: number
  /**
   * Batches of one optimizer step: their losses are divided by it before `backward()`, as in Python's idiom. The gradients of an unfinished step stay until the next run. A
   * shorter last group of an epoch is run by itself, with its own number here. Default 1.
   */
  accumulate?: number
  /**
   * Batches of the first step that earlier runs have done already: as many as the last run kept, unless the gradients come from `setGradients`; less than
   * `accumulate`. Default 0: gradients that are there are dropped.
   */
  accumulated?: number
  /** `torch.nn.utils.clip_grad_norm_` with the 2-norm over the parameters of all groups, in the order of `parameters`, then `clip_grad_value_`, before each step; null (the default): none. */
  clipGradNorm?: number | null
  clipGradValue?: number | null
  /** What to do with a loss or gradients that are NaN or infinite: end the run (the default) or pass over the batch, or the step whose gradients they are. */
  onNonFinite?: 'stop' | 'skip'
}

export interface RunResult {
  /** Batches done, those passed over included. */
  batches: number
  /** Optimizer steps made. None for a step all of whose batches, or whose gradients, were passed over. */
  steps: number
  samples: number
  /** One loss a batch, as the loss graph gives it (not divided). */
  losses: Float64Array
  /** The norm of all gradients before clipping, one a step; empty without `clipGradNorm`. */
  gradNorms: Float64Array
  /** Batches of the unfinished step, those passed over included; their gradients are kept. 0 after gradients that were not finite: they are dropped. */
  accumulated: number
  /** What was passed over, in order: a batch of this run (index from 0), and the first parameter whose gradient is not finite, or null where it is the loss. */
  skipped: readonly { batch: number; parameter: string | null }[]
  /**
   * `end`: all batches done; `time`: the time was up; `paused`: `pause()` was called; `stopped`: `dispose` or `shutdown`;
   * `non_finite`: the loss or a gradient of the batch after the last counted one was NaN or infinite and no parameter was updated with it (its loss is the last entry of
   * `losses`, what it was the last of `skipped`); buffers that the forward pass changes, such as running statistics, and the generator have moved on.
   */
  reason: 'end' | 'time' | 'paused' | 'stopped' | 'non_finite'
}

export interface EvaluateResult {
  samples: number
  /** Mean of the batch losses weighted by batch size, summed in double. */
  loss: number
  /** The model's user outputs, concatenated over the batches along dimension 0. */
  outputs: TensorHandle[]
  reason: 'end' | 'paused' | 'stopped'
}

/** A training session: one graph, its parameters, its optimizer, one thread of its own. One operation at a time (`ERR_BUSY`). */
export interface NativeSession {
  /** Trains on a chunk of batches on the session's thread, drawing from the environment's default generator. */
  run(options: RunOptions): Promise<RunResult>
  /** Evaluates under no_grad with the evaluation graph. Without `inputs < tensors` there is no loss (NaN). */
  evaluate(options: BatchSource & { inputs: number }): Promise<EvaluateResult>
  /** Runs the evaluation graph under no_grad on the inputs of each call, of any sizes that it takes, until the first call past the time. Of the calls done, in order: the user outputs, which share no memory with the state and the inputs, or what the call failed with. */
  predict(options: {
    calls: readonly (readonly TensorHandle[])[]
    maxDurationMs: number
  }): Promise<{ done: (TensorHandle[] | Error)[]; reason: 'end' | 'time' | 'paused' | 'stopped' }>
  /** Replaces the hyperparameters of all groups, in order; `params` must be the same. */
  setParamGroups(options: { groups: readonly ParamGroup[] }): void
  /** State by parameter name, handles to the live tensors (`step` a float32 scalar). Parameters without state are absent. */
  optimizerState(): Record<string, Record<string, TensorHandle>>
  /** Gradients of an unfinished step by parameter name: handles to the live tensors. They are the session's own: between two runs `tensorGrad` of a parameter does not show them. */
  gradients(): Record<string, TensorHandle>
  /** Puts such gradients (copied; dtype and sizes of the parameters) in place of those that are there, to go on with a step that a checkpoint was made in. */
  setGradients(options: { gradients: Readonly<Record<string, TensorHandle>> }): void
  /** Ends the running chunk after the current batch, a prediction between two graph nodes. */
  pause(): void
  /** Ends the running chunk between two graph nodes, joins the thread, drops the tensors. Idempotent. */
  dispose(): void
}

export interface NativeAddon {
  readonly contractVersion: number
  /** LibTorch at build and at run time, its folder at build time, and what the build was. */
  versions(): {
    libtorchBuild: string
    libtorchRuntime: string
    libtorchPath: string
    napi: number
    debug: boolean
    config: string
  }

  /** Runs any operator through the c10 dispatcher, boxed, on this thread. Several results come as an array. */
  call(options: CallOptions): Value
  /** Argument names, types and defaults of an operator, from the dispatcher (`real_type()->str()` of each argument). */
  operatorSchema(options: { op: string; overload?: string }): OperatorSchema
  /** Copies a typed array (raw little-endian bytes of `dtype`, C order) into a new tensor. */
  tensorFromData(options: {
    dtype: DType
    sizes: readonly number[]
    data: ArrayBufferView
    device: string
  }): TensorHandle
  /** Copies a tensor's values out, C order, from any device and stride, as raw little-endian bytes. */
  tensorToData(options: { tensor: TensorHandle }): ArrayBuffer
  tensorInfo(options: { tensor: TensorHandle }): TensorInfo
  /** `tensor.grad`; with `grad` given (null included) it is set. */
  tensorGrad(options: { tensor: TensorHandle; grad?: TensorHandle | null }): TensorHandle | null

  createSession(options: SessionSpec): Promise<NativeSession>

  /** Creates `path` exclusively, streams the parts with their CRC-32s, and with `fsync` makes the file durable. On failure the file is removed. */
  writeTensorFile(options: {
    path: string
    parts: readonly FilePart[]
    fsync: boolean
  }): Promise<{ sizeBytes: number; crc32: number[] }>
  /** Makes tensors over byte ranges of a file that `src/format` has checked. A CRC mismatch is `ERR_CHECKPOINT_CORRUPT` with `storage` (the index) on the error. */
  mapTensorFile(options: MapTensorFileOptions): Promise<TensorHandle[]>

  /** `torch::save` of named tensors, nested by dots as a `torch::nn::Module` would be; or of one tensor; or of a list. */
  saveArchive(options: {
    path: string
    value: TensorHandle | readonly TensorHandle[] | Readonly<Record<string, TensorHandle>>
    buffers?: readonly string[]
  }): Promise<void>
  /** `torch::load`: LibTorch's own reader, so only for files that the caller trusts. Dotted names; a bare tensor or list has the names `'0'`, `'1'`... */
  loadArchive(options: { path: string }): Promise<Record<string, TensorHandle>>

  /** This environment's default generator (CPU), seeded unpredictably at first, as Python's is. */
  defaultGenerator(): GeneratorHandle
  /** A new generator seeded with `seed` (`torch.Generator().manual_seed(seed)`). */
  createGenerator(options: { seed: bigint }): GeneratorHandle
  manualSeed(options: { generator: GeneratorHandle; seed: bigint }): void
  /** 5,056 bytes, the form of `torch.get_rng_state()`. */
  getGeneratorState(options: { generator: GeneratorHandle }): Uint8Array
  setGeneratorState(options: { generator: GeneratorHandle; state: Uint8Array }): void

  /** All devices that can be used, and why CUDA cannot be (null when it can). Loads `libtorch_cuda` on the first call when it is there. */
  devices(): { devices: { device: string; name: string; totalBytes: number | null }[]; cudaUnavailable: string | null }
  /** Allocator statistics of a device, and the tensors that handles of this environment hold. */
  memoryStats(options: { device: string }): {
    allocatedBytes: number
    reservedBytes: number
    peakAllocatedBytes: number
    liveTensors: number
    liveTensorBytes: number
  }
  /** Gives cached blocks back to the system. */
  emptyCache(options: { device: string }): void
  getNumThreads(): number
  /** `torch.set_num_threads` for this thread. */
  setNumThreads(options: { threads: number }): void

  /** Stops and joins every session of this environment. Called at process exit; sessions are unusable after it. Idempotent. */
  shutdown(): void
}

/** Every own property of the addon, sorted. */
export const exportNames: readonly (keyof NativeAddon)[] = [
  'call',
  'contractVersion',
  'createGenerator',
  'createSession',
  'defaultGenerator',
  'devices',
  'emptyCache',
  'getGeneratorState',
  'getNumThreads',
  'loadArchive',
  'manualSeed',
  'mapTensorFile',
  'memoryStats',
  'operatorSchema',
  'saveArchive',
  'setGeneratorState',
  'setNumThreads',
  'shutdown',
  'tensorFromData',
  'tensorGrad',
  'tensorInfo',
  'tensorToData',
  'versions',
  'writeTensorFile',
]
