"""The Python side of `npm run bench`: training steps a second of plain PyTorch, the same model, data and optimizer as bench/train-steps.mjs.

usage: train_steps.py MODEL OPTIMIZER THREADS SECONDS  ->  one JSON line
"""

import json
import sys
import time

import torch
from torch import nn

model_name, optimizer_name, threads, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
torch.set_num_threads(threads)
torch.manual_seed(0)

if model_name == "mlp":
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    x, y = torch.randn(4096, 64), torch.randn(4096, 1)
    criterion = nn.MSELoss()
else:
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.25), nn.Linear(32 * 7 * 7, 10),
    )  # fmt: skip
    x, y = torch.randn(2048, 1, 28, 28), torch.randint(0, 10, (2048,))
    criterion = nn.CrossEntropyLoss()
optimizer = getattr(torch.optim, optimizer_name)(model.parameters(), lr=1e-3)
batch_size = 32


def epoch(deadline):
    """One shuffled pass; returns the steps done before the deadline."""
    steps = 0
    for indices in torch.randperm(len(x)).split(batch_size):
        optimizer.zero_grad()
        loss = criterion(model(x[indices]), y[indices])
        loss.item()  # the Node side reports every loss and checks that it is finite
        loss.backward()
        optimizer.step()
        steps += 1
        if time.perf_counter() >= deadline:
            break
    return steps


epoch(time.perf_counter() + 0.5)  # warm-up
start, steps = time.perf_counter(), 0
while time.perf_counter() - start < seconds:
    steps += epoch(start + seconds)
print(json.dumps({"stepsPerSecond": steps / (time.perf_counter() - start)}))
