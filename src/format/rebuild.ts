/** What the globals of a pickle stand for, and what becomes of those that nobody knows. Nothing is imported and nothing is called. */
import { CallArguments, describe } from './arguments.js'
import { formatFinding, type Finding, type FormatFindingId } from './findings.js'
import { dangerOf, standingOf, type Standing } from './foreign-globals.js'
import { addedSafeGlobals, dtypeGlobals, modernGlobal } from './globals.js'
import { buildArray, buildDType, numpyRebuilders } from './numpy.js'
import { hashedItemCost, type PickleHooks, type PickleReader } from './pickle-read.js'
import { buildTensor, legacyTensorRebuilder } from './rebuild-legacy.js'
import { tensorRebuilders } from './rebuild-tensors.js'
import { valueRebuilders } from './rebuild-values.js'
import { TensorRecord } from './tensor-record.js'
import type { Tuple } from './values.js'
import { NumpyArray, NumpyDType, OpaqueObject, OrderedDict, PythonGlobal, TorchDType } from './values.js'

/** How {@link TorchHooks} judges. */
export interface TorchHooksOptions {
  persistentLoad: PickleHooks['persistentLoad']
  unsafe: 'refuse' | 'describe'
  /** Gathers the full names of the globals that the pickle mentions. */
  globals: Set<string>
  /** Classes and functions that the container is known to use: objects of them are no findings, calls of them no danger. */
  expected: (fullName: string) => boolean
}

/** What the pickle does with a global. */
interface Usage {
  readonly global: PythonGlobal
  /** `expected`: of the container itself. */
  readonly standing: Standing | 'expected'
  /** Why it is dangerous; null where it is not. */
  danger: string | null
  calls: number
  instances: number
}

/** Bytes that an object of an unknown class takes. */
const objectBytes = 250

/** Bytes that a global and the book-keeping of it take. */
const globalBytes = 500

/** Most findings of one kind; the rest are counted in one more. */
const maxFindings = 100

/** Hooks for the pickles of torch files. */
export class TorchHooks implements PickleHooks {
  readonly #options: TorchHooksOptions
  readonly #found = new Map<string, TorchDType | Usage>()
  readonly #usages = new Map<PythonGlobal, Usage>()

  constructor(options: TorchHooksOptions) {
    this.#options = options
  }

  global(module: string, name: string, reader: PickleReader): unknown {
    const key = `${module}\n${name}`
    let found = this.#found.get(key)
    if (found === undefined) {
      found = this.#judge(...modernGlobal(module, name), reader)
      this.#found.set(key, found)
    }
    return found instanceof TorchDType ? found : found.global
  }

