// Looking for NaN and infinite values. Includes torch: only engine/*.cpp may include this header.
#pragma once

#include <ATen/core/Tensor.h>

namespace torchkeep::engine {

/// Whether every value is a finite number. One pass over the memory of dense floating tensors on the CPU, without
/// dispatch, so that looking at every gradient before every step costs next to nothing; of sparse tensors the stored
/// values count.
bool isAllFinite(const at::Tensor& tensor);

}  // namespace torchkeep::engine
