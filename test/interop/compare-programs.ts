/** Pairs of checkpoints for the tests of `compare`, and Python's own figures of them. */

/** `figures(a, b)` in Python, in double precision; sums by fsum, which rounds once. */
export const pythonFigures = `
import math, collections, warnings; warnings.simplefilter('ignore')
def figures(a, b):
    a, b = a.to(torch.float64).reshape(-1), b.to(torch.float64).reshape(-1)
    finite = torch.isfinite(a) & torch.isfinite(b)
    nan_a, nan_b = torch.isnan(a), torch.isnan(b)
    x, y = a[finite], b[finite]
    d = (x - y).abs()
    fsum = lambda t: math.fsum(t.tolist())
    norm = lambda t: math.sqrt(fsum(t * t))
    unequal = int((nan_a != nan_b).sum()) + int((~nan_a & ~nan_b & ~finite & (a != b)).sum())
    relative = 0.0 if not d.any() else norm(d) / norm(x) if norm(x) else math.inf
    return {'differing': int((d != 0).sum()) + unequal, 'maxAbs': d.max().item(), 'meanAbs': fsum(d) / len(d), 'relativeNorm': relative,
            'cosine': fsum(x * y) / (norm(x) * norm(y)) if norm(x) and norm(y) else None,
            'nanInBoth': int((nan_a & nan_b).sum()), 'nanOnlyInA': int((nan_a & ~nan_b).sum()), 'nanOnlyInB': int((nan_b & ~nan_a).sum()),
            'infinityMismatches': unequal - int((nan_a != nan_b).sum())}
`

/** A small training run of the older system's layout (L1): `state(epoch)` trains on and gives the dict. */
const pythonRun = `
import collections, numpy as np
torch.manual_seed(0)
model = torch.nn.Sequential(collections.OrderedDict(conv=torch.nn.Conv2d(1, 4, 3), norm=torch.nn.BatchNorm2d(4), flat=torch.nn.Flatten(), head=torch.nn.Linear(144, 3)))
model.conv.requires_grad_(False)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.001)
history = []
def state(epoch, **more):
    x, y = torch.randn(8, 1, 8, 8), torch.randint(0, 3, (8,))
    for _ in range(2):
        optimizer.zero_grad(); loss = torch.nn.functional.cross_entropy(model(x), y); loss.backward(); optimizer.step()
    history.append({'epoch': epoch, 'phase': 1, 'train_loss': np.float32(loss.item()), 'val_loss': loss.item() * 2, 'learning_rate': 0.001, 'training_time': 0.1 * epoch, 'memory_usage': 100.0 + epoch})
    return {'version': '1.0', 'timestamp': 1700000000 + epoch, 'model_state_dict': model.state_dict(),
            'training_state': {'current_epoch': epoch, 'current_phase': 1, 'best_val_loss': loss.item(), 'best_val_pearson': -1.0, 'patience_counter': 0, 'total_training_time': 1.5 * epoch, 'metrics_history': list(history)},
            'config': {'protein_encoder_type': 'cnn', 'drug_encoder_type': 'gin', 'width': 4, 'learning_rate': 0.001, 'protein_config': {'output_dim': 64}},
            'validation_loss': loss.item() * 2, 'is_best': epoch == 1, 'epoch': epoch, 'phase': 1, 'optimizer_state_dict': optimizer.state_dict(),
            'scheduler_state': {'epoch': epoch, 'current_phase': 1}, **more}
`

