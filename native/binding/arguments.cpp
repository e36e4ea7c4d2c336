#include "binding/arguments.h"

#include <cmath>

#include "binding/generator_handle.h"
#include "binding/tensor_handle.h"
#include "engine/error.h"

namespace torchkeep::binding {
namespace {

constexpr int kDepthLimit = 64;
constexpr double kSafeInteger = 9007199254740992.0;  // 2^53

bool isIntegral(const Napi::Value& value) {
  if (!value.IsNumber()) return false;
  const double number = value.As<Napi::Number>().DoubleValue();
  return std::trunc(number) == number && std::abs(number) <= kSafeInteger;
}

int64_t requireInt64(const Napi::Value& value, const std::string& path) {
  if (value.IsBigInt()) {
    bool lossless = false;
    const int64_t result = value.As<Napi::BigInt>().Int64Value(&lossless);
    if (!lossless) rejectArgument(path, "an integer of 64 bits", value);
    return result;
  }
  if (!isIntegral(value)) rejectArgument(path, "an integer", value);
  return static_cast<int64_t>(value.As<Napi::Number>().DoubleValue());
}

engine::Value toValueAt(const Napi::Value& value, const std::string& path, int depth);

engine::Value arrayToList(const Napi::Array& array, const std::string& path, int depth) {
  engine::List list;
  const uint32_t length = array.Length();
  list.reserve(length);
  for (uint32_t i = 0; i < length; i++) {
    const Napi::HandleScope scope(array.Env());
    list.push_back(toValueAt(array.Get(i), path, depth + 1));
  }
  return list;
}

engine::Value objectToValue(const Napi::Object& object, const std::string& path, int depth) {
  const Napi::Array names = object.GetPropertyNames();
  engine::Dict dict;
  dict.reserve(names.Length());
  for (uint32_t i = 0; i < names.Length(); i++) {
    const Napi::HandleScope scope(object.Env());
    const Napi::Value name = names.Get(i);
    const std::string key = name.ToString().Utf8Value();
    dict.emplace_back(key, toValueAt(object.Get(name), path + "." + key, depth + 1));
  }
  if (dict.size() == 2 && dict[0].first == "re" && dict[1].first == "im") {
    const auto* re = std::get_if<double>(&dict[0].second);
    const auto* im = std::get_if<double>(&dict[1].second);
    if (re != nullptr && im != nullptr) return std::complex<double>(*re, *im);
  }
  return dict;
}

engine::Value toValueAt(const Napi::Value& value, const std::string& path, int depth) {
  switch (value.Type()) {
    case napi_undefined:
    case napi_null:
      return {};
    case napi_boolean:
      return value.As<Napi::Boolean>().Value();
    case napi_number:
      return value.As<Napi::Number>().DoubleValue();
    case napi_bigint:
      return requireInt64(value, path);
    case napi_string:
      return value.As<Napi::String>().Utf8Value();
    case napi_object:
      break;
    default:
      rejectArgument(path, "a plain value, a tensor or a generator", value);
  }
  if (depth > kDepthLimit) {
    throw engine::Error(engine::ErrorCode::InvalidArgument,
                        path + ": nested deeper than " + std::to_string(kDepthLimit) + " levels");
  }
  if (value.IsArray()) return arrayToList(value.As<Napi::Array>(), path, depth);
  if (TensorHandle::from(value) != nullptr) return requireTensor(value, path);
  if (const GeneratorHandle* handle = GeneratorHandle::from(value)) return handle->generator();
  if (value.IsTypedArray() || value.IsArrayBuffer() || value.IsDataView() || value.IsDate() || value.IsPromise()) {
    rejectArgument(path, "a plain value, a tensor or a generator", value);
  }
  return objectToValue(value.As<Napi::Object>(), path, depth);
}

}  // namespace

std::string describe(const Napi::Value& value) {
  switch (value.Type()) {
    case napi_undefined:
      return "undefined";
    case napi_null:
      return "null";
    case napi_boolean:
    case napi_number:
      return value.ToString().Utf8Value();
    case napi_bigint:
      return value.ToString().Utf8Value() + "n";
    case napi_string: {
      const std::string text = value.As<Napi::String>().Utf8Value();
      return text.size() <= 60 ? "'" + text + "'" : "a string of " + std::to_string(text.size()) + " bytes";
    }
    case napi_symbol:
      return "a symbol";
    case napi_function:
      return "a function";
    default:
      break;
  }
  if (TensorHandle::from(value) != nullptr) return "a tensor";
  if (GeneratorHandle::from(value) != nullptr) return "a generator";
  const Napi::Value constructor = value.As<Napi::Object>().Get("constructor");
  const Napi::Value name = constructor.IsFunction() ? constructor.As<Napi::Object>().Get("name") : constructor;
  return name.IsString() ? "an object of class " + name.As<Napi::String>().Utf8Value() : "an object";
}

void rejectArgument(const std::string& name, const std::string& expected, const Napi::Value& found) {
  throw engine::Error(engine::ErrorCode::InvalidArgument,
                      name + ": expected " + expected + ", found " + describe(found));
}

Options::Options(const Napi::CallbackInfo& info, std::string operation) : operation_(std::move(operation)) {
  if (!info[0].IsObject()) rejectArgument(operation_, "an options object", info[0]);
  object_ = info[0].As<Napi::Object>();
}

std::string Options::path(const char* key) const { return operation_ + ": " + key; }

bool Options::has(const char* key) const { return !get(key).IsUndefined(); }

std::string Options::string(const char* key) const {
  const Napi::Value value = get(key);
  if (!value.IsString()) rejectArgument(path(key), "a string", value);
  return value.As<Napi::String>().Utf8Value();
}

bool Options::boolean(const char* key) const {
  const Napi::Value value = get(key);
  if (!value.IsBoolean()) rejectArgument(path(key), "a boolean", value);
  return value.As<Napi::Boolean>().Value();
}

double Options::number(const char* key) const {
  const Napi::Value value = get(key);
  if (!value.IsNumber()) rejectArgument(path(key), "a number", value);
  return value.As<Napi::Number>().DoubleValue();
}

int64_t Options::integer(const char* key) const { return requireInt64(get(key), path(key)); }

uint64_t Options::seed(const char* key) const {
  const Napi::Value value = get(key);
  if (!value.IsBigInt()) return static_cast<uint64_t>(requireInt64(value, path(key)));
  bool lossless = false;
  const uint64_t seed = value.As<Napi::BigInt>().Uint64Value(&lossless);
  // Negative seeds wrap, as Python's do; napi_get_value_bigint_uint64 has already reduced them modulo 2^64.
  if (!lossless) return static_cast<uint64_t>(requireInt64(value, path(key)));
  return seed;
}

engine::TensorPtr Options::tensor(const char* key) const { return requireTensor(get(key), path(key)); }

engine::GeneratorPtr Options::generator(const char* key) const { return requireGenerator(get(key), path(key)); }

Options Options::object(const char* key) const {
  const Napi::Value value = get(key);
  if (!value.IsObject()) rejectArgument(path(key), "an object", value);
  return {value.As<Napi::Object>(), path(key)};
}

Napi::Array Options::array(const char* key) const {
  const Napi::Value value = get(key);
  if (!value.IsArray()) rejectArgument(path(key), "an array", value);
  return value.As<Napi::Array>();
}

std::vector<int64_t> Options::integers(const char* key) const {
  const Napi::Array values = array(key);
  std::vector<int64_t> result;
  result.reserve(values.Length());
  for (uint32_t i = 0; i < values.Length(); i++) {
    result.push_back(requireInt64(values.Get(i), path(key) + "[" + std::to_string(i) + "]"));
  }
  return result;
}

std::vector<engine::TensorPtr> Options::tensors(const char* key) const {
  const Napi::Array values = array(key);
  std::vector<engine::TensorPtr> result;
  result.reserve(values.Length());
  for (uint32_t i = 0; i < values.Length(); i++) {
    result.push_back(requireTensor(values.Get(i), path(key) + "[" + std::to_string(i) + "]"));
  }
  return result;
}

std::vector<std::vector<engine::TensorPtr>> Options::tensorLists(const char* key) const {
  const Napi::Array lists = array(key);
  std::vector<std::vector<engine::TensorPtr>> result(lists.Length());
  for (uint32_t i = 0; i < lists.Length(); i++) {
    const Napi::Value list = lists.Get(i);
    const std::string where = path(key) + "[" + std::to_string(i) + "]";
    if (!list.IsArray()) rejectArgument(where, "an array of tensors", list);
    const Napi::Array tensors = list.As<Napi::Array>();
    for (uint32_t k = 0; k < tensors.Length(); k++)
      result[i].push_back(requireTensor(tensors.Get(k), where + "[" + std::to_string(k) + "]"));
  }
  return result;
}

std::vector<int64_t> Options::bigInt64Array(const char* key) const {
  const Napi::Value value = get(key);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_bigint64_array) {
    rejectArgument(path(key), "a BigInt64Array", value);
  }
  const auto array = value.As<Napi::BigInt64Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

std::span<const uint8_t> Options::bytes(const char* key) const { return requireBytes(get(key), path(key)); }

engine::Value Options::value(const char* key) const { return toValue(get(key), path(key)); }

engine::Value toValue(const Napi::Value& value, const std::string& path) { return toValueAt(value, path, 0); }

std::span<const uint8_t> requireBytes(const Napi::Value& value, const std::string& path) {
  void* data = nullptr;
  size_t size = 0;
  if (value.IsTypedArray()) {
    napi_get_typedarray_info(value.Env(), value, nullptr, nullptr, &data, nullptr, nullptr);
    size = value.As<Napi::TypedArray>().ByteLength();
  } else if (value.IsDataView()) {
    napi_get_dataview_info(value.Env(), value, &size, &data, nullptr, nullptr);
  } else {
    rejectArgument(path, "a typed array or a DataView", value);
  }
  return {static_cast<const uint8_t*>(data), size};
}

Napi::Value toJs(Napi::Env env, const engine::Value& value) {
  struct Visitor {
    Napi::Env env;
    Napi::Value operator()(std::monostate) const { return env.Null(); }
    Napi::Value operator()(bool value) const { return Napi::Boolean::New(env, value); }
    Napi::Value operator()(int64_t value) const {
      const auto number = static_cast<double>(value);
      if (std::abs(number) < kSafeInteger) return Napi::Number::New(env, number);
      return Napi::BigInt::New(env, value);
    }
    Napi::Value operator()(double value) const { return Napi::Number::New(env, value); }
    Napi::Value operator()(const std::complex<double>& value) const {
      Napi::Object result = Napi::Object::New(env);
      result.Set("re", value.real());
      result.Set("im", value.imag());
      return result;
    }
    Napi::Value operator()(const std::string& value) const { return Napi::String::New(env, value); }
    Napi::Value operator()(const engine::TensorPtr& value) const { return TensorHandle::create(env, value); }
    Napi::Value operator()(const engine::GeneratorPtr& value) const { return GeneratorHandle::create(env, value); }
    Napi::Value operator()(const engine::List& list) const {
      Napi::Array result = Napi::Array::New(env, list.size());
      for (size_t i = 0; i < list.size(); i++) result.Set(static_cast<uint32_t>(i), toJs(env, list[i]));
      return result;
    }
    Napi::Value operator()(const engine::Dict& dict) const {
      Napi::Object result = Napi::Object::New(env);
      for (const auto& [key, entry] : dict) result.Set(key, toJs(env, entry));
      return result;
    }
  };
  return std::visit(Visitor{env}, static_cast<const engine::Value::variant&>(value));
}

}  // namespace torchkeep::binding
