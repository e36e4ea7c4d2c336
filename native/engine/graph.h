// A graph of torch.export's JSON schema, compiled: every node resolved to an operator, every constant to an IValue,
// every value to a slot. Includes torch: only engine/*.cpp may include this header.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>

#include <optional>
#include <string>
#include <vector>

#include "engine/value.h"

namespace torchkeep::engine {

/// Index into the values of a running graph.
using Slot = int32_t;
constexpr Slot noSlot = -1;

/// A part of an argument: a value computed by the graph, or a constant.
struct Element {
  Slot slot = noSlot;
  c10::IValue constant;
};

/// One argument of an operator in schema order.
struct Argument {
  enum class Kind {
    Constant,
    /// The value as it is.
    Value,
    /// A symbolic number where the operator wants a tensor: a wrapped number made anew each time.
    WrappedNumber,
    TensorList,
    OptionalTensorList,
    IntList,
    DoubleList,
    BoolList,
  };
  Kind kind = Kind::Constant;
  /// One element, or those of the list.
  std::vector<Element> elements;
};

/// Arithmetic of symbolic numbers (`_operator.mul`...): arguments to result.
using SymbolicFunction = c10::IValue (*)(const std::vector<c10::IValue>& arguments);

/// Where a result goes.
struct Output {
  /// One slot, or one for each element of a list.
  std::vector<Slot> slots;
  bool isList = false;
};

struct Node {
  /// The node's own name and its target, for messages.
  std::string name;
  std::string target;
  /// Either an operator or a symbolic function.
  std::optional<c10::OperatorHandle> op;
  SymbolicFunction symbolic = nullptr;
  std::vector<Argument> arguments;
  std::vector<Output> outputs;
  /// Slots whose last reader this node is.
  std::vector<Slot> frees;
  /// Draws from the default generator.
  bool random = false;
};

/// What the graph says about a tensor. A missing size is symbolic.
struct TensorMeta {
  at::ScalarType dtype;
  std::vector<std::optional<int64_t>> sizes;
  /// Taken as well: what autocast may make of `dtype`.
  std::optional<at::ScalarType> autocastDtype;
};

struct GraphInput {
  enum class Kind { Parameter, Buffer, Constant, User };
  Kind kind;
  /// Dotted name of a parameter or buffer, name of a constant, value name of a user input.
  std::string name;
  Slot slot = noSlot;
  /// Whether any node or output reads it.
  bool used = false;
  std::optional<TensorMeta> meta;
};

struct GraphOutput {
  Slot slot = noSlot;
  /// Empty for a user output; else the buffer that takes this value after the run (functional exports).
  std::string mutatedBuffer;
};

struct Graph {
  /// `train graph`, `evaluation graph` or `loss graph`, for messages.
  std::string label;
  std::vector<GraphInput> inputs;
  std::vector<Node> nodes;
  std::vector<GraphOutput> outputs;
  size_t slots = 0;
  /// Whether any node draws random numbers.
  bool random = false;
};

/// Compiles `graphModule`. `device` replaces every device constant, as the parameters live there. Throws
/// Error(InvalidArgument) naming graph, node and target for anything that is malformed or not supported.
Graph compileGraph(const Value& graphModule, const std::string& label, c10::Device device);

}  // namespace torchkeep::engine
