// The values that cross the native boundary, in plain C++: the binding makes them from JavaScript, the engine from
// IValues. No torch, no napi in this header.
#pragma once

#include <complex>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace torchkeep::engine {

class Tensor;     // engine/tensor.h: wraps an at::Tensor
class Generator;  // engine/random.h: wraps an at::Generator
using TensorPtr = std::shared_ptr<Tensor>;
using GeneratorPtr = std::shared_ptr<Generator>;

struct Value;
using List = std::vector<Value>;
/// Keeps JavaScript's property order.
using Dict = std::vector<std::pair<std::string, Value>>;

/// A JavaScript number arrives as double: the operator's schema decides whether it is an int. A bigint arrives as
/// int64_t.
struct Value : std::variant<std::monostate, bool, int64_t, double, std::complex<double>, std::string, TensorPtr,
                            GeneratorPtr, List, Dict> {
  using variant::variant;
  bool isNull() const { return index() == 0; }
};

/// Finds a key of a Dict, or nullptr.
const Value* find(const Value& dict, const char* key);

}  // namespace torchkeep::engine
