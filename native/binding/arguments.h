// Reading JavaScript arguments and making JavaScript results. `lib` has normalised the options; this is the guard.
// Every failure is an engine::Error (InvalidArgument) naming the option with expected and found. JavaScript thread
// only.
#pragma once

#include <napi.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/value.h"

namespace torchkeep::binding {

/// What a JavaScript value is, for error messages: `undefined`, `a string`, `a Float32Array`...
std::string describe(const Napi::Value& value);

/// Throws InvalidArgument: "<name>: expected <expected>, found <describe(found)>".
[[noreturn]] void rejectArgument(const std::string& name, const std::string& expected, const Napi::Value& found);

/// The one options object of an operation.
class Options {
 public:
  /// Reads info[0]; `operation` stands in front of every message.
  Options(const Napi::CallbackInfo& info, std::string operation);
  /// An object inside the options; `name` is its path, such as `createSession: optimizer`.
  Options(Napi::Object object, std::string name) : object_(object), operation_(std::move(name)) {}

  bool has(const char* key) const;
  Napi::Value get(const char* key) const { return object_.Get(key); }
  std::string string(const char* key) const;
  bool boolean(const char* key) const;
  double number(const char* key) const;
  /// An integral number or bigint in int64's range.
  int64_t integer(const char* key) const;
  /// A bigint or integral number, modulo 2^64 as Python's seeds are.
  uint64_t seed(const char* key) const;
  engine::TensorPtr tensor(const char* key) const;
  engine::GeneratorPtr generator(const char* key) const;
  Options object(const char* key) const;
  Napi::Array array(const char* key) const;
  /// An array of integral numbers.
  std::vector<int64_t> integers(const char* key) const;
  /// An array of tensor handles.
  std::vector<engine::TensorPtr> tensors(const char* key) const;
  /// An array of arrays of tensor handles.
  std::vector<std::vector<engine::TensorPtr>> tensorLists(const char* key) const;
  /// The elements of a BigInt64Array, copied.
  std::vector<int64_t> bigInt64Array(const char* key) const;
  /// The bytes of any typed array or DataView, not copied: valid while the JavaScript object lives and is not detached.
  std::span<const uint8_t> bytes(const char* key) const;
  /// Any value, as toValue.
  engine::Value value(const char* key) const;

  /// "<operation>: <key>".
  std::string path(const char* key) const;
  Napi::Object raw() const { return object_; }

 private:
  Napi::Object object_;
  std::string operation_;
};

/// JavaScript to engine: null and undefined, booleans, numbers (double), bigints (int64), strings, handles, arrays
/// (List), `{re, im}` (complex) and other plain objects (Dict). Deeper than 64 levels is refused, and so is anything
/// else (functions, typed arrays...).
engine::Value toValue(const Napi::Value& value, const std::string& path);

/// The bytes of a typed array or DataView, as Options::bytes.
std::span<const uint8_t> requireBytes(const Napi::Value& value, const std::string& path);

/// Engine to JavaScript. int64 beyond 2^53 becomes a bigint; tensors become new handles.
Napi::Value toJs(Napi::Env env, const engine::Value& value);

}  // namespace torchkeep::binding