  #judge(module: string, name: string, reader: PickleReader): TorchDType | Usage {
    const fullName = `${module}.${name}`
    this.#options.globals.add(fullName)
    if (dtypeGlobals.has(fullName)) return TorchDType.of(name)
    reader.allocate(globalBytes)
    const standing = this.#standing(module, name)
    const nested = name.includes('.') ? module : null
    const usage = { global: new PythonGlobal(fullName, nested), standing, danger: null, calls: 0, instances: 0 }
    this.#usages.set(usage.global, usage)
    if (standing === 'dangerous') this.#endanger(usage, dangerOf(module, name) ?? 'it could run code', reader)
    return usage
  }

  #standing(module: string, name: string): Usage['standing'] {
    const standing = standingOf(module, name)
    return standing !== 'allowed' && this.#options.expected(`${module}.${name}`) ? 'expected' : standing
  }

  /** Notes the danger, or refuses the pickle. */
  #endanger(usage: Usage, danger: string, reader: PickleReader): void {
    usage.danger ??= danger
    if (this.#options.unsafe === 'describe') return
    const name = usage.global.name.slice(0, 200)
    reader.fail(`the pickle refers to the global ${name}: ${danger}; it is not loaded`, 'pickle.unsafe_global', name)
  }

  reduce(callable: unknown, args: Tuple, reader: PickleReader): unknown {
    if (callable instanceof OpaqueObject) return this.#computedCall(callable, args, reader)
    const usage = this.#usageOf(callable, reader)
    usage.calls++
    const { global, standing } = usage
    const rebuild = rebuilders.get(global.name) ?? legacyTensorRebuilder(global.name)
    if (rebuild !== undefined && standing !== 'dangerous')
      return rebuild(new CallArguments(global.name, args, reader), reader)
    if (standing === 'allowed' && !opaqueAllowed.has(global.name))
      reader.fail(`the pickle calls ${global.name}, which is not supported`, 'pickle.unsupported', global.name)
    if (standing === 'unknown') this.#endanger(usage, 'it is called and could run code', reader)
    if (standing === 'numpy') this.#checkConstructors(args, reader)
    return this.#opaque(global, args, null, 'call', reader)
  }

  /** The constructors of numpy's random generators call the classes that they are given. */
  #checkConstructors(args: Tuple, reader: PickleReader): void {
    for (const argument of args) {
      const usage = argument instanceof PythonGlobal ? this.#usages.get(argument) : undefined
      if (usage === undefined || usage.global.name.startsWith('numpy.')) continue
      this.#endanger(usage, 'numpy would call it, and it could run code', reader)
    }
  }

  /** What a call gave is called itself: nothing that saves data does that. */
  #computedCall(callable: OpaqueObject, args: Tuple, reader: PickleReader): OpaqueObject {
    const global = new PythonGlobal(`${callable.className}(...)`)
    const usage: Usage = { global, standing: 'dangerous', danger: null, calls: 1, instances: 0 }
    this.#usages.set(global, usage)
    this.#endanger(usage, 'what it gives is called and could run code', reader)
    return this.#opaque(global, args, null, 'call', reader)
  }

  newObject(
    cls: unknown,
    args: Tuple,
    keywordArgs: ReadonlyMap<unknown, unknown> | null,
    reader: PickleReader,
  ): unknown {
    const usage = this.#usageOf(cls, reader)
    const { global, standing } = usage
    usage.instances++
    const rebuild =
      keywordArgs === null ? (rebuilders.get(global.name) ?? legacyTensorRebuilder(global.name)) : undefined
    if (rebuild !== undefined && standing !== 'dangerous')
      return rebuild(new CallArguments(global.name, args, reader), reader)
    if (keywordArgs !== null && standing === 'unknown')
      this.#endanger(usage, 'it is called with keywords and could run code', reader)
    return this.#opaque(global, args, keywordArgs, 'new', reader)
  }

  #usageOf(callable: unknown, reader: PickleReader): Usage {
    const usage = callable instanceof PythonGlobal ? this.#usages.get(callable) : undefined
    return usage ?? reader.fail(`${describe(callable)} is called`)
  }

  #opaque(
    { name, module }: PythonGlobal,
    args: Tuple,
    keywordArgs: ReadonlyMap<unknown, unknown> | null,
    how: 'new' | 'call',
    reader: PickleReader,
  ): OpaqueObject {
    reader.charge(args.length)
    reader.allocate(objectBytes)
    return new OpaqueObject(name, Array.from(args), keywordArgs, how, module)
  }

  build(instance: unknown, state: unknown, reader: PickleReader): void {
    if (instance instanceof OrderedDict) buildOrderedDict(instance, state, reader)
    else if (instance instanceof OpaqueObject) buildOpaque(instance, state, reader)
    else if (instance instanceof NumpyArray) buildArray(instance, state, reader)
    else if (instance instanceof NumpyDType) buildDType(instance, state, reader)
    else if (instance instanceof TensorRecord) buildTensor(instance as TensorRecord, state, reader)
    else reader.fail(`state is set on ${describe(instance)}`, 'pickle.unsupported')
  }

  persistentLoad(id: unknown, reader: PickleReader): unknown {
    return this.#options.persistentLoad(id, reader)
  }

  /** What is odd about the globals. */
  findings(): Finding<FormatFindingId>[] {
    const usages = [...this.#usages.values()]
    const numpy = usages.filter(({ standing }) => standing === 'numpy')
    return [
      ...atMost(
        usages.filter(({ danger }) => danger !== null),
        unsafeFinding,
      ),
      ...atMost(
        usages.filter(({ standing, danger }) => standing === 'unknown' && danger === null),
        opaqueFinding,
      ),
      ...(numpy.length > 0 ? [numpyFinding(numpy)] : []),
      ...atMost(
        usages.filter(({ standing }) => standing === 'harmless'),
        harmlessFinding,
      ),
    ]
  }
}

