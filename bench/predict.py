"""The Python side of `npm run bench -- inference`: predictions a second of plain PyTorch under inference_mode, and the files that the Node side runs.

usage: predict.py MODEL ROWS SECONDS  ->  one JSON line
       predict.py export MODEL FILE
"""

import json
import sys
import time

import torch
from torch import nn

torch.set_num_threads(1)


def made(name):
    """The model in evaluation mode, and its input for so many rows."""
    torch.manual_seed(0)
    if name == "mlp":
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)).eval(), lambda rows: torch.randn(rows, 64)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.25), nn.Linear(32 * 7 * 7, 10),
    )  # fmt: skip
    return model.eval(), lambda rows: torch.randn(rows, 1, 28, 28)


if sys.argv[1] == "export":
    model, inputs = made(sys.argv[2])
    rows = {0: torch.export.Dim("rows", min=1, max=1024)}
    torch.export.save(torch.export.export(model, (inputs(4),), dynamic_shapes=(rows,)), sys.argv[3])
    sys.exit()

rows, seconds = int(sys.argv[2]), float(sys.argv[3])
model, inputs = made(sys.argv[1])
batch = inputs(rows)


def predict_for(duration):
    """Predictions a second over so many seconds."""
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < duration:
        model(batch)
        done += 1
    return done / (time.perf_counter() - start)


with torch.inference_mode():
    predict_for(0.3)  # warm-up
    print(json.dumps({"predictionsPerSecond": predict_for(seconds)}))
