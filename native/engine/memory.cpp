#include "engine/memory.h"

#include <ATen/DeviceAccelerator.h>

#include "engine/cpu_allocator.h"
#include "engine/error.h"
#include "engine/names.h"

namespace torchkeep::engine {
namespace {

/// The device's own allocator; `device` has been parsed, so CUDA is loaded.
c10::DeviceAllocator& deviceAllocator(const c10::Device& device, const std::string& operation) {
  const auto accelerator = at::accelerator::getAccelerator();
  if (!accelerator.has_value() || *accelerator != device.type()) {
    throw Error(ErrorCode::InvalidArgument, operation + ": device: " + device.str() + " has no memory of its own here");
  }
  return *at::getDeviceAllocator(device.type());
}

}  // namespace

void installCpuAllocator() { cpuAllocator(); }

MemoryStats memoryStats(const std::string& name) {
  const c10::Device device = parseDevice(name, "memoryStats: device");
  if (device.is_cpu()) return cpuAllocator().stats();
  c10::DeviceAllocator& allocator = deviceAllocator(device, "memoryStats");
  if (!allocator.initialized()) return {};  // nothing was allocated there yet
  const auto stats = allocator.getDeviceStats(device.has_index() ? device.index() : 0);
  const auto aggregate = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return {stats.allocated_bytes[aggregate].current, stats.reserved_bytes[aggregate].current,
          stats.allocated_bytes[aggregate].peak};
}

void emptyCache(const std::string& name) {
  const c10::Device device = parseDevice(name, "emptyCache: device");
  if (device.is_cpu()) return cpuAllocator().emptyCache();
  c10::DeviceAllocator& allocator = deviceAllocator(device, "emptyCache");
  if (allocator.initialized()) allocator.emptyCache();
}

}  // namespace torchkeep::engine
