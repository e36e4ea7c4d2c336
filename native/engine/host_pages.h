// Memory from the operating system. No torch, no napi in this header.
#pragma once

#include <cstddef>
#include <cstdint>

namespace torchkeep::engine {

/// Fresh pages, from 2 MB up on a 2 MB boundary with huge pages advised; null when there are none.
void* mapPages(size_t size) noexcept;
void unmapPages(void* pages, size_t size) noexcept;

/// From malloc; null when there is none.
void* allocateAligned(size_t alignment, size_t size) noexcept;
void freeAligned(void* data) noexcept;

/// Memory of the machine, or of the container where that is less.
int64_t availableMemoryBytes() noexcept;

}  // namespace torchkeep::engine
