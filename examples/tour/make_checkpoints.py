"""Writes a folder of checkpoints as a plain PyTorch script would, and harms three of them as life does. The README's tour of the commands looks at it.

    python make_checkpoints.py [FOLDER]

Needs torch and numpy. The result is the same every time: seeds and times are fixed.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "checkpoints")
started = 1760000000  # seconds since 1970

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)  # so that the printed digits are the same on every machine
x = torch.randn(256, 8)
y = x.pow(2).sum(1, keepdim=True)
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.BatchNorm1d(32), nn.Linear(32, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
history, best = [], float("inf")


def save(path, checkpoint):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)
    os.utime(path, (checkpoint["timestamp"], checkpoint["timestamp"]))


for epoch in range(1, 7):
    if epoch == 5:
        optimizer.param_groups[0]["lr"] = 2.0  # somebody's experiment
    model.train()
    for rows in torch.randperm(192).split(32):
        optimizer.zero_grad()
        train_loss = nn.functional.mse_loss(model(x[rows]), y[rows])
        train_loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        predicted = model(x[192:])
        val_loss = nn.functional.mse_loss(predicted, y[192:]).item()
    pearson = np.float64(np.corrcoef(predicted[:, 0], y[192:, 0])[0, 1])  # a numpy scalar, as metrics often are
    history.append({"epoch": epoch, "phase": 1, "train_loss": train_loss.item(), "val_loss": val_loss, "val_pearson": pearson})
    is_best = val_loss < best
    best = min(best, val_loss)
    timestamp = started + 60 * epoch
    checkpoint = {
        "version": "1.0",
        "timestamp": timestamp,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "training_state": {"current_epoch": epoch, "current_phase": 1, "best_val_loss": best, "metrics_history": list(history)},
        "config": {"hidden": 32, "learning_rate": optimizer.param_groups[0]["lr"]},
        "validation_loss": val_loss,
        "is_best": is_best,
        "epoch": epoch,
        "phase": 1,
    }
    save(folder / f"regular/checkpoint_epoch_{epoch}_phase_1_{timestamp}.pth", checkpoint)
    if is_best:
        save(folder / "best/latest_best.pth", checkpoint)


def harm(epoch, change):
    (path,) = folder.glob(f"regular/checkpoint_epoch_{epoch}_*.pth")
    times = path.stat()
    change(path)
    os.utime(path, (times.st_atime, times.st_mtime))


def cut(path):  # the machine went down while it was written
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size * 2 // 3)


def flip(path):  # a bad disk: one bit of a weight
    data = bytearray(path.read_bytes())
    weight = torch.load(path, weights_only=False)["model_state_dict"]["0.weight"]
    data[data.index(weight.numpy().tobytes()) + 2] ^= 1
    path.write_bytes(data)


def diverge(path):  # a loss that exploded
    checkpoint = torch.load(path, weights_only=False)
    checkpoint["model_state_dict"]["3.bias"][0] = float("nan")
    torch.save(checkpoint, path)


harm(2, cut)
harm(3, flip)
harm(6, diverge)
