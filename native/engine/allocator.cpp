// A caching CPU allocator for big blocks.
//
// glibc maps every big buffer anew and the kernel zeroes each of its pages again: with large activations that is some 40 % of a training
// step. Blocks above 128 KiB are therefore kept, up to a cap, in size classes of an eighth of a power of two, and handed out again
// (last freed first, since its pages are the warmest). What was unused longest goes back to the system when the cap is reached. Raising
// malloc's own thresholds does not help on a thread of one's own (its arenas are 64 MiB heaps), and a general allocator such as mimalloc
// would have to replace malloc in the whole process to help more than this file does. Any thread; one mutex.
#include "engine/allocator.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <list>
#include <mutex>
#include <unordered_map>
#include <vector>

#ifdef _WIN32
#include <malloc.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace torchkeep::engine {
namespace {

constexpr size_t alignmentBytes = 64;
constexpr size_t thresholdBytes = size_t{128} << 10;
constexpr size_t hugePageBytes = size_t{2} << 20;

void* systemAllocate(size_t sizeBytes) {
  const size_t alignment = sizeBytes >= hugePageBytes ? hugePageBytes : alignmentBytes;
#ifdef _WIN32
  return _aligned_malloc(sizeBytes, alignment);
#else
  void* pointer = nullptr;
  if (posix_memalign(&pointer, alignment, sizeBytes) != 0) return nullptr;
#ifdef MADV_HUGEPAGE
  if (sizeBytes >= hugePageBytes) madvise(pointer, sizeBytes, MADV_HUGEPAGE);  // advice: a kernel without it changes nothing
#endif
  return pointer;
#endif
}

void systemFree(void* pointer) {
#ifdef _WIN32
  _aligned_free(pointer);
#else
  std::free(pointer);
#endif
}

/// Rounds up to an eighth of the power of two below, so that at most 12.5 % are wasted and similar sizes meet.
size_t sizeClass(size_t sizeBytes) {
  const size_t step = std::bit_floor(sizeBytes) / 8;
  return (sizeBytes + step - 1) / step * step;
}

uint64_t environmentBytes(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? fallback : std::strtoull(text, nullptr, 10);
}

uint64_t defaultCacheBytes() {
  uint64_t machineBytes = uint64_t{8} << 30;
#ifndef _WIN32
  const long pages = sysconf(_SC_PHYS_PAGES), pageBytes = sysconf(_SC_PAGESIZE);
  if (pages > 0 && pageBytes > 0) machineBytes = static_cast<uint64_t>(pages) * static_cast<uint64_t>(pageBytes);
#endif
  return std::min<uint64_t>(machineBytes / 8, uint64_t{2} << 30);
}

class CachingAllocator final : public c10::Allocator {
 public:
  CachingAllocator()
      : cacheLimit_(environmentBytes("TORCHKEEP_CPU_CACHE_BYTES", defaultCacheBytes())),
        useLimit_(environmentBytes("TORCHKEEP_CPU_LIMIT_BYTES", UINT64_MAX)) {}

  c10::DataPtr allocate(size_t sizeBytes) override {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (sizeBytes == 0) return {nullptr, nullptr, &freeSmall, cpu};
    if (sizeBytes <= thresholdBytes) {
      void* pointer = systemAllocate(sizeBytes);
      if (pointer == nullptr) {
        const std::lock_guard lock(mutex_);
        fail(sizeBytes);
      }
      return {pointer, pointer, &freeSmall, cpu};
    }
    void* pointer = allocateBig(sizeBytes);
    return {pointer, pointer, &freeBig, cpu};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &freeAny; }

  void copy_data(void* destination, const void* source, size_t count) const override { default_copy_data(destination, source, count); }

  CpuMemory memory() {
    const std::lock_guard lock(mutex_);
    return {allocatedBytes_, allocatedBytes_ + cachedBytes_, peakAllocatedBytes_};
  }

  void emptyCache() {
    const std::lock_guard lock(mutex_);
    shrinkCacheTo(0);
  }

 private:
  using FreeBlocks = std::list<void*>;  // oldest first, over all size classes
  struct SizeClass {
    std::vector<FreeBlocks::iterator> free;  // last freed last
  };

