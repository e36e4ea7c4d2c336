// Files with every result checked. No torch, no napi in this header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "engine/error.h"

namespace torchkeep::engine {

/// An open file. Paths are UTF-8. Any one thread at a time.
class File {
 public:
  /// Creates `path`, which must not exist yet. Throws Error(CheckpointWrite).
  static File create(const std::string& path);
  /// Opens `path` to read. Throws Error(CheckpointMissing) with the system's reason.
  static File open(const std::string& path);

  ~File();
  File(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  /// Throw Error(CheckpointWrite) naming the path and the system's reason.
  void write(const void* data, size_t size);
  void sync();
  void close();

  uint64_t sizeBytes() const;
  /// Reads exactly `size` bytes at `offset`, or throws Error(CheckpointCorrupt) where the file ends before.
  void read(void* data, size_t size, uint64_t offset) const;

  /// A private (copy on write) map of the whole file, unmapped with its last owner; null where the platform has none.
  std::shared_ptr<uint8_t> map() const;

 private:
  File(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

  std::string path_;
  int descriptor_;
};

/// Removes a file; false if it could not be removed.
bool removeFile(const std::string& path) noexcept;

}  // namespace torchkeep::engine
