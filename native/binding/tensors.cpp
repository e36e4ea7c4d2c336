#include "engine/tensors.h"

#include <napi.h>

#include <cstring>

#include "binding/arguments.h"
#include "binding/exports.h"
#include "binding/tensor_handle.h"

namespace torchkeep::binding {
namespace {

Napi::Array toArray(Napi::Env env, const std::vector<int64_t>& values) {
  Napi::Array result = Napi::Array::New(env, values.size());
  for (size_t i = 0; i < values.size(); i++) result.Set(static_cast<uint32_t>(i), static_cast<double>(values[i]));
  return result;
}

}  // namespace

Napi::Value tensorFromData(const Napi::CallbackInfo& info) {
  const Options options(info, "tensorFromData");
  return TensorHandle::create(info.Env(), engine::tensorFromData(options.string("dtype"), options.integers("sizes"),
                                                                 options.bytes("data"), options.string("device")));
}

Napi::Value tensorToData(const Napi::CallbackInfo& info) {
  const Options options(info, "tensorToData");
  const engine::HostData data = engine::tensorToData(options.tensor("tensor"));
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(info.Env(), data.bytes.size());
  if (!data.bytes.empty()) std::memcpy(buffer.Data(), data.bytes.data(), data.bytes.size());
  return buffer;
}

Napi::Value tensorInfo(const Napi::CallbackInfo& info) {
  const Options options(info, "tensorInfo");
  const Napi::Env env = info.Env();
  const engine::TensorInfo facts = engine::tensorInfo(options.tensor("tensor"));
  Napi::Object result = Napi::Object::New(env);
  result.Set("dtype", facts.dtype);
  result.Set("sizes", toArray(env, facts.sizes));
  result.Set("strides", toArray(env, facts.strides));
  result.Set("storageOffset", static_cast<double>(facts.storageOffset));
  result.Set("device", facts.device);
  result.Set("requiresGrad", facts.requiresGrad);
  result.Set("isLeaf", facts.isLeaf);
  result.Set("isContiguous", facts.isContiguous);
  result.Set("storageId", facts.storageId);
  result.Set("storageSizeBytes", static_cast<double>(facts.storageSizeBytes));
  result.Set("gradFn", facts.gradFn.empty() ? env.Null() : Napi::String::New(env, facts.gradFn));
  return result;
}

Napi::Value tensorGrad(const Napi::CallbackInfo& info) {
  const Options options(info, "tensorGrad");
  const engine::TensorPtr tensor = options.tensor("tensor");
  if (options.has("grad"))
    engine::setTensorGrad(tensor, options.get("grad").IsNull() ? nullptr : options.tensor("grad"));
  const engine::TensorPtr grad = engine::tensorGrad(tensor);
  return grad ? TensorHandle::create(info.Env(), grad) : info.Env().Null();
}

}  // namespace torchkeep::binding
