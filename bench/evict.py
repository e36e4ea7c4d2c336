"""Takes a file out of the page cache, so that the next reading is one of the disk.

usage: evict.py PATH
"""

import os
import sys

file = os.open(sys.argv[1], os.O_RDONLY)
os.fsync(file)
os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
os.close(file)
