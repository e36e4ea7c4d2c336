#include "binding/tensor_handle.h"

#include "binding/arguments.h"
#include "binding/errors.h"
#include "engine/error.h"
#include "engine/tensors.h"

namespace torchkeep::binding {
namespace {

// Node checks the tag before we reinterpret the object, so a foreign or forged object is refused.
constexpr napi_type_tag kTypeTag = {0x7d1c5a0e9b3f4c21, 0xa4e6302f8b915d77};

}  // namespace

Napi::Function TensorHandle::define(Napi::Env env) {
  return DefineClass(env, "TensorHandle",
                     {
                         InstanceMethod("dispose", &TensorHandle::dispose),
                         InstanceAccessor("disposed", &TensorHandle::disposed, nullptr),
                     });
}

Napi::Object TensorHandle::create(Napi::Env env, engine::TensorPtr tensor) {
  return EnvironmentData::of(env).tensorClass.New({Napi::External<engine::TensorPtr>::New(env, &tensor)});
}

TensorHandle* TensorHandle::from(const Napi::Value& value) {
  if (!value.IsObject()) return nullptr;
  const auto object = value.As<Napi::Object>();
  return object.CheckTypeTag(&kTypeTag) ? Unwrap(object) : nullptr;
}

TensorHandle::TensorHandle(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<TensorHandle>(info), liveTensors_(EnvironmentData::of(info.Env()).liveTensors) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    throw makeError(info.Env(),
                    engine::Error(engine::ErrorCode::InvalidArgument, "TensorHandle: made only by the addon"));
  }
  tensor_ = std::move(*info[0].As<Napi::External<engine::TensorPtr>>().Data());
  info.This().As<Napi::Object>().TypeTag(&kTypeTag);

  const engine::StorageFacts facts = engine::storageFacts(tensor_);
  storage_ = facts.id;
  LiveTensors::Storage& storage = liveTensors_->storages[storage_];
  liveTensors_->count++;
  if (storage.handles++ == 0) {
    storage.sizeBytes = facts.sizeBytes;
    liveTensors_->bytes += facts.sizeBytes;
    Napi::MemoryManagement::AdjustExternalMemory(info.Env(), facts.sizeBytes);
  }
}

TensorHandle::~TensorHandle() { release(Env()); }

Napi::Value TensorHandle::dispose(const Napi::CallbackInfo& info) {
  release(info.Env());
  return info.Env().Undefined();
}

Napi::Value TensorHandle::disposed(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), !tensor_); }

void TensorHandle::release(Napi::Env env) {
  if (!tensor_) return;
  tensor_.reset();
  liveTensors_->count--;
  const auto storage = liveTensors_->storages.find(storage_);
  if (--storage->second.handles > 0) return;
  liveTensors_->bytes -= storage->second.sizeBytes;
  // Only accounting: it fails where the environment is already ending, and then nothing is left to account for.
  int64_t total = 0;
  napi_adjust_external_memory(env, -storage->second.sizeBytes, &total);
  liveTensors_->storages.erase(storage);
}

engine::TensorPtr requireTensor(const Napi::Value& value, const std::string& argument) {
  const TensorHandle* handle = TensorHandle::from(value);
  if (handle == nullptr) rejectArgument(argument, "a tensor", value);
  if (!handle->tensor()) throw engine::Error(engine::ErrorCode::Disposed, argument + ": the tensor is disposed");
  return handle->tensor();
}

}  // namespace torchkeep::binding
