// What one Node environment (main thread or worker thread) owns. There is no other mutable state in native/binding.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/value.h"

namespace torchkeep::engine {
class Session;
}

namespace torchkeep::binding {

/// Counts the tensors that handles of one environment hold. Storages seen through several handles count once.
/// JavaScript thread only; shared by the handles, since their finalizers may run after the environment's data is gone.
struct LiveTensors {
  struct Storage {
    int64_t handles = 0;
    int64_t sizeBytes = 0;
  };
  int64_t count = 0;
  int64_t bytes = 0;
  std::unordered_map<const void*, Storage> storages;
};

/// Napi instance data. Made when the addon is loaded, destroyed when the environment ends.
struct EnvironmentData {
  static EnvironmentData& of(Napi::Env env) { return *env.GetInstanceData<EnvironmentData>(); }

  Napi::FunctionReference tensorClass;
  Napi::FunctionReference generatorClass;
  /// Set by the session wrap when it defines its class.
  Napi::FunctionReference sessionClass;
  /// ATen's "default CPU generator" as this environment sees it.
  engine::GeneratorPtr defaultGenerator;
  std::shared_ptr<LiveTensors> liveTensors = std::make_shared<LiveTensors>();
  /// Every session made here, stopped by shutdownSessions. Those already gone are pruned when one is added.
  std::vector<std::weak_ptr<engine::Session>> sessions;
  /// After shutdown(): no new session starts.
  bool shutDown = false;
};

}  // namespace torchkeep::binding