/** Python programs that set `a` and `b`, which are saved, and `out`, what Python finds. `at` gives a path. */
export const programs: Record<string, string> = {
  exact: `
make = lambda *s: torch.randint(-4096, 4096, s) / 64
def pair(n, change):
    x = make(*n); return x, change(x.clone())
def some(x): x.view(-1)[::7] += 0.25; return x
pairs = {'f32': pair((300, 40), some), 'f64': tuple(t.double() for t in pair((77,), some)), 'f16': tuple((t * 0.25).half() for t in pair((50, 3), some)),
         'bf16': tuple(t.round().bfloat16() for t in pair((600,), lambda x: (x + 3).round())), 'scalar': (torch.tensor(2.5), torch.tensor(-1.0)), 'long': pair((600_000,), some),
         'int': (torch.arange(10), torch.arange(10) * 2), 'zeros': (torch.zeros(5), torch.ones(5)), 'opposite': (torch.ones(4), -torch.ones(4)),
         'bool': (torch.tensor([True, False, True]), torch.tensor([True, True, True]))}
x, y = make(100), make(100)
x[3] = x[5] = math.nan; y[5] = y[6] = math.nan; x[10] = y[10] = math.inf; x[11], y[11] = math.inf, -math.inf; y[12] = math.inf
pairs['special'] = (x, y)
pairs['transposed'] = (make(30, 50).t(), make(50, 30)); pairs['views'] = (make(40, 40)[::3, 5:], make(40, 40)[::3, 5:])
pairs['other dtype'] = (make(64), make(64).double())
a, b = ({n: p[i] for n, p in pairs.items()} for i in (0, 1))
out = {n: figures(*p) for n, p in pairs.items()}`,
  run: `${pythonRun}
import copy
a = copy.deepcopy(state(1)); b = copy.deepcopy(state(2))
out = {n: figures(t, b['model_state_dict'][n]) for n, t in a['model_state_dict'].items() if not torch.equal(t, b['model_state_dict'][n])}
floating = lambda d, p: torch.cat([t.reshape(-1).double() for n, t in d['model_state_dict'].items() if n.startswith(p) and t.is_floating_point()])
out['layers'] = {p: figures(floating(a, p + '.'), floating(b, p + '.')) for p in ('norm', 'head')}
out['moments'] = {f'[{i}].{k}': figures(t, b['optimizer_state_dict']['state'][i][k]) for i, s in a['optimizer_state_dict']['state'].items() for k, t in s.items()}`,
  times: `${pythonRun}
import copy
a = copy.deepcopy(state(1)); b = copy.deepcopy(a)
b['timestamp'] += 100; b['training_state']['total_training_time'] = 9.0; b['metadata'] = {'title': 'x'}; b['version'] = '1.1'
b['training_state']['metrics_history'][0].update(training_time=7.0, memory_usage=3.0, train_loss=float(a['training_state']['metrics_history'][0]['train_loss']))
b['model_state_dict'] = dict(reversed(b['model_state_dict'].items())); b['optimizer_state_dict']['param_groups'][0]['betas'] = [0.9, 0.999]
b['version'] = '1.0'; b['config']['width'] = 4.0
b = dict(reversed(b.items()))`,
  values: `${pythonRun}
import copy
state(1); a = copy.deepcopy(state(2)); b = copy.deepcopy(a)
b['config'].update(width=8, seed=1); del b['config']['learning_rate']; b['config']['protein_config']['output_dim'] = 32
b['optimizer_state_dict']['param_groups'][0].update(lr=0.5, betas=(0.9, 0.99))
b['training_state']['metrics_history'][1]['val_loss'] = 9.5`,
  names: `
def save(order):
    torch.manual_seed(0)
    m = torch.nn.Sequential(collections.OrderedDict(one=torch.nn.Linear(2, 3), two=torch.nn.Linear(3, 2)))
    o = torch.optim.Adam([(n, p) for n, p in sorted(m.named_parameters(), reverse=order)], lr=0.1)
    m(torch.ones(1, 2)).sum().backward(); o.step()
    return {'model_state_dict': m.state_dict(), 'optimizer_state_dict': o.state_dict(), 'epoch': 1}
a, b = save(False), save(True)`,
  shapes: `
w = torch.ones(2, 3); e = torch.eye(3)
a = {'fc.weight': w, 'fc.bias': torch.ones(2), 'gone': torch.ones(1), 'coo': e.to_sparse(), 'csr': e.to_sparse_csr(), 'dense': e, 'tied': w, 'meta': torch.ones(2, device='meta')}
b = {'fc.weight': torch.ones(2, 3), 'fc.bias': torch.ones(3), 'new': torch.ones(1), 'coo': (e * 2).to_sparse(), 'csr': torch.ones(3, 3).to_sparse_csr(), 'dense': e.to_sparse(), 'tied': torch.ones(2, 3), 'meta': torch.ones(2, device='meta')}`,
  close: `
import numpy as np
torch.manual_seed(1)
x = torch.randn(1000, dtype=torch.float64); y = x * (1 + 1e-6 * torch.randn(1000, dtype=torch.float64))
x[0], y[0] = 0.0, -0.0; x[1] = y[1] = math.nan; x[2] = y[2] = math.inf; x[3], y[3] = 1e-9, 0.0
a, b = {'x': x}, {'x': y}
out = [[int((~np.isclose(x.numpy(), y.numpy(), rtol=r, atol=t, equal_nan=True)).sum()), bool(np.allclose(x.numpy(), y.numpy(), rtol=r, atol=t, equal_nan=True))]
       for r, t in ((0, 0), (1e-6, 0), (1e-5, 0), (1e-5, 1e-8), (0, 1e-5), (1e-9, 1e-9))]`,
  zeros: `a, b = {'x': torch.tensor([0.0, math.nan])}, {'x': torch.tensor([-0.0, math.nan])}`,
  dtypes: `
names = 'float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 complex128 complex64 complex32 uint16 uint32 uint64 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu'.split()
raw = lambda last: torch.tensor([64, 65] * 31 + [64, last], dtype=torch.uint8)
a = {n: raw(64).view(getattr(torch, n)) for n in names}; b = {n: raw(65).view(getattr(torch, n)) for n in names}
a['int64'] = torch.tensor([2**53, 2**62, -2**63]); b['int64'] = torch.tensor([2**53 + 1, 2**62 + 1, -2**63])
big = lambda *v: torch.tensor(v).view(torch.uint64)
a['uint64'], b['uint64'] = big(-1, -2**63), big(-2, -2**63 + 1)
double = lambda t: (torch.view_as_real(t.to(torch.complex128)) if t.is_complex() else t.double()).reshape(-1)
def most(x, y):
    if x.dtype in (torch.int64, torch.uint64): return 1.0
    d = double(x) - double(y)
    return d.reshape(-1, 2).pow(2).sum(1).sqrt().max().item() if x.is_complex() else d.abs().max().item()
out = {n: most(a[n], b[n]) for n in names}`,
  quantized: `
x = torch.linspace(-3, 3, 50)
q = lambda s, z: torch.quantize_per_tensor(x, s, z, torch.qint8)
c = lambda s: torch.quantize_per_channel(x.reshape(2, 25), torch.tensor([0.1, s]), torch.tensor([0, 3]), 0, torch.quint8)
a = {'same': q(0.1, 2), 'scale': q(0.1, 2), 'channel': c(0.1), 'channels': c(0.2)}; b = {'same': q(0.1, 2), 'scale': q(0.125, 2), 'channel': c(0.15), 'channels': c(0.2)}
out = {n: (a[n].dequantize().double() - b[n].dequantize().double()).abs().max().item() for n in ('scale', 'channel')}`,
  views: `
z = torch.tensor([1+2j, 3-4j, 5j, complex('nan')])
a = {'conj': z.conj(), 'same': z.conj(), 'wide': torch.ones(1).expand(2**31), 'wider': torch.ones(1).expand(2**20), 't': torch.arange(6.).reshape(2, 3).t(), 'cl': torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last), 'real': torch.ones(3)}
b = {'conj': z.clone(), 'same': z.conj().resolve_conj(), 'wide': torch.zeros(1).expand(2**31), 'wider': torch.ones(2**20), 't': torch.arange(6.).reshape(2, 3).t().contiguous(), 'cl': torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last), 'real': torch.ones(3) * (1 + 1j)}`,
  kinds: `${pythonRun}
import copy
a = copy.deepcopy(state(1)); b = copy.deepcopy(a['model_state_dict'])
torch.save({'state_dict': b}, at('kinds-wrapped.pth'))
torch.save({'model_state_dict': b, 'config': a['config'], 'export_timestamp': 1, 'export_type': 'inference', 'model_class': 'X'}, at('kinds-export.pth'))
torch.save(a, at('kinds-legacy.pth'), _use_new_zipfile_serialization=False)
header, data = {'__metadata__': {'format': 'pt', 'title': 'safe'}}, b''
for n, t in b.items():
    raw = t.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if t.dim() else t.reshape(1).view(torch.uint8).numpy().tobytes()
    header[n] = {'dtype': {torch.float32: 'F32', torch.int64: 'I64'}[t.dtype], 'shape': list(t.shape), 'data_offsets': [len(data), len(data) + len(raw)]}; data += raw
text = json.dumps(header).encode(); text += b' ' * (-len(text) % 8)
open(at('kinds.safetensors'), 'wb').write(len(text).to_bytes(8, 'little') + text + data)
torch.save([1, 2], at('kinds-list.pth'))`,
  parts: `a = {'model_state_dict': {}, 'optimizer_state_dict': {}, 'epoch': 1}; b = {'model_state_dict': {}, 'epoch': 1, 'optimizer_state_dict': {}, 'scheduler_state': {'a': 1}}`,
  other: `
import argparse, numpy as np, pathlib
loop = [1]; loop.append(loop)
def one(n, p): return {'args': argparse.Namespace(lr=n, deep={'x': [1, n]}), 'array': np.array([1.0, n]), 'path': pathlib.PurePosixPath(p), 'set': {1, 2}, 'loop': loop, 'big': 2**70, 'tuple': (1, (2, torch.ones(2) * n)), 1: 'int', '1': 'str'}
a, b = one(1, 'x'), one(2, 'y')`,
  damage: `a = {'w': torch.ones(1000), 'v': torch.ones(10)}; b = a`,
  progress: `a = {'w': torch.ones(3_000_000), 'v': torch.ones(10)}; b = {'w': torch.ones(3_000_000) * 2, 'v': torch.ones(10)}`,
}
