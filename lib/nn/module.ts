/** `torch.nn.Module`: parameters, buffers and submodules found by name, state dicts, modes. */
import { OrderedDict } from '../../src/format/values.js'
import { TorchkeepError } from '../../src/format/errors.js'
import { call } from '../call.js'
import { isDType, isFloatingPoint, type DType } from '../dtype.js'
import { noGrad } from '../grad-mode.js'
import { knownOptions } from '../options.js'
import { activeRecorder } from '../recording.js'
import { keep } from '../scope.js'
import type { Tensor } from '../tensor.js'
import { Parameter } from './parameter.js'
import { join, loadStateDict, type LoadReport, type StateDictLike } from './state-dict.js'

interface Buffer {
  tensor: Tensor | null
  persistent: boolean
}

/**
 * A part of a model. A subclass assigns parameters and modules to fields, where they are found in order of assignment
 * under the field's name (private `#fields` and modules inside arrays are not: use {@link Sequential} or {@link
 * registerModule}), and defines `forward`.
 *
 * @example
 * class Net extends nn.Module {
 *   conv = new nn.Conv2d(1, 16, 3)
 *   fc = new nn.Linear(16, 10)
 *   forward(x: Tensor) { return this.fc.call(this.conv.call(x).relu().mean([2, 3])) }
 * }
 */
export abstract class Module {
  /** Whether dropout drops and batch norm follows its batches. Set by {@link train} and {@link eval}. */
  training = true

  readonly #buffers = new Map<string, Buffer>()
  /**
   * Fields named by numbers, which JavaScript lists before all others, with how many others were there before each.
   */
  readonly #numbered = new Map<string, number>()

  /** What the module computes. Run it through {@link call}. */
  abstract forward(...inputs: Tensor[]): Tensor | Tensor[]

  /** Runs {@link forward}, as calling a module does in Python. */
  call(...inputs: Parameters<this['forward']>): ReturnType<this['forward']> {
    const run = (): ReturnType<this['forward']> => this.forward(...inputs) as ReturnType<this['forward']>
    const recorder = activeRecorder()
    return recorder === null ? run() : recorder.within(this, run)
  }

  /** Version of the layout of this module's own state; older ones are brought up to date by {@link upgradeState}. */
  get stateVersion(): number {
    return 1
  }

  /** Adds a parameter under a name that cannot be a field. */
  registerParameter(name: string, parameter: Parameter | null): void {
    this.#define(name, parameter)
  }

  /** Adds a submodule under a name that cannot be a field, such as `'0'`. */
  registerModule(name: string, module: Module): void {
    this.#define(name, module)
  }

  /**
   * Adds a tensor that is part of the state but not learned; not `persistent`: left out of the state dict. Also
   * replaces one.
   */
  registerBuffer(name: string, tensor: Tensor | null, options: { persistent?: boolean } = {}): void {
    const { persistent = true } = knownOptions('registerBuffer', options, ['persistent'])
    checkName(name)
    if (tensor !== null) keep(tensor)
    this.#buffers.set(name, { tensor, persistent })
  }

  /** The buffer of that name; null where it is registered without a tensor. */
  buffer(name: string): Tensor | null {
    const buffer = this.#buffers.get(name)
    if (buffer === undefined)
      throw new TorchkeepError('ERR_INVALID_ARGUMENT', `${this.constructor.name} has no buffer '${name}'`)
    return buffer.tensor
  }

  /** This module's own parameters by name, in order of assignment. */
  ownParameters(): Map<string, Parameter> {
    return this.#fieldsOf(Parameter)
  }

  /** This module's own buffers by name. */
  ownBuffers(): Map<string, { tensor: Tensor; persistent: boolean }> {
    const present = [...this.#buffers].flatMap(([name, { tensor, persistent }]) =>
      tensor === null ? [] : [[name, { tensor, persistent }] as const],
    )
    return new Map(present)
  }

  /** Direct submodules by name. */
  namedChildren(): Map<string, Module> {
    return this.#fieldsOf<Module>(Module)
  }

  children(): Module[] {
    return [...new Set(this.namedChildren().values())]
  }

  /**
   * This module (`''`) and all below by dotted name, depth first. A module that occurs twice has its first name, unless
   * `removeDuplicate` is false.
   */
  namedModules({ removeDuplicate = true }: { removeDuplicate?: boolean } = {}): Map<string, Module> {
    const found = new Map<string, Module>()
    const seen = new Set<Module>()
    const visit = (module: Module, name: string): void => {
      if (removeDuplicate && seen.has(module)) return
      seen.add(module)
      found.set(name, module)
      for (const [childName, child] of module.namedChildren()) visit(child, join(name, childName))
    }
    visit(this, '')
    return found
  }

  modules(): Module[] {
    return [...this.namedModules().values()]
  }

  /** All parameters by dotted name. A tied one has its first name, unless `removeDuplicate` is false. */
  namedParameters({ removeDuplicate = true }: { removeDuplicate?: boolean } = {}): Map<string, Parameter> {
    return collect(this, removeDuplicate, (module) => module.ownParameters())
  }

  parameters(): Parameter[] {
    return [...this.namedParameters().values()]
  }

  /** All buffers by dotted name, those that are not persistent included. */
  namedBuffers({ removeDuplicate = true }: { removeDuplicate?: boolean } = {}): Map<string, Tensor> {
    return collect(
      this,
      removeDuplicate,
      (module) => new Map([...module.ownBuffers()].map(([name, { tensor }]) => [name, tensor])),
    )
  }

