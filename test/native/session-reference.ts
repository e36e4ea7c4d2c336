/**
 * What real Python does, for the session tests: it exports a model with torch.export, trains it in a plain loop and hands over the graphs, the tensors
 * before and the tensors after. Nothing here knows the right answer; every expected byte comes from Python.
 */
import type { DType, GraphModule, OptimizerSpec, ParamGroup } from '../../lib/contract.js'
import { runPython } from '../python.js'

/** A tensor as Python packed it: raw little-endian bytes in C order, base64. */
export interface PackedTensor {
  dtype: DType
  sizes: number[]
  data: string
  requiresGrad: boolean
}

export type PackedTensors = Record<string, PackedTensor>

/** One optimizer to train with, in Python's own words. */
export interface ReferenceRun {
  optimizer: OptimizerSpec['name']
  /** Keyword arguments of the constructor. */
  options: Record<string, number | boolean | readonly number[]>
  /** Batches to train on; 50 where absent. */
  steps?: number
  /** Batches of one step. */
  accumulate?: number
  clipGradNorm?: number
  clipGradValue?: number
  /** bfloat16 autocast around model and loss. */
  autocast?: boolean
  /** Biases are a group of their own, with twice the rate. */
  twoGroups?: boolean
  /** Rows of the input's first column that are 0, and rows of the target that are NaN. */
  zeroRows?: readonly number[]
  nanRows?: readonly number[]
  /** What inputs and targets are multiplied with. */
  dataScale?: number
}

export interface ReferenceResult {
  /** The optimizer's groups with their complete hyperparameters, as Python's param_groups has them. */
  groups: ParamGroup[]
  parameters: PackedTensors
  buffers: PackedTensors
  state: Record<string, PackedTensors>
  /** NaN as null. */
  losses: (number | null)[]
  /** What `clip_grad_norm_` returned, step by step; an infinite one as null. */
  gradNorms: (number | null)[]
  /** Batches that were passed over, with the first parameter whose gradient was not finite. */
  skipped: [number, string | null][]
  /** `torch.get_rng_state()` after training, base64. */
  generatorState: string
  /** The evaluation of the trained model over all rows in order, in the same batches. */
  evaluation: { outputs: PackedTensor; losses: (number | null)[] }
}

export interface Reference {
  trainGraph: GraphModule
  evalGraph: GraphModule
  lossGraph: GraphModule
  parameters: PackedTensors
  buffers: PackedTensors
  constants: PackedTensors
  /** Model inputs, then the target. */
  data: PackedTensor[]
  order: number[]
  batchSize: number
  results: ReferenceResult[]
}

/** The models of the Python program below. */
export type ReferenceModel =
  | 'cnn'
  | 'mlp'
  | 'float64'
  | 'bfloat16'
  | 'complex64'
  | 'lstm'
  | 'tied'
  | 'attention'
  | 'mixed'
  | 'functional'
  | 'rooted'

/** Seed of the training loop's random draws; the order of rows is drawn apart. */
export const trainingSeed = 123n

/** Python's runs of several models, in one process: importing torch takes longer than most of them. */
export async function runReferences<Model extends ReferenceModel>(
  runs: Readonly<Partial<Record<Model, readonly ReferenceRun[]>>>,
): Promise<Record<Model, Reference>> {
  return JSON.parse(await runPython(program, [JSON.stringify(runs)])) as Record<Model, Reference>
}

/** The order as a session takes it, `steps` batches long. */
export function orderOf(reference: Reference, steps = 50): BigInt64Array {
  return BigInt64Array.from(reference.order.slice(0, steps * reference.batchSize), (row) => BigInt(row))
}

