#include "engine/runtime.h"

#include <napi.h>

#include "binding/arguments.h"
#include "binding/environment.h"
#include "binding/exports.h"
#include "binding/session_wrap.h"
#include "engine/devices.h"
#include "engine/error.h"
#include "engine/memory.h"

namespace torchkeep::binding {

Napi::Value versions(const Napi::CallbackInfo& info) {
  const engine::Versions versions = engine::versions();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("libtorchBuild", versions.libtorchBuild);
  result.Set("libtorchRuntime", versions.libtorchRuntime);
  result.Set("libtorchPath", versions.libtorchPath);
  result.Set("napi", NAPI_VERSION);
  result.Set("debug", versions.debug);
  result.Set("config", versions.config);
  return result;
}

Napi::Value devices(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const engine::Devices found = engine::devices();
  Napi::Array list = Napi::Array::New(env);
  for (const engine::DeviceDescription& description : found.devices) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("device", description.device);
    entry.Set("name", description.name);
    entry.Set("totalBytes", description.totalBytes
                                ? Napi::Number::New(env, static_cast<double>(*description.totalBytes))
                                : env.Null());
    list.Set(list.Length(), entry);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("devices", list);
  result.Set("cudaUnavailable",
             found.cudaUnavailable.empty() ? env.Null() : Napi::String::New(env, found.cudaUnavailable));
  return result;
}

Napi::Value memoryStats(const Napi::CallbackInfo& info) {
  const Options options(info, "memoryStats");
  const engine::MemoryStats stats = engine::memoryStats(options.string("device"));
  const LiveTensors& live = *EnvironmentData::of(info.Env()).liveTensors;
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("allocatedBytes", static_cast<double>(stats.allocatedBytes));
  result.Set("reservedBytes", static_cast<double>(stats.reservedBytes));
  result.Set("peakAllocatedBytes", static_cast<double>(stats.peakAllocatedBytes));
  result.Set("liveTensors", static_cast<double>(live.count));
  result.Set("liveTensorBytes", static_cast<double>(live.bytes));
  return result;
}

Napi::Value emptyCache(const Napi::CallbackInfo& info) {
  const Options options(info, "emptyCache");
  engine::emptyCache(options.string("device"));
  return info.Env().Undefined();
}

Napi::Value getNumThreads(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), engine::getNumThreads());
}

Napi::Value setNumThreads(const Napi::CallbackInfo& info) {
  const Options options(info, "setNumThreads");
  const int64_t threads = options.integer("threads");
  if (threads < 1 || threads > 4096)
    rejectArgument(options.path("threads"), "a number from 1 to 4096", options.get("threads"));
  engine::setNumThreads(static_cast<int>(threads));
  return info.Env().Undefined();
}

Napi::Value shutdown(const Napi::CallbackInfo& info) {
  EnvironmentData& environment = EnvironmentData::of(info.Env());
  environment.shutDown = true;
  shutdownSessions(environment);
  return info.Env().Undefined();
}

}  // namespace torchkeep::binding
