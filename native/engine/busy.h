// Which storages work in flight uses, so that nobody sees or makes a half-updated tensor: a running session owns those
// of its parameters and buffers, a file being written reads those of its tensors. Any thread. While nothing is marked a
// query costs one atomic load. No torch, no napi in this header.
#pragma once

#include <string>
#include <vector>

#include "engine/value.h"

namespace torchkeep::engine {

/// Read: others may read too. Write: nobody else may touch the tensor.
enum class Access { Read, Write };

/// Marks the storages of some tensors for as long as it lives. It does not check: call refuseBusy first, on the
/// JavaScript thread.
class BusyStorages {
 public:
  /// Marks nothing.
  BusyStorages() = default;
  explicit BusyStorages(const std::vector<TensorPtr>& tensors, Access access = Access::Write);
  ~BusyStorages();
  BusyStorages(BusyStorages&& other) noexcept;
  BusyStorages& operator=(BusyStorages&& other) noexcept;

 private:
  void release() noexcept;

  std::vector<const void*> storages_;
  Access access_ = Access::Write;
  bool marked_ = false;
};

/// True while anything is marked anywhere in the process.
bool anyBusy() noexcept;

/// Whether the marks of others forbid `access` to the tensor.
bool isBusy(const TensorPtr& tensor, Access access = Access::Read);

/// Throws Error(Busy) beginning with `what` where isBusy.
void refuseBusy(const TensorPtr& tensor, const std::string& what, Access access = Access::Read);

}  // namespace torchkeep::engine
