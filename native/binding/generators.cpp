#include <napi.h>

#include <cstring>

#include "binding/arguments.h"
#include "binding/environment.h"
#include "binding/exports.h"
#include "binding/generator_handle.h"
#include "engine/random.h"

namespace torchkeep::binding {

Napi::Value defaultGenerator(const Napi::CallbackInfo& info) {
  return GeneratorHandle::create(info.Env(), EnvironmentData::of(info.Env()).defaultGenerator);
}

Napi::Value createGenerator(const Napi::CallbackInfo& info) {
  const Options options(info, "createGenerator");
  return GeneratorHandle::create(info.Env(), engine::createGenerator(options.seed("seed")));
}

Napi::Value manualSeed(const Napi::CallbackInfo& info) {
  const Options options(info, "manualSeed");
  engine::manualSeed(options.generator("generator"), options.seed("seed"));
  return info.Env().Undefined();
}

Napi::Value getGeneratorState(const Napi::CallbackInfo& info) {
  const Options options(info, "getGeneratorState");
  const std::vector<uint8_t> state = engine::getGeneratorState(options.generator("generator"));
  Napi::Uint8Array result = Napi::Uint8Array::New(info.Env(), state.size());
  std::memcpy(result.Data(), state.data(), state.size());
  return result;
}

Napi::Value setGeneratorState(const Napi::CallbackInfo& info) {
  const Options options(info, "setGeneratorState");
  const std::span<const uint8_t> state = options.bytes("state");
  engine::setGeneratorState(options.generator("generator"), {state.begin(), state.end()});
  return info.Env().Undefined();
}

}  // namespace torchkeep::binding
