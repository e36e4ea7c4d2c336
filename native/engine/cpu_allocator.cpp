#include "engine/cpu_allocator.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>

#include "engine/host_pages.h"

namespace torchkeep::engine {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kLargeBytes = 128 << 10;
/// What the cache may hold beyond the peak of live tensors.
constexpr int64_t kSlackBytes = 64 << 20;

/// The size of the block for `size` bytes: rounded up to an eighth of the power of two below it, which is whole pages
/// for large blocks.
size_t binSize(size_t size) {
  const size_t step = std::bit_floor(size) / 8;
  return (size + step - 1) / step * step;
}

/// The bin of a block whose size came from binSize.
size_t binIndex(size_t size) {
  const size_t power = std::bit_floor(size);
  return std::countr_zero(power) * size_t{8} + (size - power) / (power / 8);
}

/// A limit from the environment in bytes, or `otherwise`.
int64_t limitFrom(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return otherwise;
  char* end = nullptr;
  const int64_t bytes = std::strtoll(text, &end, 10);
  TORCH_CHECK(*end == '\0' && bytes >= 0, name, ": expected a number of bytes, found '", text, "'");
  return bytes;
}

}  // namespace

/// Stands in front of every block, so that data stays on a 64-byte boundary and one deleter serves both kinds.
struct alignas(kAlignment) CpuAllocator::Block {
  /// What the tensor asked for.
  size_t size;
  /// The whole block with this header, 0 for a small one from malloc.
  size_t mappedSize;
  /// Neighbours in the order of being freed, while cached.
  Block* newer;
  Block* older;
  /// Neighbours in the bin, while cached.
  Block* nextInBin;
  Block* previousInBin;

  void* data() { return this + 1; }
  static Block* of(void* data) { return static_cast<Block*>(data) - 1; }
};

c10::DataPtr CpuAllocator::allocate(size_t size) {
  const c10::Device cpu(c10::DeviceType::CPU);
  if (size == 0) return {nullptr, nullptr, &deleter, cpu};
  void* data = take(size);
  return {data, data, &deleter, cpu};
}

c10::DeleterFnPtr CpuAllocator::raw_deleter() const { return &deleter; }

void CpuAllocator::copy_data(void* destination, const void* source, size_t count) const {
  default_copy_data(destination, source, count);
}

void* CpuAllocator::take(size_t size) {
  const auto bytes = static_cast<int64_t>(size);
  Block* block = nullptr;
  size_t mappedSize = 0;
  // A size near 2^63 is a mistake in the caller's arithmetic; adding to it must not wrap.
  if (bytes > 0 && bytes < INT64_MAX / 2 && (allocationLimit_ == 0 || allocatedBytes_ + bytes <= allocationLimit_)) {
    if (size > kLargeBytes) {
      mappedSize = binSize(size + sizeof(Block));
      block = takeCached(mappedSize);
      if (block != nullptr) {
        mappedSize = block->mappedSize;
      } else {
        block = static_cast<Block*>(mapPages(mappedSize));
        if (block == nullptr) {
          emptyCache();
          block = static_cast<Block*>(mapPages(mappedSize));
        }
        if (block != nullptr) largeBytes_ += static_cast<int64_t>(mappedSize);
      }
    } else {
      block = static_cast<Block*>(allocateAligned(kAlignment, size + sizeof(Block)));
      if (block != nullptr) smallBytes_ += bytes;
    }
  }
  if (block == nullptr) {
    const std::string limit =
        allocationLimit_ == 0 ? "" : " (TORCHKEEP_HOST_LIMIT_BYTES is " + std::to_string(allocationLimit_) + ")";
    TORCH_CHECK_WITH(OutOfMemoryError, false, "the host is out of memory: no room for a tensor of ", size,
                     " bytes; tensors hold ", allocatedBytes_.load(), " bytes", limit);
  }
  block->size = size;
  block->mappedSize = mappedSize;
  const int64_t now = allocatedBytes_ += bytes;
  int64_t peak = peakAllocatedBytes_;
  while (now > peak && !peakAllocatedBytes_.compare_exchange_weak(peak, now)) {
  }
  return block->data();
}

void CpuAllocator::deleter(void* data) {
  if (data != nullptr) cpuAllocator().give(Block::of(data));
}

void CpuAllocator::give(Block* block) noexcept {
  const auto size = static_cast<int64_t>(block->size);
  allocatedBytes_ -= size;
  if (block->mappedSize == 0) {
    smallBytes_ -= size;
    freeAligned(block);
    return;
  }
  Block* evicted = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    Block*& bin = bins_[binIndex(block->mappedSize)];
    block->nextInBin = bin;
    block->previousInBin = nullptr;
    if (bin != nullptr) bin->previousInBin = block;
    bin = block;
    block->older = newest_;
    block->newer = nullptr;
    (newest_ != nullptr ? newest_->newer : oldest_) = block;
    newest_ = block;
    cachedBytes_ += static_cast<int64_t>(block->mappedSize);
    evicted = evict(cacheLimit());
  }
  unmapChain(evicted);
}

CpuAllocator::Block* CpuAllocator::takeCached(size_t size) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  // The next larger bin serves too: tensors of nearly the same size then share blocks.
  for (const size_t candidate : {size, binSize(size + 1)}) {
    Block* block = bins_[binIndex(candidate)];
    if (block == nullptr) continue;
    unlink(block);
    return block;
  }
  return nullptr;
}

void CpuAllocator::unlink(Block* block) noexcept {
  (block->previousInBin != nullptr ? block->previousInBin->nextInBin : bins_[binIndex(block->mappedSize)]) =
      block->nextInBin;
  if (block->nextInBin != nullptr) block->nextInBin->previousInBin = block->previousInBin;
  (block->newer != nullptr ? block->newer->older : newest_) = block->older;
  (block->older != nullptr ? block->older->newer : oldest_) = block->newer;
  cachedBytes_ -= static_cast<int64_t>(block->mappedSize);
}

int64_t CpuAllocator::cacheLimit() const noexcept {
  // With a quarter for rounding and for sizes that change, the whole never takes much more than the tensors once did at
  // their most.
  const int64_t peak = peakAllocatedBytes_;
  return std::min(cacheLimit_, peak + peak / 4 + kSlackBytes - allocatedBytes_);
}

CpuAllocator::Block* CpuAllocator::evict(int64_t limit) noexcept {
  Block* chain = nullptr;
  while (cachedBytes_ > limit) {
    Block* block = oldest_;
    unlink(block);
    block->nextInBin = chain;
    chain = block;
    largeBytes_ -= static_cast<int64_t>(block->mappedSize);
  }
  return chain;
}

void CpuAllocator::unmapChain(Block* block) noexcept {
  while (block != nullptr) {
    Block* next = block->nextInBin;
    unmapPages(block, block->mappedSize);
    block = next;
  }
}

MemoryStats CpuAllocator::stats() { return {allocatedBytes_, largeBytes_ + smallBytes_, peakAllocatedBytes_}; }

void CpuAllocator::emptyCache() {
  Block* evicted = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    evicted = evict(0);
  }
  unmapChain(evicted);
}

CpuAllocator& cpuAllocator() {
  static CpuAllocator* instance = [] {
    auto* allocator = new CpuAllocator(limitFrom("TORCHKEEP_HOST_CACHE_BYTES", availableMemoryBytes() / 4),
                                       limitFrom("TORCHKEEP_HOST_LIMIT_BYTES", 0));
    c10::SetCPUAllocator(allocator, /*priority=*/1);
    return allocator;
  }();
  return *instance;
}

}  // namespace torchkeep::engine
