/** Reads one pickle of a PyTorch file, whichever container it is in: torch.save's zip and stream files, TorchScript archives, metadata of distributed checkpoints. */
import { TorchkeepError } from './errors.js'
import { formatFinding, type Finding, type FormatFindingId } from './findings.js'
import { weightsOnlyOpcodes } from './opcodes.js'
import { pickleOpcodes } from './pickle-opcodes.js'
import { PickleReader, type PickleHooks } from './pickle-read.js'
import { TorchHooks } from './rebuild.js'
import { walk } from './walk.js'

/** How {@link readPickle} reads. */
export interface ReadPickleOptions {
  /** Names the pickle in messages: file and record. */
  label: string
  /** The object behind a persistent id: a storage. Raises failures through the reader's `fail`. */
  persistentLoad: PickleHooks['persistentLoad']
  /** What a call that could run code becomes; see `ReadOptions.unsafe`. `refuse` unless told. */
  unsafe?: 'refuse' | 'describe'
  /** Whether floats of integral value become `PyFloat`. False unless told. */
  keepFloats?: boolean
  /** Gathers the full names of the classes and functions that the pickle mentions. */
  globals: Set<string>
  /** Gathers what is odd. */
  findings: Finding<FormatFindingId>[]
  /**
   * Classes and functions that the container is known to use: calls of them and objects of their classes become `OpaqueObject`s without a finding. None unless told.
   */
  expected?: (fullName: string) => boolean
  /** Whether `torch.load(weights_only=True)` is a reader of this pickle, so that what it refuses is a finding. True unless told. */
  forTorchLoad?: boolean
  /** Whether bytes after STOP are allowed, as in a file that is a sequence of pickles. False unless told. */
  moreFollows?: boolean
  /**
   * Makes a value of what was complete where the pickle breaks off, for salvage: gets the stack split at its marks, outermost first. Without it, the failure is thrown.
   */
  salvage?: (frames: readonly (readonly unknown[])[], failure: TorchkeepError) => unknown
}

/** What {@link readPickle} gives. */
export interface PickleContent {
  value: unknown
  /** Bytes up to and including STOP. */
  consumedBytes: number
}

/**
 * Reads the pickle that `bytes` begin with. Nothing is imported or called.
 * @throws TorchkeepError ERR_CHECKPOINT_CORRUPT, `_UNSAFE` or `_UNSUPPORTED` with the finding and, where there is one, the global at fault.
 */
export function readPickle(bytes: Buffer, options: ReadPickleOptions): PickleContent {
  const hooks = new TorchHooks({
    persistentLoad: options.persistentLoad,
    unsafe: options.unsafe ?? 'refuse',
    globals: options.globals,
    expected: options.expected ?? (() => false),
  })
  const reader = new PickleReader(bytes, {
    label: options.label,
    opcodes: pickleOpcodes,
    hooks,
    keepFloats: options.keepFloats ?? false,
  })
  const value = load(reader, options)
  walk(
    value,
    () => true,
    (reason) => reader.fail(reason, 'pickle.limit'),
  ) // code that looks at the value may recurse
  const findings = [...hooks.findings(), ...textFindings(reader)]
  if (options.forTorchLoad !== false) findings.push(...opcodeFindings(reader))
  const forOthers = (id: FormatFindingId) => options.forTorchLoad === false && id === 'pickle.weights_only'
  options.findings.push(...findings.filter(({ id }) => !forOthers(id)))
  return { value, consumedBytes: reader.position }
}

function load(reader: PickleReader, { moreFollows = false, salvage }: ReadPickleOptions): unknown {
  try {
    return reader.load({ moreFollows })
  } catch (error) {
    if (salvage === undefined || !(error instanceof TorchkeepError)) throw error
    return salvage(reader.frames(), error)
  }
}

function opcodeFindings(reader: PickleReader): Finding<FormatFindingId>[] {
  const foreign = reader.usedOpcodes.filter((name) => !weightsOnlyOpcodes.has(name))
  if (foreign.length === 0) return []
  const message = `torch.load(weights_only=True) does not know the pickle's ${foreign.length === 1 ? 'opcode' : 'opcodes'} ${foreign.join(', ')}`
  return [formatFinding('pickle.weights_only', null, message)]
}

function textFindings({ undecodedStrings: count }: PickleReader): Finding<FormatFindingId>[] {
  if (count === 0) return []
  const texts = count === 1 ? 'a str of Python 2 is' : `${count} strs of Python 2 are`
  const message = `${texts} no UTF-8 and kept as bytes; torch.load needs encoding='latin1' or 'bytes' for this file`
  return [formatFinding('pickle.weights_only', null, message)]
}
