// torch.autocast for a session's thread. Includes torch: only engine/*.cpp may include this header.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <atomic>
#include <mutex>
#include <optional>

namespace torchkeep::engine {

/// `with torch.autocast(device, dtype)` on the calling thread for as long as it lives; nothing where `dtype` is absent.
/// At its end the weights that were cast are forgotten and the thread is as it was. LibTorch keeps the casts in one
/// table for all threads, and whether a weight that is used twice is cast once decides how its gradient is rounded: so
/// only one thread of the process is inside at a time. Where `stop` is set while it waits, it is off: graphs end at
/// their first node then.
class Autocast {
 public:
  Autocast(c10::Device device, std::optional<c10::ScalarType> dtype, const std::atomic<bool>& stop);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  const c10::DeviceType device_;
  std::unique_lock<std::timed_mutex> lock_;
  bool wasEnabled_ = false;
  bool wasCacheEnabled_ = false;
  c10::ScalarType previousDtype_ = c10::ScalarType::Undefined;
};

}  // namespace torchkeep::engine
