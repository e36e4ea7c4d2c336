// Tensors in and out, and what is known of them. No torch, no napi in this header.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/value.h"

namespace torchkeep::engine {

/// `TensorInfo` of lib/contract.ts.
struct TensorInfo {
  std::string dtype;
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;
  int64_t storageOffset;
  std::string device;
  bool requiresGrad;
  bool isLeaf;
  bool isContiguous;
  std::string storageId;
  int64_t storageSizeBytes;
  /// Empty where there is none.
  std::string gradFn;
};

/// A storage's identity and size. `id` is null for a tensor without storage.
struct StorageFacts {
  const void* id;
  int64_t sizeBytes;
};

StorageFacts storageFacts(const TensorPtr& tensor);
TensorInfo tensorInfo(const TensorPtr& tensor);

/// Copies `data` (little-endian values of `dtype`, C order) into a new tensor.
TensorPtr tensorFromData(const std::string& dtype, const std::vector<int64_t>& sizes, std::span<const uint8_t> data,
                         const std::string& device);

/// A tensor's values made readable in C order on the host: shares its memory when that is possible, else a copy.
struct HostData {
  std::span<const uint8_t> bytes;
  /// Keeps `bytes` alive.
  TensorPtr owner;
};
HostData tensorToData(const TensorPtr& tensor);

/// `tensor.grad`, or null.
TensorPtr tensorGrad(const TensorPtr& tensor);
/// Sets `tensor.grad`; null clears it.
void setTensorGrad(const TensorPtr& tensor, const TensorPtr& grad);

}  // namespace torchkeep::engine
