/** Every metric against real scikit-learn and scipy: random data, ties, constant columns, few samples, large and tiny values. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { computeMetrics, metricNames, resolveMetrics, type Values } from '../../src/training/metrics.js'
import { needPackages, runPython } from '../python.js'

interface Case {
  label: string
  metrics: string[]
  outputs: number[]
  targets: number[]
  /** Numbers a sample: `[samples]` for null. */
  columns: number | null
  /** Whether the targets are class numbers `[samples]`. */
  isLabelled: boolean
}

const regression = ['mse', 'rmse', 'mae', 'r2', 'pearson', 'spearman', 'concordance_index']
const classification = ['accuracy', 'macro_f1', 'auroc', 'aupr']
/** Counts divided once: nothing is left to rounding. */
const exact = ['accuracy', 'concordance_index']

/** Sums of positive terms: good to the last bits whatever their size. Others cancel, so that only the size of 1 counts. */
const relative = ['mse', 'rmse', 'mae', 'macro_f1', 'auroc', 'aupr']

/** A multiplicative congruential generator: the same numbers in every run. */
function generator(seed: number): () => number {
  let state = seed
  return () => (state = (state * 48271) % 2147483647) / 2147483647
}

function cases(): Case[] {
  const random = generator(7)
  const fill = (count: number, value: () => number) => Array.from({ length: count }, value)
  const all: Case[] = []
  const numbers = (
    label: string,
    samples: number,
    columns: number | null,
    output: () => number,
    target: () => number,
  ) =>
    all.push({
      label: `${label}, ${samples} samples of ${columns ?? 'one number'}`,
      metrics: regression,
      outputs: fill(samples * (columns ?? 1), output),
      targets: fill(samples * (columns ?? 1), target),
      columns,
      isLabelled: false,
    })
  const normal = () => Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random())
  for (const samples of [0, 1, 2, 3, 10, 1000]) {
    for (const columns of [null, 1, 3]) {
      numbers('random', samples, columns, normal, normal)
      numbers(
        'ties',
        samples,
        columns,
        () => Math.round(3 * random()),
        () => Math.round(2 * random()),
      )
    }
    numbers('constant outputs', samples, null, () => 0.1, normal)
    numbers('constant targets', samples, null, normal, () => 0.1)
    numbers(
      'far from zero',
      samples,
      null,
      () => 1e9 + normal(),
      () => 1e9 + normal(),
    )
    numbers(
      'large',
      samples,
      null,
      () => 1e140 * normal(),
      () => 1e140 * normal(),
    )
    numbers(
      'tiny',
      samples,
      null,
      () => 1e-140 * normal(),
      () => 1e-140 * normal(),
    )
  }
  const classes = (label: string, samples: number, count: number, output: () => number) =>
    all.push({
      label: `${label}, ${samples} samples of ${count} classes`,
      metrics: classification,
      outputs: fill(samples * count, output),
      targets: fill(samples, () => Math.floor(random() * Math.max(2, count))),
      columns: count === 1 ? null : count,
      isLabelled: true,
    })
  for (const samples of [0, 1, 2, 3, 30, 1000]) {
    for (const count of [1, 2, 3, 5]) {
      classes('random', samples, count, normal)
      if (count < 3) classes('ties', samples, count, () => Math.round(2 * normal()))
    }
    const last = all.at(-1) as Case
    all.push({ ...probabilities(last, 5), label: `probabilities with ties, ${last.label}` })
    const oneClass = { ...(all.at(-4) as Case), label: `class 1 alone, ${samples} samples` }
    all.push({ ...oneClass, targets: oneClass.targets.map(() => 1) })
  }
  return all
}

/** Outputs that are eighths and sum to 1 in each sample. */
function probabilities(given: Case, classes: number): Case {
  const outputs = given.outputs.map((_, index) => {
    const row = Math.floor(index / classes)
    const parts = [
      [4, 2, 1, 1, 0],
      [0, 3, 3, 1, 1],
      [1, 1, 1, 1, 4],
      [2, 2, 2, 2, 0],
    ][(row * 7 + 3) % 4] as number[]
    return (parts[(index + row) % classes] as number) / 8
  })
  return { ...given, outputs }
}