  buffers(): Tensor[] {
    return [...this.namedBuffers().values()]
  }

  /**
   * Parameters and persistent buffers by dotted name in Python's order, every alias of a tied one included: new tensors
   * over the live storages. Carries Python's `_metadata` (the version of each module's layout).
   */
  stateDict(): OrderedDict<string, Tensor> {
    const dict = new OrderedDict<string, Tensor>()
    const versions = new OrderedDict<string, unknown>()
    for (const [name, module] of this.namedModules({ removeDuplicate: false })) {
      versions.set(name, new Map([['version', module.stateVersion]]))
      for (const [key, tensor] of module.ownState())
        dict.set(
          join(name, key),
          noGrad(() => tensor.detach()),
        )
    }
    dict.metadata = versions
    return dict
  }

  /** What this module alone contributes to the state dict: the live parameters and persistent buffers. */
  ownState(): Map<string, Tensor> {
    const state = new Map<string, Tensor>(this.ownParameters())
    for (const [name, { tensor, persistent }] of this.ownBuffers()) if (persistent) state.set(name, tensor)
    return state
  }

  /**
   * Copies values into the parameters and buffers. Everything is checked before anything is copied: missing and
   * unexpected names, shapes and (when strict) dtypes are reported together in one `ERR_CHECKPOINT_INCOMPATIBLE`. Not
   * strict: names may be missing or unexpected and dtypes are converted; the report is returned.
   */
  loadStateDict(dict: StateDictLike, options: { strict?: boolean } = {}): LoadReport {
    const { strict = true } = knownOptions('loadStateDict', options, ['strict'])
    return loadStateDict(this, dict, strict)
  }

  /**
   * Names of own state that a dict of an older version may lack, given the version found (undefined: none was written).
   */
  mayLack(_version: number | undefined): readonly string[] {
    return []
  }

  /** Sets the training mode of this module and all below. */
  train(mode = true): this {
    for (const module of this.modules()) module.training = mode
    return this
  }

  /** Sets evaluation mode. */
  eval(): this {
    return this.train(false)
  }

  /** Whether the parameters are learned. */
  requiresGrad_(on = true): this {
    for (const parameter of this.parameters()) parameter.requiresGrad = on
    return this
  }

  /** Drops all gradients. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.grad = null
  }

  /**
   * Moves parameters, their gradients and buffers to a device, or the floating-point ones to a dtype. The Parameter
   * objects stay the same.
   */
  to(target: DType | (string & {})): this {
    const moves = (tensor: Tensor): boolean => !isDType(target) || isFloatingPoint(tensor.dtype)
    const move = (tensor: Tensor): void => {
      const { grad } = tensor
      const moved = noGrad(() => tensor.to(target))
      // set_data refuses another dtype while there is a gradient of the old one.
      tensor.grad = null
      call('set_data', [tensor, moved])
      if (moved !== tensor) moved.dispose()
      if (grad !== null) tensor.grad = noGrad(() => grad.to(target))
    }
    for (const tensor of [...this.parameters(), ...this.buffers()]) if (moves(tensor)) move(tensor)
    return this
  }

  #define(name: string, value: Parameter | Module | null): void {
    checkName(name)
    const isNew = !Object.hasOwn(this, name)
    if (isNew && /^\d+$/.test(name)) this.#numbered.set(name, Object.keys(this).length - this.#numbered.size)
    Object.defineProperty(this, name, { value, enumerable: true, writable: true, configurable: true })
  }

  #fieldsOf<T>(kind: abstract new (...args: never[]) => T): Map<string, T> {
    const found = new Map<string, T>()
    for (const name of this.#fieldNames()) {
      const value: unknown = Reflect.get(this, name)
      if (value instanceof kind) found.set(name, value)
      else if (Array.isArray(value)) this.#refuseHidden(name, value)
    }
    return found
  }

  /** In order of assignment. */
  #fieldNames(): string[] {
    const names = Object.keys(this).filter((name) => !this.#numbered.has(name))
    let inserted = 0
    for (const [name, before] of this.#numbered) names.splice(before + inserted++, 0, name)
    return names
  }

  /** What is inside an array would be neither trained nor saved, silently. */
  #refuseHidden(field: string, items: readonly unknown[]): void {
    if (!items.some((item) => item instanceof Module || item instanceof Parameter)) return
    throw new TorchkeepError(
      'ERR_INVALID_ARGUMENT',
      `Field '${field}' of ${this.constructor.name} holds modules or parameters in an array, where they are not found`,
      {
        suggestions: ['Use nn.Sequential, or registerModule(name, module) for each.'],
      },
    )
  }
}

function collect<T>(root: Module, removeDuplicate: boolean, own: (module: Module) => Map<string, T>): Map<string, T> {
  const found = new Map<string, T>()
  const seen = new Set<T>()
  for (const [prefix, module] of root.namedModules({ removeDuplicate })) {
    for (const [name, tensor] of own(module)) {
      if (removeDuplicate && seen.has(tensor)) continue
      seen.add(tensor)
      found.set(join(prefix, name), tensor)
    }
  }
  return found
}

function checkName(name: string): void {
  if (name !== '' && !name.includes('.')) return
  throw new TorchkeepError('ERR_INVALID_ARGUMENT', `'${name}' cannot name a part of a module: empty or with a dot`)
}
