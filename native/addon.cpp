// The addon's export table: every name of lib/contract.ts, and nothing else. What each does stands there and in
// native/binding.
#include <napi.h>

#include "binding/environment.h"
#include "binding/errors.h"
#include "binding/exports.h"
#include "binding/generator_handle.h"
#include "binding/session_wrap.h"
#include "binding/tensor_handle.h"
#include "engine/memory.h"
#include "engine/random.h"

namespace torchkeep::binding {
namespace {

/// `contractVersion` of lib/contract.ts.
constexpr int kContractVersion = 3;

template <Napi::Value (*function)(const Napi::CallbackInfo&)>
void add(Napi::Object& exports, const char* name) {
  exports.Set(name, Napi::Function::New(exports.Env(), guarded<function>, name));
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  // Before any tensor exists; the first environment of the process does it for all.
  engine::installCpuAllocator();

  auto* environment = new EnvironmentData();
  env.SetInstanceData(environment);
  environment->tensorClass = Napi::Persistent(TensorHandle::define(env));
  environment->generatorClass = Napi::Persistent(GeneratorHandle::define(env));
  environment->defaultGenerator = engine::createUnpredictableGenerator();
  // Worker threads end through this hook; the main thread's process.exit() does not run it, so lib also calls
  // shutdown().
  env.AddCleanupHook([](EnvironmentData* data) { shutdownSessions(*data); }, environment);

  exports.Set("contractVersion", kContractVersion);
  add<versions>(exports, "versions");
  add<call>(exports, "call");
  add<operatorSchema>(exports, "operatorSchema");
  add<tensorFromData>(exports, "tensorFromData");
  add<tensorToData>(exports, "tensorToData");
  add<tensorInfo>(exports, "tensorInfo");
  add<tensorGrad>(exports, "tensorGrad");
  add<createSession>(exports, "createSession");
  add<writeTensorFile>(exports, "writeTensorFile");
  add<mapTensorFile>(exports, "mapTensorFile");
  add<saveArchive>(exports, "saveArchive");
  add<loadArchive>(exports, "loadArchive");
  add<defaultGenerator>(exports, "defaultGenerator");
  add<createGenerator>(exports, "createGenerator");
  add<manualSeed>(exports, "manualSeed");
  add<getGeneratorState>(exports, "getGeneratorState");
  add<setGeneratorState>(exports, "setGeneratorState");
  add<devices>(exports, "devices");
  add<memoryStats>(exports, "memoryStats");
  add<emptyCache>(exports, "emptyCache");
  add<getNumThreads>(exports, "getNumThreads");
  add<setNumThreads>(exports, "setNumThreads");
  add<shutdown>(exports, "shutdown");
  exports.Freeze();  // `bindings` would add a `path` of its own
  return exports;
}

}  // namespace
}  // namespace torchkeep::binding

Napi::Object initializeTorchkeep(Napi::Env env, Napi::Object exports) {
  return torchkeep::binding::initialize(env, exports);
}

NODE_API_MODULE(torchkeep, initializeTorchkeep)
