#include "engine/devices.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Version.h>

#include <array>
#include <filesystem>

#include "engine/error.h"
#include "engine/shared_library.h"

namespace torchkeep::engine {
namespace {

#if defined(_WIN32)
constexpr const char* kTorchCuda = "torch_cuda.dll";
constexpr const char* kDriver = "nvcuda.dll";
#else
constexpr const char* kTorchCuda = "libtorch_cuda.so";
constexpr const char* kDriver = "libcuda.so.1";
#endif

/// The few functions of NVIDIA's driver that we ask directly; a stable C interface, so no CUDA headers are needed.
struct Driver {
  int (*init)(unsigned flags) = nullptr;
  int (*errorText)(int error, const char** text) = nullptr;
  int (*deviceGet)(int* device, int ordinal) = nullptr;
  int (*deviceName)(char* name, int size, int device) = nullptr;
};

struct Cuda {
  Driver driver;
  /// Why it cannot be used; empty when it can.
  std::string unavailable;
  int deviceCount = 0;
};

template <typename Function>
bool bind(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(findSymbol(library, name));
  return function != nullptr;
}

/// Loads libtorch_cuda, whose static initialisers register CUDA with ATen. That must come before ATen is first asked
/// about CUDA, since it remembers the answer. The driver is asked before, as loading takes a second and 0.5 GB of
/// address space for nothing without one.
Cuda loadCuda() {
  Cuda cuda;
  const auto folder = std::filesystem::path(libraryOf(reinterpret_cast<const void*>(&at::show_config))).parent_path();
  const auto library = folder / kTorchCuda;
  if (!std::filesystem::exists(library)) {
    cuda.unavailable = "this LibTorch is a CPU build (" + library.string() + " does not exist)";
    return cuda;
  }
  std::string error;
  void* driver = loadLibrary(kDriver, error);
  if (driver == nullptr) {
    cuda.unavailable = "the NVIDIA driver is not installed (" + error + ")";
    return cuda;
  }
  if (!bind(driver, "cuInit", cuda.driver.init) || !bind(driver, "cuGetErrorString", cuda.driver.errorText) ||
      !bind(driver, "cuDeviceGet", cuda.driver.deviceGet) || !bind(driver, "cuDeviceGetName", cuda.driver.deviceName)) {
    cuda.unavailable = std::string("the NVIDIA driver (") + kDriver + ") lacks functions that every version has";
    return cuda;
  }
  if (const int status = cuda.driver.init(0); status != 0) {
    const char* text = nullptr;
    cuda.driver.errorText(status, &text);
    cuda.unavailable = "the NVIDIA driver does not start: " + std::string(text != nullptr ? text : "unknown error") +
                       " (" + std::to_string(status) + ")";
    return cuda;
  }
  if (loadLibrary(library.string(), error) == nullptr) {
    cuda.unavailable = "libtorch_cuda does not load: " + error;
    return cuda;
  }
  cuda.deviceCount = at::globalContext().hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0;
  if (cuda.deviceCount == 0)
    cuda.unavailable = "LibTorch finds no CUDA device that it can use (CUDA_VISIBLE_DEVICES? a driver too old for it?)";
  return cuda;
}

/// Never destroyed: libtorch_cuda has its own order of ending.
const Cuda& cuda() {
  static const auto* instance = new Cuda(loadCuda());
  return *instance;
}

std::string deviceName(const c10::Device& device) {
  std::array<char, 256> name{};
  int handle = 0;
  const Driver& driver = cuda().driver;
  if (device.is_cuda() && driver.deviceGet(&handle, device.index()) == 0 &&
      driver.deviceName(name.data(), name.size(), handle) == 0) {
    return name.data();
  }
  return device.str();
}

/// LibTorch before 2.10 cannot tell, and neither can every accelerator.
template <typename Allocator>
std::optional<int64_t> totalBytes(Allocator* allocator, const c10::Device& device) {
  if constexpr (requires { allocator->getMemoryInfo(device.index()); }) {
    try {
      return static_cast<int64_t>(allocator->getMemoryInfo(device.index()).second);
    } catch (const c10::NotImplementedError&) {
      return std::nullopt;
    }
  }
  return std::nullopt;
}

}  // namespace

Devices devices() {
  Devices result;
  result.cudaUnavailable = cuda().unavailable;
  result.devices.push_back({"cpu", at::get_cpu_capability(), std::nullopt});
  const auto accelerator = at::accelerator::getAccelerator();
  if (!accelerator.has_value()) return result;
  for (int i = 0; i < static_cast<int>(at::accelerator::deviceCount()); i++) {
    const c10::Device device(*accelerator, static_cast<c10::DeviceIndex>(i));
    result.devices.push_back(
        {device.str(), deviceName(device), totalBytes(at::getDeviceAllocator(*accelerator), device)});
  }
  return result;
}

void requireCuda(int index, const std::string& what) {
  if (!cuda().unavailable.empty())
    throw Error(ErrorCode::InvalidArgument, what + ": CUDA cannot be used: " + cuda().unavailable);
  if (index >= cuda().deviceCount) {
    throw Error(ErrorCode::InvalidArgument, what + ": expected one of " + std::to_string(cuda().deviceCount) +
                                                " CUDA devices, found cuda:" + std::to_string(index));
  }
}

}  // namespace torchkeep::engine
