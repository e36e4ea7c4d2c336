/** Curves in the terminal. */
import plot from 'simple-ascii-chart'
import { formatNumber, printable, takesColor } from './text.js'

/** One curve. */
export interface Curve {
  label: string
  /** In the order of x; points that are not finite are left out. */
  points: readonly (readonly [x: number, y: number])[]
}

/** A chart of one or several curves. */
export interface Chart {
  title: string
  xLabel: string
  curves: readonly Curve[]
  /** Where vertical lines stand. */
  borders?: readonly number[]
}

/** Curves are told apart by these marks, and on a terminal also by colour, so that a log file shows them too. */
const marks = ['●', '○', '■', '□', '▲', '△', '◆', '◇']
const colors = ['ansiBlue', 'ansiYellow', 'ansiGreen', 'ansiMagenta', 'ansiCyan', 'ansiRed'] as const
const height = 14
const mostTicks = { x: 6, y: 5 }

/**
 * The lines of a chart with its legend, as wide as the terminal, at most 100 columns.
 * @param width columns of the terminal; 80 where there is none.
 */
export function chartLines(
  { title, xLabel, curves, borders = [] }: Chart,
  width = process.stdout.columns || 80,
): string[] {
  const legend = curves.map(({ label }, index) => `  ${mark(index)} ${printable(label)}`)
  const drawn = curves
    .map(({ points }, index) => ({
      index,
      points: points.filter(isFinitePoint).map(([x, y]): [number, number] => [x, y]),
    }))
    .filter(({ points }) => points.length > 0)
  if (drawn.length === 0) return [printable(title), 'no finite values', ...legend]
  const all = drawn.flatMap(({ points }) => points)
  const [xs, ys] = [rangeOf(all.map(([x]) => x)), rangeOf(all.map(([, y]) => y))]
  const yTicks = ticks(ys, mostTicks.y, false)
  // The library makes room for the labels of the values, which may be shorter than those of the ticks.
  const labelWidth = Math.max(...yTicks.map((value) => rounded(value, ys).length))
  let curve = -1
  const text = plot(
    drawn.map(({ points }) => points),
    {
      title: printable(title),
      xLabel,
      width: Math.max(20, Math.min(width, 100) - labelWidth - 6),
      height,
      customXAxisTicks: ticks(xs, mostTicks.x, true),
      customYAxisTicks: yTicks,
      formatter: (value, { axis }) => (axis === 'x' ? formatNumber(value) : rounded(value, ys).padStart(labelWidth)),
      thresholds: borders.map((x) => ({ x })),
      // The library does not say which curve it draws, but draws them in order, each from its first point.
      lineFormatter: ({ index, plotX, plotY }) => {
        if (index === 0) curve++
        return { x: plotX, y: plotY, symbol: mark(drawn[curve]?.index ?? 0) }
      },
      ...(takesColor() && { color: drawn.map(({ index }) => colors[index % colors.length] ?? 'ansiBlue') }),
    },
  )
  return [...text.split('\n').filter((line) => line.trim() !== ''), ...legend]
}

const isFinitePoint = ([x, y]: readonly [number, number]): boolean => Number.isFinite(x) && Number.isFinite(y)
const mark = (index: number): string => marks[index % marks.length] ?? '●'

function rangeOf(values: readonly number[]): [least: number, most: number] {
  return values.reduce<[number, number]>(
    ([least, most], value) => [Math.min(least, value), Math.max(most, value)],
    [Infinity, -Infinity],
  )
}

/** A value with as many digits as tell the ticks of its range apart. */
function rounded(value: number, [least, most]: readonly [number, number]): string {
  const size = Math.max(Math.abs(least), Math.abs(most))
  const digits = most === least ? 6 : Math.ceil(Math.log10(size / (most - least))) + 3
  return String(Number(value.toPrecision(Math.min(Math.max(digits, 3), 15))))
}

/** Evenly spaced values of a range with both ends, whole numbers where asked for. */
function ticks([least, most]: readonly [number, number], count: number, whole: boolean): number[] {
  const steps = whole ? Math.min(count - 1, most - least) : count - 1
  if (least === most) return [least]
  const values = Array.from(
    { length: Math.floor(steps) + 1 },
    (_none, index) => least + ((most - least) * index) / Math.floor(steps),
  )
  return [...new Set(whole ? values.map(Math.round) : values)]
}
