#include "engine/busy.h"

#include <atomic>
#include <mutex>
#include <unordered_map>

#include "engine/tensor.h"

namespace torchkeep::engine {
namespace {

struct Marks {
  int readers = 0;
  int writers = 0;
};

/// Marks by storage address. Never destroyed: a session may end while the process exits.
struct Registry {
  std::mutex mutex;
  std::unordered_map<const void*, Marks> storages;
  std::atomic<int> holders = 0;
};

Registry& registry() {
  static auto* instance = new Registry();
  return *instance;
}

const void* storageOf(const TensorPtr& tensor) {
  return tensor && tensor->value.defined() && tensor->value.has_storage()
             ? tensor->value.storage().unsafeGetStorageImpl()
             : nullptr;
}

int& counter(Marks& marks, Access access) { return access == Access::Write ? marks.writers : marks.readers; }

}  // namespace

BusyStorages::BusyStorages(const std::vector<TensorPtr>& tensors, Access access) : access_(access), marked_(true) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  for (const TensorPtr& tensor : tensors) {
    const void* storage = storageOf(tensor);
    if (storage == nullptr) continue;
    storages_.push_back(storage);
    counter(registry().storages[storage], access)++;
  }
  registry().holders++;
}

BusyStorages::~BusyStorages() { release(); }

BusyStorages::BusyStorages(BusyStorages&& other) noexcept
    : storages_(std::move(other.storages_)), access_(other.access_), marked_(std::exchange(other.marked_, false)) {}

BusyStorages& BusyStorages::operator=(BusyStorages&& other) noexcept {
  if (this != &other) {
    release();
    storages_ = std::move(other.storages_);
    access_ = other.access_;
    marked_ = std::exchange(other.marked_, false);
  }
  return *this;
}

void BusyStorages::release() noexcept {
  if (!std::exchange(marked_, false)) return;
  const std::lock_guard<std::mutex> lock(registry().mutex);
  for (const void* storage : storages_) {
    const auto entry = registry().storages.find(storage);
    counter(entry->second, access_)--;
    if (entry->second.readers + entry->second.writers == 0) registry().storages.erase(entry);
  }
  storages_.clear();
  registry().holders--;
}

bool anyBusy() noexcept { return registry().holders.load(std::memory_order_acquire) > 0; }

bool isBusy(const TensorPtr& tensor, Access access) {
  if (!anyBusy()) return false;
  const std::lock_guard<std::mutex> lock(registry().mutex);
  const auto entry = registry().storages.find(storageOf(tensor));
  if (entry == registry().storages.end()) return false;
  return entry->second.writers > 0 || (access == Access::Write && entry->second.readers > 0);
}

void refuseBusy(const TensorPtr& tensor, const std::string& what, Access access) {
  if (!isBusy(tensor, access)) return;
  throw Error(ErrorCode::Busy,
              what + ": the tensor is in use by a session's running chunk or a file being written; await that first");
}

}  // namespace torchkeep::engine
