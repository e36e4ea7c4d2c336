// torch.autocast. Includes torch: only engine/*.cpp may include this header.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <atomic>
#include <mutex>
#include <optional>
#include <string>

namespace torchkeep::engine {

/// `bfloat16`; absent for an empty name. Throws Error(InvalidArgument) for any other, beginning with `what`.
std::optional<c10::ScalarType> parseAutocastDtype(const std::string& name, const std::string& what);

/// Autocast on the calling thread for as long as it lives; then the thread is as it was. With `caches` the casts of
/// weights go through LibTorch's one table of casts for all threads, else they are made anew each time.
class AutocastMode {
 public:
  AutocastMode(c10::DeviceType device, c10::ScalarType dtype, bool caches);
  ~AutocastMode();
  AutocastMode(const AutocastMode&) = delete;
  AutocastMode& operator=(const AutocastMode&) = delete;

 private:
  const c10::DeviceType device_;
  const bool wasEnabled_;
  const bool wasCaching_;
  const c10::ScalarType previousDtype_;
};

/// `with torch.autocast(device, dtype)` around one pass of a session; nothing where `dtype` is absent. At its end the
/// weights that were cast are forgotten. Whether a weight that is used twice is cast once decides how its gradient is
/// rounded, and the table of casts is everybody's: so only one thread of the process is inside at a time. Where `stop`
/// is set while it waits, it is off: graphs end at their first node then.
class Autocast {
 public:
  Autocast(c10::Device device, std::optional<c10::ScalarType> dtype, const std::atomic<bool>& stop);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  std::unique_lock<std::timed_mutex> lock_;
  std::optional<AutocastMode> mode_;
};

}  // namespace torchkeep::engine
