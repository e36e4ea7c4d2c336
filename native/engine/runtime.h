// What this build is and runs on. No torch, no napi in this header.
#pragma once

#include <string>

namespace torchkeep::engine {

struct Versions {
  /// Of the LibTorch we were built with, such as `2.13.0+cpu`, and its folder.
  std::string libtorchBuild;
  std::string libtorchPath;
  /// Of the LibTorch loaded now, without the variant, which it cannot tell.
  std::string libtorchRuntime;
  bool debug;
  /// `torch.__config__.show()`.
  std::string config;
};

Versions versions();

/// Of the calling thread.
int getNumThreads();
void setNumThreads(int threads);

/// Ends the OpenMP threads that wait for the calling thread's next parallel operator; such an operator starts them
/// anew. libgomp counts the waiting threads of all threads, and where they are more than the processors, every barrier
/// of the process sleeps instead of spinning: a session of two threads then loses most of its speed on small steps
/// on two processors.
void releaseWaitingThreads();

}  // namespace torchkeep::engine
