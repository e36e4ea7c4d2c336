/** Python that writes the fixtures of the container tests. */

/** A small module as `net`. */
export const net = `
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        self.register_buffer('mask', torch.arange(4) % 2 == 0)
    def forward(self, x):
        return self.body(x) * self.mask + torch.tensor([1., 2., 3., 4.])
net = Net().eval()`

/** Rewrites a torch.save file record by record: \`rezip(from, to, change)\`. */
export const rezip = `
def rezip(old, new, change=lambda name, data: data, target=None, folders=False):
    with zipfile.ZipFile(old) as source, zipfile.ZipFile(target or new, 'w') as copy:
        if folders:
            copy.mkdir('folder'); copy.mkdir('folder/data')
        for name in source.namelist():
            data = change(name.split('/', 1)[1], source.read(name))
            if data is not None: copy.writestr('folder/' + name.split('/', 1)[1], data)
class Unseekable(io.RawIOBase):
    def __init__(self, path): self.file = open(path, 'wb')
    def writable(self): return True
    def seekable(self): return False
    def write(self, data): return self.file.write(data)
    def close(self): self.file.close(); super().close()
def swapped(name, data):
    if name == 'byteorder': return b'big'
    if not name.startswith('data/'): return data
    import numpy
    widths = {'0': 4, '1': 8, '2': 2, '3': 4, '4': 1, '5': 2, '6': 1}
    return numpy.frombuffer(data, 'u%d' % widths[name[5:]]).byteswap().tobytes()`

/** Writes safetensors by its specification: `write_safetensors(tensors, path, metadata)`. */
export const safetensors = `
def write_safetensors(tensors, path, metadata=None):
    names = {torch.float32: 'F32', torch.float64: 'F64', torch.int64: 'I64', torch.bfloat16: 'BF16', torch.uint8: 'U8', torch.bool: 'BOOL',
             torch.complex64: 'C64', torch.float8_e4m3fn: 'F8_E4M3', torch.uint16: 'U16'}
    header, data = {}, b''
    if metadata is not None: header['__metadata__'] = metadata
    for name, t in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        raw = bytes(t.contiguous().reshape(-1).view(torch.uint8).tolist()) if t.dim() else bytes(t.reshape(1).view(torch.uint8).tolist())
        header[name] = {'dtype': names[t.dtype], 'shape': list(t.size()), 'data_offsets': [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f: f.write(struct.pack('<Q', len(text)) + text + data)
few = {'w': torch.arange(6.).reshape(2, 3), 'step': torch.tensor(7), 'half': torch.ones(3).bfloat16(), 'mask': torch.tensor([True, False]),
       'z': torch.tensor([1+2j]), 'e': torch.zeros(0, 2), 'f8': torch.ones(4).to(torch.float8_e4m3fn), 'u': torch.tensor([65535]).to(torch.uint16)}
def by_header(path):
    with open(path, 'rb') as f: head = json.loads(f.read(struct.unpack('<Q', f.read(8))[0]))
    return [name for name in head if name != '__metadata__']`

/** A tar file as PyTorch 0.1.x wrote it. */
export const tar = `
import pickle, tarfile
def write_tar(path, storages, views, tensors, value, keys):
    def add(archive, name, data):
        info = tarfile.TarInfo(name); info.size = len(data); info.mtime = 1.5
        archive.addfile(info, io.BytesIO(data))
    dump = lambda v: pickle.dumps(v, 2)
    part = dump(len(storages))
    for key, (location, t) in storages.items():
        part += dump_storage(key, location, t)
    part += dump(views)
    second = dump(len(tensors))
    for key, (storage, name, sizes, strides, offset) in tensors.items():
        second += dump_class(key, storage, name) + struct.pack('<iI', len(sizes), 0)
        second += struct.pack('<%dq' % (2 * len(sizes) + 1), *sizes, *strides, offset)
    class Pickler(pickle.Pickler):
        def persistent_id(self, o): return keys.get(id(o))
    out = io.BytesIO(); Pickler(out, 2).dump(value)
    with tarfile.open(path, 'w:', format=tarfile.PAX_FORMAT) as archive:
        add(archive, 'storages', part); add(archive, 'tensors', second); add(archive, 'pickle', out.getvalue())
def dump_class(key, storage, name):
    return pickle_with_global((key, storage), name)
def pickle_with_global(first, name):
    # a tuple of two values and a class
    return b'\\x80\\x02' + b'(' + b''.join(pickle.dumps(x, 2)[2:-1] for x in first) + b'ctorch\\n' + name.encode() + b'\\nt.'
def dump_storage(key, location, t):
    name = t.storage()._pickle_storage_type()
    data = bytes(t.reshape(-1).view(torch.uint8).tolist())
    return pickle_with_global((key, location), name) + struct.pack('<q', t.numel()) + data
a, b = torch.arange(12.), torch.tensor([5, -6, 7])
x, y = object(), object()
`