const program = `
import base64, contextlib, copy, math, warnings
from torch import nn
from torch._export.serde.serialize import EnumEncoder, ExportedProgramSerializer, _dataclass_to_dict
warnings.simplefilter('ignore')
F = nn.functional

class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten())
        self.head = nn.Linear(4 * 36, 10)
    def forward(self, x):
        return self.head(self.features(x))

class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 12)
        self.lstm = nn.LSTM(12, 8, 2, batch_first=True, dropout=0.1)
        self.head = nn.Linear(8, 10)
    def forward(self, x):
        y, (h, c) = self.lstm(self.embedding(x))
        first, second = y.chunk(2, 1)
        return self.head(torch.cat([first, second], 1)[:, -1] + h.view(2, -1, 8)[1] * 2 + x.size(0) * 0.5)

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embedding.weight
    def forward(self, x):
        return self.head(F.gelu(self.embedding(x).mean(1)))

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.head = nn.Linear(16, 10)
    def forward(self, x):
        return self.head(self.layer(self.embedding(x)).mean(1))

class Mixed(nn.Module):
    """Numbers, casts, constants, index lists, in-place buffers: what the schema hides traps in."""
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(16, 10)
        self.register_buffer('seen', torch.zeros((), dtype=torch.int64))
        self.register_buffer('scale', torch.ones(16))
        self.offset = torch.arange(16.) / 16
    def forward(self, x):
        if self.training:
            self.seen.add_(x.shape[0])
            self.scale.mul_(0.99)
        rows = torch.arange(x.shape[0], device=x.device)
        ramp = torch.full((x.shape[0], 1), 2.0) / (x.shape[0] // 3 + 1)
        y = (x * self.scale + self.offset).to(torch.float64).clamp(min=-1.0).to(torch.float32)
        y = y.masked_fill(y > 1, float('-inf')).masked_fill(y > 1, 0.5)
        y = torch.where(torch.isinf(y), torch.tensor(0.25), y)
        top, _ = (1 - y).max(1)
        y = self.linear(y + top[:, None] * ramp)[rows] ** 2.0 * 3
        return y[:, torch.arange(9, -1, -1)] - y.new_zeros(()).add(1, alpha=0.5)

class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 1, dtype=torch.complex64)
    def forward(self, x):
        return self.linear(torch.complex(x, x.flip(1))).abs()

class Rooted(nn.Module):
    """A zero in the first column gives a finite loss, and a gradient of scale that is not a number."""
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 1)
        self.scale = nn.Parameter(torch.ones(1))
    def forward(self, x):
        return self.head(x) + torch.sqrt(x[:, :1].abs() * self.scale)

def data(kind, rows):
    if kind == 'images': return torch.randn(rows, 1, 14, 14), torch.randint(0, 10, (rows,))
    if kind == 'words': return torch.randint(0, 50, (rows, 6)), torch.randint(0, 10, (rows,))
    if kind == 'vectors': return torch.randn(rows, 16), torch.randint(0, 10, (rows,))
    return torch.randn(rows, 64), torch.randn(rows, 1)

def mlp(dtype=torch.float32):
    return nn.Sequential(nn.Linear(64, 64, dtype=dtype), nn.ReLU(), nn.Linear(64, 1, dtype=dtype))

models = {
    'cnn': (Cnn, 'images', F.cross_entropy),
    'mlp': (mlp, 'regression', F.mse_loss),
    'float64': (lambda: mlp(torch.float64), 'regression', F.mse_loss),
    'bfloat16': (lambda: mlp(torch.bfloat16), 'regression', F.mse_loss),
    'complex64': (Complex, 'regression', F.mse_loss),
    'lstm': (Lstm, 'words', F.cross_entropy),
    'tied': (Tied, 'words', F.cross_entropy),
    'attention': (Attention, 'words', F.cross_entropy),
    'mixed': (Mixed, 'vectors', F.cross_entropy),
    'rooted': (Rooted, 'regression', F.mse_loss),
    'functional': (Mixed, 'vectors', F.cross_entropy),
}

class Loss(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
    def forward(self, output, target):
        return self.function(output, target)

def pack(t):
    values = t.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return {'dtype': str(t.dtype)[6:], 'sizes': list(t.shape), 'data': base64.b64encode(values.numpy().tobytes()).decode(), 'requiresGrad': t.requires_grad}

def pack_all(named):
    return {name: pack(t) for name, t in named}

def graph(module, args, functional):
    batch = torch.export.Dim('batch', min=2)
    exported = torch.export.export(module, args, dynamic_shapes=tuple({0: batch} for _ in args))
    if functional:  # nothing in place: changed buffers become outputs
        exported = exported.run_decompositions({})
    serialized = ExportedProgramSerializer().serialize(exported).exported_program
    return json.loads(json.dumps(_dataclass_to_dict(serialized), cls=EnumEncoder))['graph_module'], exported.constants

def parameter_groups(model, run):
    named = list(model.named_parameters())
    if not run.get('twoGroups'): return [{'params': [p for _, p in named]}]
    biases = [p for name, p in named if name.endswith('bias')]
    return [{'params': [p for name, p in named if not name.endswith('bias')]}, {'params': biases, 'lr': 2 * run['options']['lr']}]

def train(initial, function, run, x, y, order, batch_size):
    model = copy.deepcopy(initial).train()
    optimizer = getattr(torch.optim, run['optimizer'])(parameter_groups(model, run), **run['options'])
    parameters = list(model.parameters())
    names = {id(p): name for name, p in model.named_parameters()}
    autocast = lambda: torch.autocast('cpu', dtype=torch.bfloat16) if run.get('autocast') else contextlib.nullcontext()
    if 'dataScale' in run: x, y = x * run['dataScale'], y * run['dataScale']
    if 'zeroRows' in run: x[run['zeroRows'], 0] = 0
    if 'nanRows' in run: y[run['nanRows']] = math.nan
    torch.manual_seed(${trainingSeed})
    losses, norms, skipped, accumulate = [], [], [], run.get('accumulate', 1)
    batches = order[:run.get('steps', 50) * batch_size].split(batch_size)
    for begin in range(0, len(batches), accumulate):
        group = batches[begin:begin + accumulate]
        optimizer.zero_grad()
        for index, rows in enumerate(group):
            with autocast():
                loss = function(model(x[rows]), y[rows])
            losses.append(loss.item())
            if math.isfinite(loss.item()): (loss / len(group) if accumulate > 1 else loss).backward()
            else: skipped.append((begin + index, None))
        bad = [p for p in parameters if p.grad is not None and not p.grad.isfinite().all()]
        if bad:
            skipped.append((begin + len(group) - 1, names[id(bad[0])]))
            continue
        if all(p.grad is None for p in parameters): continue
        if 'clipGradNorm' in run: norms.append(torch.nn.utils.clip_grad_norm_(parameters, run['clipGradNorm']).item())
        if 'clipGradValue' in run: torch.nn.utils.clip_grad_value_(parameters, run['clipGradValue'])
        optimizer.step()
    generator = torch.get_rng_state()
    state = {names[id(p)]: pack_all(s.items()) for p, s in optimizer.state.items()}
    groups = [{'params': [names[id(p)] for p in group['params']], 'options': {k: v for k, v in group.items() if k != 'params'}} for group in optimizer.param_groups]
    model.eval()
    with torch.no_grad():
        outputs, evaluated = [], []
        for rows, targets in zip(x.split(batch_size), y.split(batch_size)):
            with autocast():
                outputs.append(model(rows))
                evaluated.append(finite(function(outputs[-1], targets).item()))
    return {'groups': groups, 'parameters': pack_all(model.named_parameters()), 'buffers': pack_all(model.named_buffers()), 'state': state,
            'losses': [finite(loss) for loss in losses], 'gradNorms': [finite(norm) for norm in norms], 'skipped': skipped, 'generatorState': base64.b64encode(generator.numpy().tobytes()).decode(),
            'evaluation': {'outputs': pack(torch.cat(outputs)), 'losses': evaluated}}

def finite(number):
    return number if math.isfinite(number) else None

def reference(name, runs):
    make, kind, function = models[name]
    torch.manual_seed(7)
    model = make()
    x, y = data(kind, 101)
    if name in ('float64', 'bfloat16'):
        x, y = x.to(model[0].weight.dtype), y.to(model[0].weight.dtype)
    batch_size = 8
    order = torch.cat([torch.randperm(101) for _ in range(4)])[:50 * batch_size - 3]  # the last batch is shorter
    sample = (x[:batch_size],)
    train_graph, constants = graph(copy.deepcopy(model).train(), sample, name == 'functional')
    eval_graph, _ = graph(copy.deepcopy(model).eval(), sample, name == 'functional')
    loss_graph, _ = graph(Loss(function), (model.eval()(x[:batch_size]).detach(), y[:batch_size]), name == 'functional')
    model.train()
    return {
        'trainGraph': train_graph, 'evalGraph': eval_graph, 'lossGraph': loss_graph,
        'parameters': pack_all(model.named_parameters(remove_duplicate=False)), 'buffers': pack_all(model.named_buffers()),
        'constants': {name: pack(t) for name, t in constants.items() if isinstance(t, torch.Tensor)},
        'data': [pack(x), pack(y)], 'order': order.tolist(), 'batchSize': batch_size,
        'results': [train(model, function, run, x.clone(), y.clone(), order, batch_size) for run in runs],
    }

print(json.dumps({name: reference(name, runs) for name, runs in json.loads(sys.argv[1]).items()}))
`
