// Memory of devices and of the host. No torch, no napi in this header.
#pragma once

#include <cstdint>
#include <string>

namespace torchkeep::engine {

/// Installs the caching CPU allocator (cpu_allocator.cpp) for the whole process, once; before any tensor exists. Any
/// thread.
void installCpuAllocator();

struct MemoryStats {
  /// In tensors now.
  int64_t allocatedBytes = 0;
  /// Taken from the system: allocated, rounding and cache.
  int64_t reservedBytes = 0;
  int64_t peakAllocatedBytes = 0;
};

MemoryStats memoryStats(const std::string& device);

/// Gives cached blocks back to the system.
void emptyCache(const std::string& device);

}  // namespace torchkeep::engine
