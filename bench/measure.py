"""Runs a command in a process of its own and prints, as one JSON line, its exit status, wall seconds, processor seconds and the most memory it held (ru_maxrss).

usage: measure.py COMMAND [ARGUMENT...]
"""

import json
import resource
import subprocess
import sys
import time

start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
seconds = time.perf_counter() - start
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(
    json.dumps(
        {
            "status": done.returncode,
            "seconds": seconds,
            "cpuSeconds": usage.ru_utime + usage.ru_stime,
            "maxRssMib": usage.ru_maxrss / 1024,
            "stderr": done.stderr,
        }
    )
)
