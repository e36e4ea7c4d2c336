// The engine's tensor handle. Includes torch: only engine/*.cpp may include this header (bindings use engine/value.h).
#pragma once

#include <ATen/core/Tensor.h>

#include "engine/error.h"
#include "engine/value.h"

namespace torchkeep::engine {

/// Owns one reference to an at::Tensor. Shared by JavaScript handles and by work in flight.
class Tensor {
 public:
  explicit Tensor(at::Tensor value) : value(std::move(value)) {}
  at::Tensor value;
};

inline TensorPtr wrap(at::Tensor value) { return std::make_shared<Tensor>(std::move(value)); }

}  // namespace torchkeep::engine
