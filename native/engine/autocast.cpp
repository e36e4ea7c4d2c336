#include "engine/autocast.h"

#include <ATen/autocast_mode.h>

#include <chrono>

#include "engine/error.h"

namespace torchkeep::engine {
namespace {

/// Never destroyed: a session may end while the process exits.
std::timed_mutex& castTableMutex() {
  static auto* mutex = new std::timed_mutex();
  return *mutex;
}

}  // namespace

std::optional<c10::ScalarType> parseAutocastDtype(const std::string& name, const std::string& what) {
  if (name.empty()) return std::nullopt;
  if (name != "bfloat16") throw Error(ErrorCode::InvalidArgument, what + ": expected bfloat16, found \"" + name + "\"");
  return c10::ScalarType::BFloat16;
}

AutocastMode::AutocastMode(c10::DeviceType device, c10::ScalarType dtype, bool caches)
    : device_(device),
      wasEnabled_(at::autocast::is_autocast_enabled(device)),
      wasCaching_(at::autocast::is_autocast_cache_enabled()),
      previousDtype_(at::autocast::get_autocast_dtype(device)) {
  at::autocast::set_autocast_enabled(device_, true);
  at::autocast::set_autocast_dtype(device_, dtype);
  at::autocast::set_autocast_cache_enabled(caches);
}

AutocastMode::~AutocastMode() {
  at::autocast::set_autocast_enabled(device_, wasEnabled_);
  at::autocast::set_autocast_dtype(device_, previousDtype_);
  at::autocast::set_autocast_cache_enabled(wasCaching_);
}

Autocast::Autocast(c10::Device device, std::optional<c10::ScalarType> dtype, const std::atomic<bool>& stop) {
  if (!dtype) return;
  std::unique_lock<std::timed_mutex> lock(castTableMutex(), std::defer_lock);
  while (!lock.try_lock_for(std::chrono::milliseconds(2))) {
    if (stop.load(std::memory_order_relaxed)) return;
  }
  lock_ = std::move(lock);
  mode_.emplace(device.type(), *dtype, /*caches=*/true);
}

Autocast::~Autocast() {
  if (lock_.owns_lock()) at::autocast::clear_cache();
}

}  // namespace torchkeep::engine