const rebuilders = new Map([...valueRebuilders, ...numpyRebuilders, ...tensorRebuilders])

/** Allowed by weights_only, and described here as opaque objects: tensors of other classes than PyTorch's plain ones. */
const opaqueAllowed: ReadonlySet<string> = new Set([
  'torch._utils._rebuild_wrapper_subclass',
  'torch._utils._rebuild_device_tensor_from_numpy',
  ...addedSafeGlobals,
])

function buildOrderedDict(instance: OrderedDict, state: unknown, reader: PickleReader): void {
  if (!(state instanceof Map)) reader.fail(`the state of an OrderedDict is ${describe(state)}, expected a dict`)
  instance.attributes ??= new Map()
  reader.charge(hashedItemCost * state.size)
  for (const [name, value] of state as Map<unknown, unknown>) instance.attributes.set(name, value)
}

function buildOpaque(instance: OpaqueObject, state: unknown, reader: PickleReader): void {
  if (instance.state !== undefined) reader.fail(`the state of an object of ${instance.className} is set twice`)
  instance.state = state
}

function unsafeFinding({ global, danger, calls, instances }: Usage): Finding<FormatFindingId> {
  const times = calls + instances
  const uses = times === 0 ? 'refers to' : times === 1 ? 'calls' : `calls ${times} times`
  const name = global.name.slice(0, 200)
  return formatFinding('pickle.unsafe_global', name, `the pickle ${uses} ${name}: ${danger ?? 'it could run code'}`)
}

function opaqueFinding({ global, instances }: Usage): Finding<FormatFindingId> {
  const name = global.name.slice(0, 200)
  const what =
    instances === 0
      ? `${name} is referred to and kept as a name`
      : `${instances} ${instances === 1 ? 'object' : 'objects'} of the class ${name}, which is not known here, kept as name and state`
  return formatFinding('pickle.opaque_class', name, what)
}

function harmlessFinding({ global }: Usage): Finding<FormatFindingId> {
  const message = `${global.name} is not among what torch.load(weights_only=True) allows`
  return formatFinding('pickle.weights_only', global.name, message)
}

function numpyFinding(usages: readonly Usage[]): Finding<FormatFindingId> {
  const values = usages.reduce((sum, { global, calls }) => sum + (global.name === 'numpy.dtype' ? 0 : calls), 0)
  const names = usages.map(({ global }) => global.name).join(', ')
  return formatFinding(
    'pickle.numpy',
    usages[0]?.global.name ?? null,
    `${values} numpy ${values === 1 ? 'value' : 'values'} (${names}), which torch.load(weights_only=True) refuses`,
  )
}

/** One finding for each, and one for all beyond {@link maxFindings}. */
function atMost(
  usages: readonly Usage[],
  describeUsage: (usage: Usage) => Finding<FormatFindingId>,
): Finding<FormatFindingId>[] {
  const findings = usages.slice(0, maxFindings).map(describeUsage)
  const [first] = findings
  if (first === undefined || usages.length <= maxFindings) return findings
  const more = `and ${usages.length - maxFindings} more globals of this kind`
  return [...findings, { ...first, subject: null, message: more }]
}
