#include "engine/runtime.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/util/Exception.h>

#if defined(__linux__)
// OpenMP 5.0, from the libgomp that LibTorch brings. Weak: a LibTorch on another OpenMP runtime may lack it, and has no
// such counting.
extern "C" __attribute__((weak)) int omp_pause_resource_all(int kind);
#endif

namespace torchkeep::engine {
namespace {

/// The one place where a loaded LibTorch tells its own version: `TORCH_VERSION=2.13.0,` in its configuration text.
std::string runtimeVersion(const std::string& config) {
  const std::string key = "TORCH_VERSION=";
  const size_t begin = config.find(key);
  TORCH_CHECK(begin != std::string::npos, "LibTorch's configuration text lacks TORCH_VERSION: ", config);
  const size_t end = config.find_first_of(", \n", begin + key.size());
  return config.substr(begin + key.size(), end - begin - key.size());
}

}  // namespace

Versions versions() {
  const std::string config = at::show_config();
#ifdef TORCHKEEP_DEBUG
  constexpr bool debug = true;
#else
  constexpr bool debug = false;
#endif
  return {TORCHKEEP_LIBTORCH_VERSION, TORCHKEEP_LIBTORCH_PATH, runtimeVersion(config), debug, config};
}

int getNumThreads() { return at::get_num_threads(); }

void setNumThreads(int threads) { at::set_num_threads(threads); }

void releaseWaitingThreads() {
#if defined(__linux__)
  constexpr int softPause = 1;  // omp_pause_soft: settings stay
  if (omp_pause_resource_all != nullptr) omp_pause_resource_all(softPause);
#endif
}

}  // namespace torchkeep::engine
