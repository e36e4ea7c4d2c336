// PyTorch's names of dtypes, layouts, memory formats and devices, both ways. Includes c10: only engine/*.cpp may
// include this header.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Layout.h>
#include <c10/core/MemoryFormat.h>
#include <c10/core/ScalarType.h>

#include <string>

namespace torchkeep::engine {

/// `'float32'` and so on, as `DType` of lib/contract.ts. Each parse function throws Error(InvalidArgument), its message
/// beginning with `what`.
c10::ScalarType parseDtype(const std::string& name, const std::string& what);
std::string dtypeName(c10::ScalarType dtype);

c10::Layout parseLayout(const std::string& name, const std::string& what);
std::string layoutName(c10::Layout layout);

c10::MemoryFormat parseMemoryFormat(const std::string& name, const std::string& what);
std::string memoryFormatName(c10::MemoryFormat format);

/// `'cpu'`, `'cuda'`, `'cuda:0'`, `'meta'`... The first CUDA device named loads libtorch_cuda; where that cannot be,
/// the error says why.
c10::Device parseDevice(const std::string& name, const std::string& what);

}  // namespace torchkeep::engine
