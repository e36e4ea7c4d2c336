"""Files for the checkpoint half of `npm run bench`, written by real torch.save.

usage: make_checkpoints.py perceptron|transformer FOLDER COUNT   COUNT checkpoints of 20 MB with Adam's moments, of different epochs and losses;
                                                                 prints bytes and tensors of each
       make_checkpoints.py random PATH GIB                       a checkpoint of random values
       make_checkpoints.py zeros PATH GIB                        a checkpoint of zeros
       make_checkpoints.py many PATH COUNT                       a state dict of COUNT tensors of 256 bytes

All tensors of the first and of `zeros` are zeros, and the files have holes in their place, so that 1,000 files take little of the disk. All else is what torch.save
writes, the CRC-32s included. Reading a hole costs less than reading bytes, which is to Python's advantage: it reads the tensors, `list` does not.
"""

import io
import os
import struct
import sys
import zipfile
import zlib
from collections import OrderedDict

import numpy as np
import torch
from torch import nn

block_bytes = 4096
epoch_mark, loss_mark = 0x5A5A5A5A, 5.123456789e-77


def training_checkpoint(model, optimizer, epoch, loss):
    rows = [
        {"epoch": row + 1, "phase": 1, "train_loss": 1 / (row + 1), "val_loss": 1.1 / (row + 1), "val_accuracy": 0.9, "learning_rate": 1e-3}
        for row in range(30)
    ]  # fmt: skip
    return {
        "version": "1.0",
        "timestamp": 1760000000,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "training_state": {"current_epoch": 30, "current_phase": 1, "best_val_loss": 0.03, "metrics_history": rows},
        "config": {"layers": 4, "width": 192, "dropout": 0.1},
        "validation_loss": loss,
        "is_best": False,
        "epoch": epoch,
        "phase": 1,
    }


def write_with_holes(path, data):
    """Writes the blocks of `data` that are not all zero."""
    padded = np.frombuffer(data + bytes(-len(data) % block_bytes), np.uint8).reshape(-1, block_bytes)
    with open(path, "wb") as file:
        for index in np.flatnonzero(padded.any(axis=1)):
            file.seek(int(index) * block_bytes)
            file.write(data[int(index) * block_bytes : (int(index) + 1) * block_bytes])
        file.truncate(len(data))


def make_model(name):
    """A model of 1.7 million parameters: in 8 tensors, or in 48."""
    if name == "perceptron":
        sizes = [512, 900, 900, 450, 1]
        layers = [(nn.Linear(a, b), nn.ReLU()) for a, b in zip(sizes, sizes[1:])]
        return nn.Sequential(*(module for pair in layers for module in pair))
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(192, 4, 768), 4, enable_nested_tensor=False)


def make_list(name, folder, count):
    """Saves one checkpoint; the others differ in epoch and loss, and so in the CRC-32 of the pickle."""
    model = make_model(name)
    optimizer = torch.optim.Adam(model.parameters())
    for parameter in model.parameters():
        parameter.data.zero_()
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    buffer = io.BytesIO()
    torch.save(training_checkpoint(model, optimizer, epoch_mark, loss_mark), buffer)
    template = buffer.getvalue()
    with zipfile.ZipFile(buffer) as archive:
        record = next(info for info in archive.infolist() if info.filename.endswith("/data.pkl"))
        pickle = archive.read(record)
    begin = template.index(pickle)
    old_crc = struct.pack("<I", record.CRC)
    for index in range(count):
        mine = pickle.replace(struct.pack("<i", epoch_mark), struct.pack("<i", index + 1))
        mine = mine.replace(struct.pack(">d", loss_mark), struct.pack(">d", 1 / (index + 1) + 0.01))
        data = template[:begin] + mine + template[begin + len(pickle) :]
        data = data.replace(old_crc, struct.pack("<I", zlib.crc32(mine)))
        write_with_holes(os.path.join(folder, f"checkpoint_epoch_{index + 1}_phase_1_{1760000000 + index}.pth"), data)
    print(len(template), 4 * len(list(model.parameters())))


class HoleWriter(io.RawIOBase):
    """A file in which long runs of zeros become holes."""

    def __init__(self, path):
        self.file = open(path, "wb")

    def write(self, data):
        if len(data) >= 1 << 16 and not np.frombuffer(data, np.uint8).any():
            self.file.seek(len(data), os.SEEK_CUR)
        else:
            self.file.write(data)
        return len(data)

    def close(self):
        if not self.file.closed:
            self.file.truncate()
            self.file.close()


def make_large(target, gib, values):
    """A model of 20 square matrices with Adam's moments: three tensors of the same size for each."""
    side = int((gib * 2**30 / 60 / 4) ** 0.5)

    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            for index in range(20):
                self.register_parameter(f"weight_{index}", nn.Parameter(values(side)))

    model = Bare()
    names = range(20)
    state = {index: {"step": torch.tensor(10.0), "exp_avg": values(side), "exp_avg_sq": values(side)} for index in names}
    group = {**torch.optim.Adam([torch.zeros(1, requires_grad=True)]).state_dict()["param_groups"][0], "params": list(names)}

    class Optimizer:
        def state_dict(self):
            return {"state": state, "param_groups": [group]}

    torch.save(training_checkpoint(model, Optimizer(), 30, 0.03), target)


command, path, amount = sys.argv[1:]
if command in ("perceptron", "transformer"):
    make_list(command, path, int(amount))
elif command == "many":
    torch.save(OrderedDict((f"layer.{index}.weight", torch.randn(64)) for index in range(int(amount))), path)
elif command == "random":
    make_large(path, float(amount), lambda side: torch.randn(side, side))
elif command == "zeros":
    writer = HoleWriter(path)
    # numpy's zeros take no memory until they are written to
    make_large(writer, float(amount), lambda side: torch.from_numpy(np.zeros((side, side), np.float32)))
    writer.close()
else:
    raise SystemExit(__doc__)
