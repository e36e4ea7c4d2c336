// CRC-32 (the zip one, polynomial 0xedb88320). No torch, no napi in this header.
#pragma once

#include <cstddef>
#include <cstdint>

namespace torchkeep::engine {

/// Continues `crc` (0 at first) over `data`. Any thread.
uint32_t crc32(uint32_t crc, const void* data, size_t size) noexcept;

}  // namespace torchkeep::engine
