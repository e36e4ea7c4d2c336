#include "binding/generator_handle.h"

#include "binding/arguments.h"
#include "binding/environment.h"
#include "binding/errors.h"

namespace torchkeep::binding {
namespace {

constexpr napi_type_tag kTypeTag = {0x1f0d92c86e574ab3, 0x95b8e1d24c7f6a02};

}  // namespace

Napi::Function GeneratorHandle::define(Napi::Env env) { return DefineClass(env, "GeneratorHandle", {}); }

Napi::Object GeneratorHandle::create(Napi::Env env, engine::GeneratorPtr generator) {
  return EnvironmentData::of(env).generatorClass.New({Napi::External<engine::GeneratorPtr>::New(env, &generator)});
}

GeneratorHandle* GeneratorHandle::from(const Napi::Value& value) {
  if (!value.IsObject()) return nullptr;
  const auto object = value.As<Napi::Object>();
  return object.CheckTypeTag(&kTypeTag) ? Unwrap(object) : nullptr;
}

GeneratorHandle::GeneratorHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<GeneratorHandle>(info) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    throw makeError(info.Env(),
                    engine::Error(engine::ErrorCode::InvalidArgument, "GeneratorHandle: made only by the addon"));
  }
  generator_ = std::move(*info[0].As<Napi::External<engine::GeneratorPtr>>().Data());
  info.This().As<Napi::Object>().TypeTag(&kTypeTag);
}

engine::GeneratorPtr requireGenerator(const Napi::Value& value, const std::string& argument) {
  const GeneratorHandle* handle = GeneratorHandle::from(value);
  if (handle == nullptr) rejectArgument(argument, "a generator", value);
  return handle->generator();
}

}  // namespace torchkeep::binding
