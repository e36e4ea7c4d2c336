# Writes small real files of every container into a folder: `python corpus.py FOLDER`. Real where PyTorch can write them; safetensors and the tar format of the
# first versions are written here byte by byte, since the reference environment has nothing that does.
import collections, datetime, io, json, os, pathlib, pickle, struct, sys, tarfile, warnings
import numpy as np
import torch
import torch.distributed.checkpoint as dcp

warnings.simplefilter('ignore')
torch.manual_seed(0)
folder = sys.argv[1]


def at(*parts):
    path = os.path.join(folder, *parts)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(2, 3, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.fc = torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).mean(-1))


net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
net(torch.randn(4, 2, 8)).sum().backward()
optimizer.step()

checkpoint = {
    'version': '1.0', 'timestamp': '2024-05-01T12:00:00', 'epoch': 3, 'phase': 1, 'validation_loss': 0.25, 'is_best': True,
    'model_state_dict': net.state_dict(), 'optimizer_state_dict': optimizer.state_dict(),
    'scheduler_state_dict': scheduler.state_dict(), 'config': {'hidden': 3, 'names': ['a', 'b'], 'rates': (1e-3, None)},
    'metrics_history': [{'train_loss': 0.5, 'val_loss': 0.25, 'epoch': 3}], 'rng_state': torch.get_rng_state()[:64],
}
base = torch.arange(24.0)
weight = torch.nn.Parameter(torch.randn(3, 4))
kinds = ['float64', 'float32', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool', 'complex64', 'complex128']
new_kinds = ['uint16', 'uint32', 'uint64', 'float8_e4m3fn', 'float8_e5m2', 'complex32']


def small(name):
    return torch.arange(6).to(getattr(torch, name)).reshape(2, 3)


odd = {
    'views': [base[4:10], base.view(4, 6).t(), base.view(2, 12)[:, ::3], base.expand(2, 24), base],
    'tied': {'a': weight, 'b': weight}, 'empty': torch.empty(0, 3), 'scalar': torch.tensor(2.5),
    'conj': torch.randn(3, dtype=torch.complex64).conj(), 'size': torch.Size([1, 2]), 'dtype': torch.float16,
    'device': torch.device('cpu'), 'layout': torch.sparse_coo, 'bytes': b'\x00\xff', 'set': {1, 2}, 'long': 2 ** 70, 'big': -(2 ** 40),
    'text': 'a\ud800b', 'complex': 1 + 2j, 'order': collections.OrderedDict(a=1), 'count': collections.Counter('aab'),
    'sparse': torch.eye(3).to_sparse(), 'csr': torch.eye(3).to_sparse_csr(),
    'meta': torch.empty(2, 2, device='meta'), 'nested': torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    'quantized': torch.quantize_per_tensor(torch.ones(3), 0.5, 1, torch.qint8),
    'channels': torch.quantize_per_channel(torch.ones(2, 2), torch.tensor([0.5, 1.0]), torch.tensor([0, 1]), 0, torch.quint8),
}
unsafe = {
    'scalar': np.float32(0.5), 'int': np.int64(7), 'array': np.arange(6.0).reshape(2, 3), 'fortran': np.asfortranarray(np.ones((2, 2))),
    'text': np.array(['ab', 'c']), 'path': pathlib.PurePosixPath('a/b'), 'date': datetime.datetime(2024, 1, 2, 3), 'range': range(4),
    'slice': slice(1, 2), 'frozen': frozenset([1]), 'defaults': collections.defaultdict(list, a=[1]), 'state': np.random.RandomState(0).get_state()[0:3],
}

torch.save(checkpoint, at('zip', 'checkpoint_epoch_3_phase_1_1700000000.pth'))
torch.save({name: small(name) for name in kinds + new_kinds}, at('zip', 'kinds.pth'))
torch.save(odd, at('zip', 'odd.pth'))
torch.save(unsafe, at('zip', 'numpy.pth'))
torch.save(net, at('zip', 'module.pth'))
torch.save({'a': torch.ones(3), 'b': [1, 'x', (2.0, None)]}, at('zip', 'protocol4.pth'), pickle_protocol=4)
torch.serialization.set_crc32_options(False)
torch.save(net.state_dict(), at('zip', 'no_crc.pth'))
torch.serialization.set_crc32_options(True)
old = {key: value for key, value in odd.items() if key not in ('meta', 'channels', 'quantized')}
torch.save(old, at('legacy', 'odd.pth'), _use_new_zipfile_serialization=False)
torch.save(checkpoint, at('legacy', 'checkpoint.pth'), _use_new_zipfile_serialization=False)
torch.jit.save(torch.jit.trace(net, torch.randn(4, 2, 8)), at('jit', 'traced.pt'))
with open(at('cpp', 'pickle_save.pt'), 'wb') as file:
    file.write(torch._C._pickle_save({'a': torch.ones(3), 'b': torch.arange(4)}))
torch.export.save(torch.export.export(net.eval(), (torch.randn(4, 2, 8),)), at('pt2', 'model.pt2'))
dcp.save({'model': net.state_dict(), 'epoch': 3}, checkpoint_id=at('distributed', 'step_1', 'x')[:-2], no_dist=True)


def safetensors(tensors, metadata=None):
    header, data = {}, b''
    if metadata is not None: header['__metadata__'] = metadata
    for name, (kind, array) in tensors.items():
        raw = array.tobytes()
        header[name] = {'dtype': kind, 'shape': list(array.shape), 'data_offsets': [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    return struct.pack('<Q', len(text)) + text + data


first = {'a.weight': ('F32', np.arange(6, dtype='<f4').reshape(2, 3)), 'a.bias': ('I64', np.arange(3, dtype='<i8'))}
second = {'b.weight': ('F16', np.ones((2, 2), '<f2')), 'b.mask': ('BOOL', np.array([True, False])), 'b.empty': ('U8', np.zeros((0,), 'u1'))}
with open(at('safetensors', 'model.safetensors'), 'wb') as file: file.write(safetensors({**first, **second}, {'format': 'pt'}))
with open(at('sharded', 'model-00001-of-00002.safetensors'), 'wb') as file: file.write(safetensors(first))
with open(at('sharded', 'model-00002-of-00002.safetensors'), 'wb') as file: file.write(safetensors(second))
names = {**{name: 'model-00001-of-00002.safetensors' for name in first}, **{name: 'model-00002-of-00002.safetensors' for name in second}}
with open(at('sharded', 'model.safetensors.index.json'), 'w') as file:
    json.dump({'metadata': {'total_size': 58}, 'weight_map': names}, file)


def tar_file(path):
    """The tar format as torch 0.1.1 wrote it: two tensors over one storage and one over another."""
    storages = [(10, 'cpu', torch.FloatStorage, np.arange(6, dtype='<f4')), (11, 'cpu', torch.LongStorage, np.arange(3, dtype='<i8'))]
    tensors = [(1, 10, torch.FloatTensor, (2, 3), (3, 1), 0), (2, 10, torch.FloatTensor, (3,), (1,), 3), (3, 11, torch.LongTensor, (3,), (1,), 0)]
    members = {'storages': io.BytesIO(), 'tensors': io.BytesIO(), 'pickle': io.BytesIO()}
    out = members['storages']
    pickle.dump(len(storages), out, protocol=2)
    for key, location, cls, values in storages:
        pickle.dump((key, location, cls), out, protocol=2)
        out.write(struct.pack('<q', values.size) + values.tobytes())
    pickle.dump([], out, protocol=2)
    out = members['tensors']
    pickle.dump(len(tensors), out, protocol=2)
    for key, storage, cls, sizes, strides, offset in tensors:
        pickle.dump((key, storage, cls), out, protocol=2)
        out.write(struct.pack('<i4x', len(sizes)) + struct.pack('<%dq' % len(sizes), *sizes) + struct.pack('<%dq' % len(sizes), *strides) + struct.pack('<q', offset))

    class Reference:
        def __init__(self, key): self.key = key

    class Pickler(pickle.Pickler):
        def persistent_id(self, value): return value.key if isinstance(value, Reference) else None

    Pickler(members['pickle'], protocol=2).dump({'a': Reference('1'), 'b': [Reference('2'), 7], 'c': Reference('3'), 'epoch': 4})
    with tarfile.open(path, 'w:', format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content.getvalue())
            content.seek(0)
            archive.addfile(info, content)


tar_file(at('tar', 'model.pth'))
