// The caching allocator of host tensors. Includes c10: only engine/*.cpp may include this header.
#pragma once

#include <c10/core/Allocator.h>

#include <array>
#include <atomic>
#include <mutex>

#include "engine/memory.h"

namespace torchkeep::engine {

/// Keeps freed blocks over 128 KB for the next tensor of that size, instead of giving them back to the system: a
/// training step makes the same tensors over and over, and fresh memory costs a page fault every 4 KB (42 % of a step
/// with large activations). Blocks are binned in steps of an eighth of a power of two; the cache is capped and drops
/// what was freed longest ago. Smaller blocks go straight to malloc.
///
/// mimalloc was considered. It would be one more thing to build; it cannot replace malloc from inside an addon, so it
/// would serve the same calls as this class; it returns freed pages to the system on a timer (its purge delay), which
/// brings the page faults back between steps; and it knows neither our cap nor our statistics nor
/// c10::OutOfMemoryError.
///
/// All addon instances and threads of the process share one; it is never destroyed, as tensors may outlive everything
/// at exit.
class CpuAllocator final : public c10::Allocator {
 public:
  /// Limits in bytes: of the cache, and of all live host tensors together (0: none; tests use it to run out of memory
  /// at will).
  CpuAllocator(int64_t cacheLimit, int64_t allocationLimit)
      : cacheLimit_(cacheLimit), allocationLimit_(allocationLimit) {}

  c10::DataPtr allocate(size_t size) override;
  c10::DeleterFnPtr raw_deleter() const override;
  void copy_data(void* destination, const void* source, size_t count) const override;

  MemoryStats stats();
  void emptyCache();

 private:
  struct Block;

  void* take(size_t size);
  void give(Block* block) noexcept;
  Block* takeCached(size_t size) noexcept;
  void unlink(Block* block) noexcept;
  /// What the cache may hold now.
  int64_t cacheLimit() const noexcept;
  /// Unlinks the blocks freed longest ago until the cache holds at most `limit` bytes; returns them chained, for the
  /// caller to unmap unlocked.
  Block* evict(int64_t limit) noexcept;
  static void unmapChain(Block* block) noexcept;
  static void deleter(void* data);

  const int64_t cacheLimit_;
  const int64_t allocationLimit_;
  std::atomic<int64_t> allocatedBytes_ = 0;
  std::atomic<int64_t> peakAllocatedBytes_ = 0;
  /// Bytes of all large blocks, used and cached.
  std::atomic<int64_t> largeBytes_ = 0;
  std::atomic<int64_t> smallBytes_ = 0;

  std::mutex mutex_;
  /// Cached blocks by size, last freed first.
  std::array<Block*, 64 * 8> bins_ = {};
  Block* newest_ = nullptr;
  Block* oldest_ = nullptr;
  int64_t cachedBytes_ = 0;
};

/// The process's one allocator, installed with c10 on the first call.
CpuAllocator& cpuAllocator();

}  // namespace torchkeep::engine
