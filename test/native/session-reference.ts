/**
 * What real Python does, for the session tests: it exports a model with torch.export, trains it in a plain loop and hands over the graphs, the tensors
 * before and the tensors after. Nothing here knows the right answer; every expected byte comes from Python.
 */
import type { DType, GraphModule, OptimizerSpec } from '../../lib/contract.js'
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
}

export interface ReferenceResult {
  /** The optimizer's complete hyperparameters as Python's param_groups has them. */
  group: Record<string, number | boolean | readonly number[] | null>
  parameters: PackedTensors
  buffers: PackedTensors
  state: Record<string, PackedTensors>
  losses: number[]
  /** `torch.get_rng_state()` after training, base64. */
  generatorState: string
  /** The evaluation of the trained model over all rows in order, in the same batches. */
  evaluation: { outputs: PackedTensor; losses: number[] }
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
  'cnn' | 'mlp' | 'float64' | 'bfloat16' | 'complex64' | 'lstm' | 'tied' | 'attention' | 'mixed' | 'functional'

/** Seed of the training loop's random draws; the order of rows is drawn apart. */
export const trainingSeed = 123n

export async function runReference(model: ReferenceModel, runs: readonly ReferenceRun[]): Promise<Reference> {
  return JSON.parse(await runPython(program, [model, JSON.stringify(runs)])) as Reference
}

/** The order as a session takes it, `steps` batches long. */
export function orderOf(reference: Reference, steps = 50): BigInt64Array {
  return BigInt64Array.from(reference.order.slice(0, steps * reference.batchSize), (row) => BigInt(row))
}

const program = `
import base64, copy, warnings
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

def graph(module, args):
    batch = torch.export.Dim('batch', min=2)
    exported = torch.export.export(module, args, dynamic_shapes=tuple({0: batch} for _ in args))
    if sys.argv[1] == 'functional':  # nothing in place: changed buffers become outputs
        exported = exported.run_decompositions({})
    serialized = ExportedProgramSerializer().serialize(exported).exported_program
    return json.loads(json.dumps(_dataclass_to_dict(serialized), cls=EnumEncoder))['graph_module'], exported.constants

def train(initial, function, run, x, y, order, batch_size):
    model = copy.deepcopy(initial).train()
    optimizer = getattr(torch.optim, run['optimizer'])(model.parameters(), **run['options'])
    torch.manual_seed(${trainingSeed})
    losses = []
    for rows in order[:run.get('steps', 50) * batch_size].split(batch_size):
        optimizer.zero_grad()
        loss = function(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    generator = torch.get_rng_state()
    names = {id(p): name for name, p in model.named_parameters()}
    state = {names[id(p)]: pack_all(s.items()) for p, s in optimizer.state.items()}
    group = {k: v for k, v in optimizer.param_groups[0].items() if k != 'params'}
    model.eval()
    with torch.no_grad():
        outputs = [model(rows) for rows in x.split(batch_size)]
        evaluation = {'outputs': pack(torch.cat(outputs)), 'losses': [function(o, t).item() for o, t in zip(outputs, y.split(batch_size))]}
    return {'group': group, 'parameters': pack_all(model.named_parameters()), 'buffers': pack_all(model.named_buffers()), 'state': state, 'losses': losses,
            'generatorState': base64.b64encode(generator.numpy().tobytes()).decode(), 'evaluation': evaluation}

make, kind, function = models[sys.argv[1]]
runs = json.loads(sys.argv[2])
torch.manual_seed(7)
model = make()
x, y = data(kind, 101)
if sys.argv[1] in ('float64', 'bfloat16'):
    x, y = x.to(model[0].weight.dtype), y.to(model[0].weight.dtype)
batch_size = 8
order = torch.cat([torch.randperm(101) for _ in range(4)])[:50 * batch_size - 3]  # the last batch is shorter
sample = (x[:batch_size],)
train_graph, constants = graph(copy.deepcopy(model).train(), sample)
eval_graph, _ = graph(copy.deepcopy(model).eval(), sample)
loss_graph, _ = graph(Loss(function), (model.eval()(x[:batch_size]).detach(), y[:batch_size]))
model.train()
print(json.dumps({
    'trainGraph': train_graph, 'evalGraph': eval_graph, 'lossGraph': loss_graph,
    'parameters': pack_all(model.named_parameters(remove_duplicate=False)), 'buffers': pack_all(model.named_buffers()),
    'constants': {name: pack(t) for name, t in constants.items() if isinstance(t, torch.Tensor)},
    'data': [pack(x), pack(y)], 'order': order.tolist(), 'batchSize': batch_size,
    'results': [train(model, function, run, x, y, order, batch_size) for run in runs],
}))
`
