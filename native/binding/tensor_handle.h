// The JavaScript object around an engine::TensorPtr: `TensorHandle` of lib/contract.ts.
#pragma once

#include <napi.h>

#include <memory>
#include <string>

#include "binding/environment.h"
#include "engine/value.h"

namespace torchkeep::binding {

class TensorHandle : public Napi::ObjectWrap<TensorHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  /// A new handle that owns `tensor`.
  static Napi::Object create(Napi::Env env, engine::TensorPtr tensor);
  /// The handle inside `value`, or nullptr if it is anything else.
  static TensorHandle* from(const Napi::Value& value);

  explicit TensorHandle(const Napi::CallbackInfo& info);
  ~TensorHandle() override;
  TensorHandle(const TensorHandle&) = delete;
  TensorHandle& operator=(const TensorHandle&) = delete;

  /// Null after dispose().
  const engine::TensorPtr& tensor() const { return tensor_; }

 private:
  Napi::Value dispose(const Napi::CallbackInfo& info);
  Napi::Value disposed(const Napi::CallbackInfo& info);
  void release(Napi::Env env);

  engine::TensorPtr tensor_;
  /// Key of the storage in liveTensors_: its address when the handle was made.
  const void* storage_ = nullptr;
  std::shared_ptr<LiveTensors> liveTensors_;
};

/// The tensor of a handle; throws engine::Error (InvalidArgument or Disposed) naming `argument`.
engine::TensorPtr requireTensor(const Napi::Value& value, const std::string& argument);

}  // namespace torchkeep::binding
