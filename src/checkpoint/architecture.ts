/**
 * The architecture that the tensors of a model tell: a tree of modules from the dotted names, and for each the kind of layer that its tensors look like. `config` may describe another model (the older system wrote its default
 * configuration whatever it trained), tensors cannot. Kinds are guesses from names and shapes: a LayerNorm and a GroupNorm have equal tensors.
 */
import { elementCount, type AnyTensorRecord } from '../format/tensor-record.js'
import type { TopLevel } from './migrations.js'
import { dtypeOf, sizesOf, stateTensors, tensorRoles, uniqueTensors, type TensorRole } from './tensor-roles.js'

/** One tensor of a module. */
export interface ModuleTensor {
  /** Last part of the name. */
  name: string
  dtype: string
  sizes: readonly number[]
  role: TensorRole
  /** Full name of the first tensor that is the same; null where this is the first. */
  sameAs: string | null
}

/** A module. */
export interface ModuleNode {
  /** Last part of the name; empty for the model itself. */
  name: string
  /** Full dotted name. */
  path: string
  /** What it looks like, as PyTorch would print it (`Linear(64, 1)`); null where the tensors tell nothing. A guess. */
  guess: string | null
  tensors: ModuleTensor[]
  children: ModuleNode[]
  /** Elements of the parameters in it and below, aliases counted where they come first. */
  numParameters: number
}

/** The module tree of `model_state_dict`; null where there is none. */
export function architectureOf(checkpoint: TopLevel): ModuleNode | null {
  if (!(checkpoint.get('model_state_dict') instanceof Map)) return null
  const tensors = stateTensors(checkpoint)
  const roles = tensorRoles(checkpoint)
  const firsts = new Map(uniqueTensors(tensors).flatMap(({ names }) => names.slice(1).map((name) => [name, names[0]])))
  const root = makeNode('', '')
  for (const [name, record] of tensors) {
    const segments = name.split('.')
    const last = segments.pop() ?? name
    const path = [root]
    for (const segment of segments) path.push(childOf(path.at(-1) ?? root, segment))
    const role = roles.get(name) ?? 'buffer'
    const sameAs = firsts.get(name) ?? null
    path.at(-1)?.tensors.push({ name: last, dtype: dtypeOf(record), sizes: sizesOf(record), role, sameAs })
    if (role === 'parameter' && sameAs === null) for (const node of path) node.numParameters += countOf(record)
  }
  guessBelow(root)
  return root
}

const makeNode = (name: string, path: string): ModuleNode => ({
  name,
  path,
  guess: null,
  tensors: [],
  children: [],
  numParameters: 0,
})

const countOf = (record: AnyTensorRecord): number => elementCount(sizesOf(record))

const childrenByName = new WeakMap<ModuleNode, Map<string, ModuleNode>>()

function childOf(parent: ModuleNode, name: string): ModuleNode {
  const known = childrenByName.get(parent) ?? new Map<string, ModuleNode>()
  childrenByName.set(parent, known)
  const found = known.get(name)
  if (found !== undefined) return found
  const child = makeNode(name, parent.path === '' ? name : `${parent.path}.${name}`)
  parent.children.push(child)
  known.set(name, child)
  return child
}

function guessBelow(root: ModuleNode): void {
  const open = [root]
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (node.tensors.length > 0) node.guess = guessLayer(node)
    else if (node.children.length > 0 && node !== root)
      node.guess = isNumbered(node) ? 'Sequential or ModuleList' : null
    for (const child of node.children) open.push(child)
  }
}

const isNumbered = ({ children }: ModuleNode): boolean => children.every(({ name }) => /^\d+$/.test(name))

/** The layer that has such tensors; null where none of torch.nn has. */
function guessLayer({ name, tensors }: ModuleNode): string | null {
  const sizes = new Map(tensors.map((tensor) => [tensor.name, tensor.sizes]))
  const weight = sizes.get('weight')
  const bias = sizes.get('bias')
  if (sizes.has('running_mean')) return `BatchNorm(${sizes.get('running_mean')?.join(', ')})`
  if (sizes.has('in_proj_weight')) return `MultiheadAttention(${sizes.get('in_proj_weight')?.[1]})`
  if (sizes.has('weight_ih_l0')) return guessRecurrent(sizes)
  if (weight === undefined) return null
  if (weight.length === 1) return bias === undefined ? `RMSNorm(${weight[0]})` : `LayerNorm or GroupNorm(${weight[0]})`
  if (weight.length === 2) {
    const embedding = bias === undefined && /emb|wte|wpe|tokens?$/i.test(name)
    return embedding ? `Embedding(${weight.join(', ')})` : `Linear(${weight[1]}, ${weight[0]}${noBias(bias)})`
  }
  return weight.length <= 5 ? guessConvolution(weight, bias) : null
}

const noBias = (bias: readonly number[] | undefined): string => (bias === undefined ? ', bias=False' : '')

function guessConvolution(weight: readonly number[], bias: readonly number[] | undefined): string {
  const [first = 0, second = 0, ...kernel] = weight
  const transposed = bias !== undefined && bias[0] !== first && bias[0] === second
  const name = `Conv${transposed ? 'Transpose' : ''}${kernel.length}d`
  const channels = transposed ? `${first}, ${second}` : `${second}, ${first}`
  return `${name}(${channels}, kernel_size=(${kernel.join(', ')})${noBias(bias)})`
}

/** The number of gates tells the cell: 4 for an LSTM, 3 for a GRU, 1 for a plain RNN. */
function guessRecurrent(sizes: ReadonlyMap<string, readonly number[]>): string | null {
  const [rows = 0, inputs = 0] = sizes.get('weight_ih_l0') ?? []
  const [, hidden = 0] = sizes.get('weight_hh_l0') ?? []
  const cell = new Map([
    [4, 'LSTM'],
    [3, 'GRU'],
    [1, 'RNN'],
  ]).get(rows / hidden)
  const layers = [...sizes.keys()].filter((name) => /^weight_ih_l\d+$/.test(name)).length
  const both = sizes.has('weight_ih_l0_reverse') ? ', bidirectional=True' : ''
  return cell === undefined ? null : `${cell}(${inputs}, ${hidden}, num_layers=${layers}${both})`
}
