// Devices. libtorch_cuda is loaded by us, before the first question about CUDA. No torch, no napi in this header.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace torchkeep::engine {

struct DeviceDescription {
  std::string device;
  std::string name;
  std::optional<int64_t> totalBytes;
};

struct Devices {
  std::vector<DeviceDescription> devices;
  /// Why CUDA cannot be used; empty when it can.
  std::string cudaUnavailable;
};

/// All usable devices. Loads libtorch_cuda on the first call when it is there. Any thread.
Devices devices();

/// Throws Error(InvalidArgument) beginning with `what` unless CUDA device `index` can be used.
void requireCuda(int index, const std::string& what);

}  // namespace torchkeep::engine
