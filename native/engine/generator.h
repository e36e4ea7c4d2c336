// The engine's generator. Includes torch: only engine/*.cpp may include this header (bindings use engine/random.h).
#pragma once

#include <ATen/core/Generator.h>

#include <atomic>

#include "engine/value.h"

namespace torchkeep::engine {

/// Owns a CPU generator of its own, never the process-wide default one.
class Generator {
 public:
  explicit Generator(at::Generator value) : value(std::move(value)) {}
  at::Generator value;
  /// A running session draws from it.
  std::atomic<bool> busy = false;
};

inline GeneratorPtr wrapGenerator(at::Generator value) { return std::make_shared<Generator>(std::move(value)); }

}  // namespace torchkeep::engine
