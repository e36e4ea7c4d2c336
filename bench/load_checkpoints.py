"""The Python side of the checkpoint half of `npm run bench`, as one JSON line.

usage: load_checkpoints.py loop FOLDER        seconds of a loop of torch.load with its default arguments, importing torch not counted
       load_checkpoints.py tensors PATH N     microseconds a tensor of torch.load, by weights_only, the best of three
"""

import json
import sys
import time
from pathlib import Path

import torch


def seconds_of(act):
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


command, path = sys.argv[1:3]
if command == "loop":
    files = sorted(Path(path).glob("*.pth"))
    print(json.dumps({"seconds": seconds_of(lambda: [torch.load(file)["epoch"] for file in files])}))
else:
    count = int(sys.argv[3])
    best = {
        name: min(seconds_of(lambda safe=safe: torch.load(path, weights_only=safe)) for _ in range(3)) / count * 1e6
        for name, safe in [("safe", True), ("unsafe", False)]
    }
    print(json.dumps(best))
