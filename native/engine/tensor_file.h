// Tensor files: one call streams a planned file out, one maps checked byte ranges of a file in. TypeScript
// (`src/format`) plans and parses; here are only bytes. No torch, no napi in this header.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/value.h"

namespace torchkeep::engine {

/// `FilePart` of lib/contract.ts.
struct FilePart {
  struct CrcPatch {
    uint64_t at;
    uint32_t slot;
  };
  /// A piece of given bytes; patched before it goes out.
  std::vector<uint8_t> bytes;
  std::vector<CrcPatch> crcPatches;
  /// Or, where not null, a byte range of this tensor's storage, whose CRC-32 goes into `crcSlot`.
  TensorPtr tensor;
  uint64_t offsetBytes = 0;
  uint64_t sizeBytes = 0;
  uint32_t crcSlot = 0;
};

struct WrittenFile {
  uint64_t sizeBytes = 0;
  std::vector<uint32_t> crc32;
};

/// Checks ranges, slots and whether the tensors are free. Throws Error(InvalidArgument or Busy) before anything is
/// written. JavaScript thread.
void checkParts(const std::vector<FilePart>& parts);

/// Creates `path` exclusively and writes the parts, which checkParts has passed. Durable when it returns, if `fsync`.
/// After a failure the file is removed and Error(CheckpointWrite) names path and reason. Any thread.
WrittenFile writeTensorFile(const std::string& path, std::vector<FilePart>& parts, bool fsync);

/// `MapTensorFileOptions` of lib/contract.ts.
struct TensorFileMap {
  struct Storage {
    uint64_t offsetBytes;
    uint64_t sizeBytes;
    std::optional<uint32_t> crc32;
  };
  struct Tensor {
    int64_t storage;
    std::string dtype;
    std::vector<int64_t> sizes;
    std::vector<int64_t> strides;
    int64_t storageOffset;
  };
  std::string path;
  std::vector<Storage> storages;
  std::vector<Tensor> tensors;
  /// Map the file; else read it.
  bool map;
};

/// Makes the tensors; those of one storage share it. Throws Error: CheckpointMissing, CheckpointCorrupt (with
/// `storage`), InvalidArgument. Any thread.
std::vector<TensorPtr> mapTensorFile(const TensorFileMap& file);

}  // namespace torchkeep::engine
