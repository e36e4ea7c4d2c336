// The JavaScript object around an engine::GeneratorPtr: `GeneratorHandle` of lib/contract.ts.
#pragma once

#include <napi.h>

#include <string>

#include "engine/value.h"

namespace torchkeep::binding {

class GeneratorHandle : public Napi::ObjectWrap<GeneratorHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, engine::GeneratorPtr generator);
  /// The handle inside `value`, or nullptr if it is anything else.
  static GeneratorHandle* from(const Napi::Value& value);

  explicit GeneratorHandle(const Napi::CallbackInfo& info);

  const engine::GeneratorPtr& generator() const { return generator_; }

 private:
  engine::GeneratorPtr generator_;
};

/// The generator of a handle; throws engine::Error (InvalidArgument) naming `argument`.
engine::GeneratorPtr requireGenerator(const Napi::Value& value, const std::string& argument);

}  // namespace torchkeep::binding
