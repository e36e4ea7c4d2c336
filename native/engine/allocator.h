// The caching CPU allocator. No torch, no napi in this header.
#pragma once

#include <cstddef>
#include <cstdint>

namespace torchkeep::engine {

/// Counts of the CPU allocator, in bytes. Only blocks above its threshold (128 KiB) are counted: smaller ones go straight to malloc.
struct CpuMemory {
  uint64_t allocatedBytes;      ///< in use by tensors
  uint64_t reservedBytes;       ///< in use, and kept for reuse
  uint64_t peakAllocatedBytes;  ///< the most that was in use at once
};

/// Makes the caching allocator LibTorch's CPU allocator, for the whole process, once (later calls do nothing). Call it before the first tensor
/// exists. Two limits are read from the environment here: `TORCHKEEP_CPU_CACHE_BYTES` (what may be kept for reuse; default an eighth of the
/// machine's memory, at most 2 GiB) and `TORCHKEEP_CPU_LIMIT_BYTES` (what tensors may use at once; beyond it an allocation fails as if the
/// machine had no more; default none). A failed allocation throws c10::OutOfMemoryError.
void installCpuAllocator();

CpuMemory cpuMemory();

/// Gives every block that is kept for reuse back to the system.
void emptyCpuCache();

}  // namespace torchkeep::engine
