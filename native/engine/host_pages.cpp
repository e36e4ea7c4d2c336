#include "engine/host_pages.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#ifdef _WIN32
#include <malloc.h>
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace torchkeep::engine {

#ifdef _WIN32

void* mapPages(size_t size) noexcept { return VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE); }

void unmapPages(void* pages, size_t) noexcept { VirtualFree(pages, 0, MEM_RELEASE); }

void* allocateAligned(size_t alignment, size_t size) noexcept { return _aligned_malloc(size, alignment); }

void freeAligned(void* data) noexcept { _aligned_free(data); }

int64_t availableMemoryBytes() noexcept {
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof(status);
  GlobalMemoryStatusEx(&status);
  return static_cast<int64_t>(status.ullTotalPhys);
}

#else

void* mapPages(size_t size) noexcept {
  constexpr size_t hugePageBytes = 2 << 20;
  // A larger range is mapped and its ends are cut off, since not every kernel aligns by itself.
  const size_t slack = size >= hugePageBytes ? hugePageBytes : 0;
  void* mapped = mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  if (slack == 0) return mapped;
  auto* begin = static_cast<char*>(mapped);
  const size_t head = (hugePageBytes - reinterpret_cast<uintptr_t>(begin) % hugePageBytes) % hugePageBytes;
  if (head > 0) munmap(begin, head);
  if (slack > head) munmap(begin + head + size, slack - head);
#ifdef MADV_HUGEPAGE
  madvise(begin + head, size, MADV_HUGEPAGE);
#endif
  return begin + head;
}

void unmapPages(void* pages, size_t size) noexcept { munmap(pages, size); }

void* allocateAligned(size_t alignment, size_t size) noexcept {
  void* data = nullptr;
  return posix_memalign(&data, alignment, size) == 0 ? data : nullptr;
}

void freeAligned(void* data) noexcept { free(data); }

int64_t availableMemoryBytes() noexcept {
  const int64_t pages = sysconf(_SC_PHYS_PAGES);
  const int64_t pageSize = sysconf(_SC_PAGESIZE);
  const int64_t physical = pages > 0 && pageSize > 0 ? pages * pageSize : int64_t{4} << 30;
  int64_t container = 0;
  std::ifstream limit("/sys/fs/cgroup/memory.max");  // absent, or the word "max", where there is no limit
  return limit >> container && container > 0 ? std::min(physical, container) : physical;
}

#endif

}  // namespace torchkeep::engine
