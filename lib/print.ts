/** Prints tensors as PyTorch does (`torch/_tensor_str.py`, default print options). */
import { callTensor } from './call.js'
import type { DType } from './contract.js'
import { isComplex, isFloatingPoint } from './dtype.js'
import { noGrad } from './grad-mode.js'
import { scientific, fixed } from './decimal.js'
import { withoutRecorder } from './recording.js'
import { scope } from './scope.js'
import type { Tensor } from './tensor.js'
import { flatValues, type ScalarValue } from './values.js'

const precision = 4
/** A tensor of more elements is summarised. */
const threshold = 1000
/** Elements shown at each end of a summarised dimension. */
const edgeItems = 3
const lineWidth = 80

/** `repr(tensor)`. */
export function formatTensor(tensor: Tensor): string {
  return withoutRecorder(() => noGrad(() => scope(() => format(tensor))))
}

function format(tensor: Tensor): string {
  const prefix = 'tensor('
  const info = tensor.info()
  const { sizes, dtype, device } = info
  const isEmpty = sizes.includes(0)
  const isMeta = device === 'meta'
  const suffixes: string[] = []
  if (device !== 'cpu') suffixes.push(`device='${device}'`)
  if (isMeta || (isEmpty && sizes.length !== 1)) suffixes.push(`size=${tupleOf(sizes)}`)
  const usual: readonly DType[] = isEmpty || isMeta ? ['float32'] : ['float32', 'complex64', 'int64', 'bool']
  if (!usual.includes(dtype)) suffixes.push(`dtype=torch.${dtype}`)
  if (info.gradFn !== null) suffixes.push(`grad_fn=<${info.gradFn}>`)
  else if (info.requiresGrad) suffixes.push('requires_grad=True')
  const body = isMeta ? '...' : isEmpty ? '[]' : formatValues(tensor, sizes, prefix.length)
  return addSuffixes(prefix + body, suffixes, prefix.length)
}

function formatValues(tensor: Tensor, sizes: readonly number[], indent: number): string {
  const summarised = tensor.numel() > threshold
  const shown = withoutMiddle(tensor.dtype.startsWith('q') ? callTensor('dequantize', [tensor]) : tensor, summarised)
  const values = flatValues(shown)
  const element = elementFormatter(values, shown.dtype)
  const tree = new Layout(values, shown.shape, sizes, summarised, element)
  return tree.text(indent)
}

/** Only the elements that will be shown, so that printing a large tensor copies few values. */
function withoutMiddle(tensor: Tensor, summarised: boolean): Tensor {
  if (!summarised) return tensor
  return tensor.shape.reduce((shown, size, dim) => {
    if (size <= 2 * edgeItems) return shown
    return callTensor('cat', [[shown.narrow(dim, 0, edgeItems), shown.narrow(dim, size - edgeItems, edgeItems)], dim])
  }, tensor)
}

interface ElementFormatter {
  /** Width of one element. */
  width: number
  format(value: ScalarValue): string
}

function elementFormatter(values: readonly ScalarValue[], dtype: DType): ElementFormatter {
  if (isComplex(dtype)) return complexFormatter(values as readonly { re: number; im: number }[])
  if (isFloatingPoint(dtype)) return floatFormatter(values as readonly number[])
  const texts = values.map(pythonText)
  const width = Math.max(1, ...texts.map((text) => text.length))
  return { width, format: (value) => pythonText(value).padStart(width) }
}

function pythonText(value: ScalarValue): string {
  return typeof value === 'boolean' ? (value ? 'True' : 'False') : String(value)
}

/** All elements in one style: integers with a dot, fixed point, or scientific where the range of magnitudes is wide. */
function floatFormatter(values: readonly number[]): ElementFormatter {
  const nonzero = values.filter((value) => Number.isFinite(value) && value !== 0)
  const magnitudes = nonzero.map(Math.abs)
  const smallest = magnitudes.reduce((a, b) => Math.min(a, b), Infinity)
  const largest = magnitudes.reduce((a, b) => Math.max(a, b), 0)
  const isScientific = nonzero.length > 0 && (largest / smallest > 1000 || largest > 1e8 || smallest < 1e-4)
  const isInteger = nonzero.every(Number.isInteger)
  const digits = (value: number): string => {
    if (isScientific) return scientific(value, precision)
    return fixed(value, isInteger ? 0 : precision)
  }
  const dot = isInteger && !isScientific ? '.' : ''
  const width = nonzero.reduce((longest, value) => Math.max(longest, digits(value).length + dot.length), 1)
  return { width, format: (value) => (digits(value as number) + (Number.isFinite(value) ? dot : '')).padStart(width) }
}

function complexFormatter(values: readonly { re: number; im: number }[]): ElementFormatter {
  const real = floatFormatter(values.map((value) => value.re))
  const imaginary = floatFormatter(values.map((value) => value.im))
  return {
    width: real.width + imaginary.width + 1,
    format(value) {
      const { re, im } = value as { re: number; im: number }
      const imaginaryText = `${imaginary.format(im)}j`.trimStart()
      const sign = /^[+-]/.test(imaginaryText) ? '' : '+'
      return real.format(re) + sign + imaginaryText
    },
  }
}

/** Brackets, commas and line breaks around formatted elements. */
class Layout {
  #next = 0

  constructor(
    private readonly values: readonly ScalarValue[],
    /** Sizes of what is shown. */
    private readonly shown: readonly number[],
    /** Sizes of the tensor; larger than `shown` where the middle is left out. */
    private readonly sizes: readonly number[],
    private readonly summarised: boolean,
    private readonly element: ElementFormatter,
  ) {}

  text(indent: number): string {
    if (this.shown.length === 0) return this.#element()
    return this.#dimension(0, indent)
  }

  #element(): string {
    return this.element.format(this.values[this.#next++] as ScalarValue)
  }

  #dimension(dim: number, indent: number): string {
    const count = this.shown[dim] ?? 0
    const isLast = dim === this.shown.length - 1
    const parts = Array.from({ length: count }, () => (isLast ? this.#element() : this.#dimension(dim + 1, indent + 1)))
    if (this.summarised && (this.sizes[dim] ?? 0) > 2 * edgeItems) parts.splice(edgeItems, 0, isLast ? ' ...' : '...')
    const newLine = ' '.repeat(indent + 1)
    if (!isLast) return `[${parts.join(`,${'\n'.repeat(this.shown.length - dim - 1)}${newLine}`)}]`
    const perLine = Math.max(1, Math.floor((lineWidth - indent) / (this.element.width + 2)))
    const lines: string[] = []
    for (let i = 0; i < parts.length; i += perLine) lines.push(parts.slice(i, i + perLine).join(', '))
    return `[${lines.join(`,\n${newLine}`)}]`
  }
}

function addSuffixes(text: string, suffixes: readonly string[], indent: number): string {
  let result = text
  let lastLineLength = text.length - text.lastIndexOf('\n') + 1
  for (const suffix of suffixes) {
    if (lastLineLength + suffix.length + 2 > lineWidth) {
      result += `,\n${' '.repeat(indent)}${suffix}`
      lastLineLength = indent + suffix.length
    } else {
      result += `, ${suffix}`
      lastLineLength += suffix.length + 2
    }
  }
  return `${result})`
}

const tupleOf = (sizes: readonly number[]): string => (sizes.length === 1 ? `(${sizes[0]},)` : `(${sizes.join(', ')})`)