const program = `
import warnings, numpy as np
from scipy import stats
from sklearn import metrics as m
warnings.simplefilter('ignore')
def by_column(score, y, p):
    if y.ndim == 1: return score(y, p)
    return float(np.mean([score(y[:, c], p[:, c]) for c in range(y.shape[1])]))
def concordance(y, p):
    above = y[:, None] > y[None, :]
    right = (above & (p[:, None] > p[None, :])).sum() + 0.5 * (above & (p[:, None] == p[None, :])).sum()
    return right / above.sum() if above.any() else float('nan')
def decided(p): return (p > 0).astype(int) if p.ndim == 1 else p.argmax(1)
def softmax(p):
    if np.allclose(p.sum(1), 1) and (p >= 0).all(): return p
    e = np.exp(p - p.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)
def one_score(p): return p if p.ndim == 1 else p[:, 1] - p[:, 0]
def auroc(y, p):
    if p.ndim == 1 or p.shape[1] == 2: return m.roc_auc_score(y, one_score(p))
    return m.roc_auc_score(y, softmax(p), multi_class='ovr', average='macro', labels=range(p.shape[1]))
def aupr(y, p):
    if p.ndim == 1 or p.shape[1] == 2: return m.average_precision_score(y, one_score(p))
    return m.average_precision_score(np.eye(p.shape[1])[y.astype(int)], softmax(p), average='macro')
scores = {
    'mse': m.mean_squared_error, 'rmse': m.root_mean_squared_error, 'mae': m.mean_absolute_error,
    'r2': lambda y, p: m.r2_score(y, p, force_finite=False),
    'pearson': lambda y, p: by_column(lambda a, b: stats.pearsonr(a, b).statistic, y, p),
    'spearman': lambda y, p: by_column(lambda a, b: stats.spearmanr(a, b).statistic, y, p),
    'concordance_index': lambda y, p: by_column(concordance, y, p),
    'accuracy': lambda y, p: m.accuracy_score(y, decided(p)),
    'macro_f1': lambda y, p: m.f1_score(y, decided(p), average='macro'),
    'auroc': auroc, 'aupr': aupr,
}
def run(case):
    p, y = np.array(case['outputs'], dtype=float), np.array(case['targets'], dtype=float)
    if case['columns'] is not None:
        p = p.reshape(p.size // case['columns'], case['columns'])
        if not case['isLabelled']: y = y.reshape(p.shape)
    found = {}
    for name in case['metrics']:
        try: found[name] = repr(float(scores[name](y, p)))
        except (ValueError, IndexError): found[name] = 'raises'
    return found
print(json.dumps([run(case) for case in json.load(open(sys.argv[1]))]))
`

async function scoresInPython(all: readonly Case[]): Promise<Record<string, string>[]> {
  const folder = await mkdtemp(join(tmpdir(), 'torchkeep-metrics-'))
  try {
    const path = join(folder, 'cases.json')
    await writeFile(path, JSON.stringify(all))
    return JSON.parse(await runPython(program, [path])) as Record<string, string>[]
  } finally {
    await rm(folder, { recursive: true })
  }
}

const samplesOf = ({ outputs, columns }: Case): number => outputs.length / (columns ?? 1)

function valuesOf(item: Case): { outputs: Values; targets: Values } {
  const shape = (columns: number | null) => (columns === null ? [samplesOf(item)] : [samplesOf(item), columns])
  return {
    outputs: { data: Float64Array.from(item.outputs), shape: shape(item.columns) },
    targets: { data: Float64Array.from(item.targets), shape: shape(item.isLabelled ? null : item.columns) },
  }
}

/**
 * Where ours is NaN, and why it must be. Python raises there or says NaN too, but for: r2 of constant targets (-inf, or what rounding makes of it), average precision without a sample of a class (0.0).
 */
function isUndefined(name: string, item: Case): boolean {
  if (samplesOf(item) === 0) return true
  const columns = item.isLabelled ? 1 : (item.columns ?? 1)
  const isConstant = (data: readonly number[]): boolean =>
    Array.from({ length: columns }, (_, column) => data.filter((_, index) => index % columns === column)).some(
      (values) => new Set(values).size === 1,
    )
  if (['pearson', 'spearman'].includes(name)) return isConstant(item.outputs) || isConstant(item.targets)
  if (['r2', 'concordance_index'].includes(name)) return isConstant(item.targets)
  const classes = Math.max(2, item.columns ?? 2)
  if (name === 'auroc') return new Set(item.targets).size < classes
  if (name === 'aupr') return classes > 2 ? new Set(item.targets).size < classes : !item.targets.includes(1)
  return false
}

describe('metrics of scikit-learn and scipy', function () {
  this.timeout(60_000)
  before(async function () {
    await needPackages(this, 'sklearn', 'scipy')
  })

  it('are ours', async () => {
    const all = cases()
    const python = await scoresInPython(all)
    const compared = new Map<string, number>()
    for (const [index, item] of all.entries()) {
      const { outputs, targets } = valuesOf(item)
      const ours = await computeMetrics(resolveMetrics(item.metrics), outputs, targets)
      for (const name of item.metrics) {
        const [mine, theirs] = [ours[name] as number, python[index]?.[name] as string]
        const what = `${name} of ${item.label} is ${mine}, in Python ${theirs}`
        assert.equal(Number.isNaN(mine), isUndefined(name, item), what)
        if (Number.isNaN(mine)) continue
        assert.notEqual(theirs, 'raises', what)
        const value = numberOf(theirs)
        const tolerance = exact.includes(name) ? 0 : 1e-12 * Math.max(Math.abs(value), relative.includes(name) ? 0 : 1)
        assert.ok(mine === value || Math.abs(mine - value) <= tolerance, what)
        compared.set(name, (compared.get(name) ?? 0) + 1)
      }
    }
    for (const name of metricNames)
      assert.ok((compared.get(name) ?? 0) >= 15, `${name} was compared ${compared.get(name)} times`)
  })
})

const numberOf = (text: string): number => (text === 'inf' ? Infinity : text === '-inf' ? -Infinity : Number(text))
