#include "engine/autocast.h"

#include <ATen/autocast_mode.h>

#include <chrono>

namespace torchkeep::engine {
namespace {

/// Never destroyed: a session may end while the process exits.
std::timed_mutex& castTableMutex() {
  static auto* mutex = new std::timed_mutex();
  return *mutex;
}

}  // namespace

Autocast::Autocast(c10::Device device, std::optional<c10::ScalarType> dtype, const std::atomic<bool>& stop)
    : device_(device.type()) {
  if (!dtype) return;
  std::unique_lock<std::timed_mutex> lock(castTableMutex(), std::defer_lock);
  while (!lock.try_lock_for(std::chrono::milliseconds(2))) {
    if (stop.load(std::memory_order_relaxed)) return;
  }
  lock_ = std::move(lock);
  wasEnabled_ = at::autocast::is_autocast_enabled(device_);
  wasCacheEnabled_ = at::autocast::is_autocast_cache_enabled();
  previousDtype_ = at::autocast::get_autocast_dtype(device_);
  at::autocast::set_autocast_enabled(device_, true);
  at::autocast::set_autocast_dtype(device_, *dtype);
  at::autocast::increment_nesting();
  at::autocast::set_autocast_cache_enabled(true);
}

Autocast::~Autocast() {
  if (!lock_.owns_lock()) return;
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device_, wasEnabled_);
  at::autocast::set_autocast_dtype(device_, previousDtype_);
  at::autocast::set_autocast_cache_enabled(wasCacheEnabled_);
}

}  // namespace torchkeep::engine
