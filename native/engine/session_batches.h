// The batches of one operation. Includes torch: only engine/*.cpp may include this header.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "engine/session.h"

namespace torchkeep::engine {

/// Cuts a BatchSource into batches: model inputs, then targets.
class BatchReader {
 public:
  /// Checks everything that can be checked before the first step. Throws Error(InvalidArgument) or, for rows that do
  /// not exist, Error(Data).
  BatchReader(const BatchSource& source, c10::Device device);

  size_t count() const { return count_; }
  /// Batch number `index`; all its tensors are cut off from autograd.
  std::vector<at::Tensor> read(size_t index) const;

 private:
  void checkRows() const;
  void checkReady() const;

  const BatchSource& source_;
  const c10::Device device_;
  size_t count_ = 0;
};

}  // namespace torchkeep::engine