  void* allocateBig(size_t sizeBytes) {
    const size_t blockBytes = sizeClass(sizeBytes);
    const std::lock_guard lock(mutex_);
    if (allocatedBytes_ + blockBytes > useLimit_) fail(sizeBytes);
    void* pointer = takeCached(blockBytes);
    if (pointer == nullptr) pointer = systemAllocate(blockBytes);
    if (pointer == nullptr) {
      shrinkCacheTo(0);
      pointer = systemAllocate(blockBytes);
    }
    if (pointer == nullptr) fail(sizeBytes);
    used_.emplace(pointer, blockBytes);
    allocatedBytes_ += blockBytes;
    peakAllocatedBytes_ = std::max(peakAllocatedBytes_, allocatedBytes_);
    return pointer;
  }

  /// False when the pointer is none of the big blocks.
  bool release(void* pointer) {
    const std::lock_guard lock(mutex_);
    const auto found = used_.find(pointer);
    if (found == used_.end()) return false;
    const size_t blockBytes = found->second;
    used_.erase(found);
    allocatedBytes_ -= blockBytes;
    if (blockBytes > cacheLimit_) {
      systemFree(pointer);
      return true;
    }
    shrinkCacheTo(cacheLimit_ - blockBytes);
    freeSizes_.emplace(pointer, blockBytes);
    classes_[blockBytes].free.push_back(freeBlocks_.insert(freeBlocks_.end(), pointer));
    cachedBytes_ += blockBytes;
    return true;
  }

  void* takeCached(size_t blockBytes) {
    const auto found = classes_.find(blockBytes);
    if (found == classes_.end() || found->second.free.empty()) return nullptr;
    const auto block = found->second.free.back();
    found->second.free.pop_back();
    void* pointer = *block;
    freeBlocks_.erase(block);
    freeSizes_.erase(pointer);
    cachedBytes_ -= blockBytes;
    return pointer;
  }

  void shrinkCacheTo(uint64_t limit) {
    while (cachedBytes_ > limit) {
      const auto oldest = freeBlocks_.begin();
      const size_t blockBytes = freeSizes_.at(*oldest);
      auto& free = classes_.at(blockBytes).free;
      free.erase(free.begin());  // within a class, too, the first is the oldest
      systemFree(*oldest);
      freeSizes_.erase(*oldest);
      freeBlocks_.erase(oldest);
      cachedBytes_ -= blockBytes;
    }
  }

  /// With the mutex held.
  [[noreturn]] void fail(size_t sizeBytes) const {
    TORCH_CHECK_WITH(OutOfMemoryError, false, "cannot allocate ", sizeBytes, " bytes on the CPU: ", allocatedBytes_, " bytes are in use",
                     useLimit_ == UINT64_MAX ? std::string() : ", the limit TORCHKEEP_CPU_LIMIT_BYTES is " + std::to_string(useLimit_));
  }

  static void freeSmall(void* pointer) { systemFree(pointer); }
  static void freeBig(void* pointer);
  static void freeAny(void* pointer);

  const uint64_t cacheLimit_;
  const uint64_t useLimit_;
  std::mutex mutex_;
  std::unordered_map<void*, size_t> used_;
  std::unordered_map<size_t, SizeClass> classes_;
  FreeBlocks freeBlocks_;
  std::unordered_map<void*, size_t> freeSizes_;
  uint64_t allocatedBytes_ = 0;
  uint64_t cachedBytes_ = 0;
  uint64_t peakAllocatedBytes_ = 0;
};

/// Never destroyed: tensors of other threads and of exit handlers may outlive static destruction.
CachingAllocator& allocator() {
  static CachingAllocator* const instance = new CachingAllocator();
  return *instance;
}

void CachingAllocator::freeBig(void* pointer) { allocator().release(pointer); }

void CachingAllocator::freeAny(void* pointer) {
  if (pointer != nullptr && !allocator().release(pointer)) systemFree(pointer);
}

}  // namespace

void installCpuAllocator() {
  static std::once_flag once;
  std::call_once(once, [] { c10::SetCPUAllocator(&allocator(), /*priority=*/1); });
}

CpuMemory cpuMemory() { return allocator().memory(); }

void emptyCpuCache() { allocator().emptyCache(); }

}  // namespace torchkeep::engine
