// Which storages running sessions own, so that nobody reads or writes a tensor in the middle of a training step.
// Any thread. While no session runs a query costs one atomic load. No torch, no napi in this header.
#pragma once

#include <vector>

#include "engine/value.h"

namespace torchkeep::engine {

/// Marks the storages of `tensors` as owned by a running session for as long as it lives.
class BusyStorages {
 public:
  BusyStorages() = default;
  explicit BusyStorages(const std::vector<TensorPtr>& tensors);
  ~BusyStorages();
  BusyStorages(BusyStorages&& other) noexcept : storages_(std::move(other.storages_)) { other.storages_.clear(); }
  BusyStorages& operator=(BusyStorages&& other) noexcept {
    storages_.swap(other.storages_);
    return *this;
  }

 private:
  std::vector<const void*> storages_;
};

/// True while any session runs anywhere in the process.
bool anyBusy() noexcept;
bool isBusy(const TensorPtr& tensor);
/// Throws Error(Busy) naming `what` if a running session owns the tensor's storage.
void refuseBusy(const TensorPtr& tensor, const std::string& what);

}  // namespace torchkeep::engine
