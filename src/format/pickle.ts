/** Reads one pickle of a PyTorch file, whichever container it is in: torch.save's zip and stream files, TorchScript archives, metadata of distributed checkpoints. */
import type { Finding, FormatFindingId } from './findings.js'
import { PickleReader, type PickleHooks } from './pickle-read.js'
import { torchHooks } from './rebuild.js'
import { weightsOnlyOpcodes } from './weights-only-opcodes.js'

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
  /** Whether bytes after STOP are allowed, as in a file that is a sequence of pickles. False unless told. */
  moreFollows?: boolean
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
  const reader = new PickleReader(bytes, {
    label: options.label,
    opcodes: weightsOnlyOpcodes,
    hooks: torchHooks({ loadStorage: options.persistentLoad, globals: options.globals }),
    keepFloats: options.keepFloats ?? false,
  })
  const value = reader.load({ moreFollows: options.moreFollows ?? false })
  return { value, consumedBytes: reader.position }
}
