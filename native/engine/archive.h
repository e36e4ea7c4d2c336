// C++ LibTorch's own archives (`torch::save`, `torch::load`). No torch, no napi in this header.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/value.h"

namespace torchkeep::engine {

struct NamedTensor {
  /// Dotted, as a torch::nn::Module names it; a list has the names "0", "1"..., a bare tensor "0".
  std::string name;
  TensorPtr tensor;
  bool isBuffer = false;
};

/// Writes what `torch::save` of a module with these parameters and buffers would. Creates `path` exclusively; after a
/// failure it is removed.
void saveArchive(const std::string& path, const std::vector<NamedTensor>& tensors);

/// Reads every tensor by its dotted name. LibTorch's reader is not safe against hostile bytes: only for trusted files.
std::vector<NamedTensor> loadArchive(const std::string& path);

}  // namespace torchkeep::engine
