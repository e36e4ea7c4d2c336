#include "engine/executor.h"

#include <ATen/ScalarOps.h>
#include <ATen/core/List.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <sstream>

#include "engine/error.h"
#include "engine/names.h"
#include "engine/random.h"

namespace torchkeep::engine {
namespace {

const c10::IValue& valueOf(const Element& element, const std::vector<c10::IValue>& values) {
  return element.slot == noSlot ? element.constant : values[static_cast<size_t>(element.slot)];
}

c10::IValue tensorList(const std::vector<Element>& elements, const std::vector<c10::IValue>& values) {
  c10::List<at::Tensor> list;
  list.reserve(elements.size());
  for (const Element& element : elements) list.push_back(valueOf(element, values).toTensor());
  return list;
}

c10::IValue optionalTensorList(const std::vector<Element>& elements, const std::vector<c10::IValue>& values) {
  c10::List<std::optional<at::Tensor>> list;
  list.reserve(elements.size());
  for (const Element& element : elements) {
    const c10::IValue& value = valueOf(element, values);
    list.push_back(value.isNone() ? std::nullopt : std::optional(value.toTensor()));
  }
  return list;
}

template <typename T>
c10::IValue plainList(const std::vector<Element>& elements, const std::vector<c10::IValue>& values) {
  c10::List<T> list;
  list.reserve(elements.size());
  for (const Element& element : elements) list.push_back(valueOf(element, values).to<T>());
  return list;
}

c10::IValue makeArgument(const Argument& argument, const std::vector<c10::IValue>& values) {
  switch (argument.kind) {
    case Argument::Kind::Constant:
    case Argument::Kind::Value:
      return valueOf(argument.elements.front(), values);
    case Argument::Kind::WrappedNumber:
      return at::native::wrapped_scalar_tensor(valueOf(argument.elements.front(), values).toScalar());
    case Argument::Kind::TensorList:
      return tensorList(argument.elements, values);
    case Argument::Kind::OptionalTensorList:
      return optionalTensorList(argument.elements, values);
    case Argument::Kind::IntList:
      return plainList<int64_t>(argument.elements, values);
    case Argument::Kind::DoubleList:
      return plainList<double>(argument.elements, values);
    case Argument::Kind::BoolList:
      return plainList<bool>(argument.elements, values);
  }
  return {};
}

/// The exception in flight, as a failure of `node`.
[[noreturn]] void rethrowFrom(const Graph& graph, const Node& node) {
  const std::string where = graph.label + ", node \"" + node.name + "\" (" + node.target + "): ";
  try {
    throw;
  } catch (const c10::IndexError& error) {  // a label or an embedding index out of range
    throw Error(ErrorCode::Data, where + error.what_without_backtrace());
  } catch (...) {
    const Error error = translate(std::current_exception());
    throw Error(error.code(), where + error.what());
  }
}

std::string describeSizes(const std::vector<std::optional<int64_t>>& sizes) {
  std::string text = "[";
  for (const auto& size : sizes)
    text += (text.size() == 1 ? "" : ", ") + (size ? std::to_string(*size) : std::string("any"));
  return text + "]";
}

template <typename Printable>
std::string describe(const Printable& value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

bool sizesFit(at::IntArrayRef sizes, const std::vector<std::optional<int64_t>>& expected) {
  if (sizes.size() != expected.size()) return false;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (expected[i] && *expected[i] != sizes[i]) return false;
  }
  return true;
}

bool dtypeFits(at::ScalarType dtype, const TensorMeta& meta) {
  return dtype == meta.dtype || dtype == meta.autocastDtype;
}

bool fits(const at::Tensor& tensor, const TensorMeta& meta, c10::Device device) {
  return tensor.device() == device && dtypeFits(tensor.scalar_type(), meta) && sizesFit(tensor.sizes(), meta.sizes);
}

const char* kindName(GraphInput::Kind kind) {
  switch (kind) {
    case GraphInput::Kind::Parameter:
      return "parameter";
    case GraphInput::Kind::Buffer:
      return "buffer";
    case GraphInput::Kind::Constant:
      return "constant";
    case GraphInput::Kind::User:
      return "input";
  }
  return "";
}

}  // namespace

void requireFits(const at::Tensor& tensor, const TensorMeta& meta, c10::Device device, const std::string& what) {
  const auto reject = [&](const std::string& expected, const std::string& found) {
    throw Error(ErrorCode::InvalidArgument, what + ": expected " + expected + ", found " + found);
  };
  if (tensor.device() != device) reject("device " + device.str(), tensor.device().str());
  if (!dtypeFits(tensor.scalar_type(), meta)) {
    const std::string other = meta.autocastDtype ? " or " + dtypeName(*meta.autocastDtype) : "";
    reject("dtype " + dtypeName(meta.dtype) + other, dtypeName(tensor.scalar_type()));
  }
  if (!sizesFit(tensor.sizes(), meta.sizes)) reject("sizes " + describeSizes(meta.sizes), describe(tensor.sizes()));
}

Executor::Executor(Graph graph, const GraphBindings& bindings, c10::Device device, GeneratorPtr generator,
                   const std::atomic<bool>& stop)
    : graph_(std::move(graph)), device_(device), generator_(std::move(generator)), stop_(stop), values_(graph_.slots) {
  for (GraphInput& input : graph_.inputs) bind(input, bindings);
  for (const Node& node : graph_.nodes) {
    for (const Output& output : node.outputs) {
      for (const Slot slot : output.slots) {
        if (slot != noSlot) transient_.push_back(slot);
      }
    }
  }
  for (const GraphOutput& output : graph_.outputs) {
    if (output.mutatedBuffer.empty()) {
      ++userOutputs_;
    } else if (const auto found = bindings.buffers.find(output.mutatedBuffer); found != bindings.buffers.end()) {
      buffers_.insert(*found);
    } else {
      throw Error(ErrorCode::InvalidArgument,
                  graph_.label + ": expected a buffer \"" + output.mutatedBuffer + "\", found none");
    }
  }
}

void Executor::bind(GraphInput& input, const GraphBindings& bindings) {
  if (input.kind == GraphInput::Kind::User) {
    userInputs_.push_back(&input);
    transient_.push_back(input.slot);
    return;
  }
  if (!input.used) return;  // such as the second name of a tied parameter
  const TensorTable& table = input.kind == GraphInput::Kind::Parameter ? bindings.parameters
                             : input.kind == GraphInput::Kind::Buffer  ? bindings.buffers
                                                                       : bindings.constants;
  const std::string what = graph_.label + ": " + kindName(input.kind) + " \"" + input.name + "\"";
  const auto found = table.find(input.name);
  if (found == table.end())
    throw Error(ErrorCode::InvalidArgument, what + ": the graph reads it, expected a tensor of that name, found none");
  if (input.meta) requireFits(found->second, *input.meta, device_, what);
  values_[static_cast<size_t>(input.slot)] = found->second;
}

void Executor::allowAutocast(size_t count, at::ScalarType lower) {
  for (size_t i = 0; i < std::min(count, userInputs_.size()); ++i) {
    std::optional<TensorMeta>& meta = userInputs_[i]->meta;
    if (!meta) continue;
    if (meta->dtype == at::kFloat) meta->autocastDtype = lower;
    if (meta->dtype == lower) meta->autocastDtype = at::kFloat;
  }
}

bool Executor::run(const std::vector<at::Tensor>& inputs, std::vector<at::Tensor>& outputs,
                   const std::atomic<bool>* cancel) {
  struct DropOnExit {
    Executor& executor;
    ~DropOnExit() { executor.dropValues(); }
  } dropOnExit{*this};
  setInputs(inputs);
  for (const Node& node : graph_.nodes) {
    if (stop_.load(std::memory_order_relaxed)) return false;
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return false;
    try {
      runNode(node);
    } catch (...) {
      rethrowFrom(graph_, node);
    }
    for (const Slot slot : node.frees) values_[static_cast<size_t>(slot)] = {};
  }
  collectOutputs(outputs);
  return true;
}

void Executor::setInputs(const std::vector<at::Tensor>& inputs) {
  if (inputs.size() != userInputs_.size()) {
    throw Error(ErrorCode::InvalidArgument, graph_.label + ": expected " + std::to_string(userInputs_.size()) +
                                                " inputs, found " + std::to_string(inputs.size()));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const GraphInput& input = *userInputs_[i];
    if (input.meta && !fits(inputs[i], *input.meta, device_)) {
      requireFits(inputs[i], *input.meta, device_,
                  graph_.label + ": input " + std::to_string(i) + " (\"" + input.name + "\")");
    }
    if (input.used) values_[static_cast<size_t>(input.slot)] = inputs[i];
  }
}

void Executor::runNode(const Node& node) {
  stack_.clear();
  for (const Argument& argument : node.arguments) stack_.push_back(makeArgument(argument, values_));
  if (node.symbolic != nullptr) {
    takeOutput(node.outputs.front(), node.symbolic(stack_));
    return;
  }
  callOperator(node);
  for (size_t i = 0; i < node.outputs.size(); ++i) takeOutput(node.outputs[i], std::move(stack_[i]));
}

void Executor::callOperator(const Node& node) {
  if (!node.random) return node.op->callBoxed(stack_);
  const ScopedDefaultGenerator draws(generator_);
  node.op->callBoxed(stack_);
}

void Executor::takeOutput(const Output& output, c10::IValue value) {
  if (!output.isList) {
    if (output.slots.front() != noSlot) values_[static_cast<size_t>(output.slots.front())] = std::move(value);
    return;
  }
  const c10::List<at::Tensor> list = value.toTensorList();
  if (list.size() != output.slots.size()) {
    throw Error(ErrorCode::InvalidArgument, "expected a list of " + std::to_string(output.slots.size()) +
                                                " tensors, found " + std::to_string(list.size()));
  }
  for (size_t i = 0; i < list.size(); ++i) {
    if (output.slots[i] != noSlot) values_[static_cast<size_t>(output.slots[i])] = list.get(i);
  }
}

void Executor::collectOutputs(std::vector<at::Tensor>& outputs) {
  outputs.clear();
  for (const GraphOutput& output : graph_.outputs) {
    const at::Tensor& value = values_[static_cast<size_t>(output.slot)].toTensor();
    if (output.mutatedBuffer.empty()) {
      outputs.push_back(value);
    } else {
      const at::NoGradGuard noGrad;
      buffers_.at(output.mutatedBuffer).copy_(value);
    }
  }
}

void Executor::dropValues() {
  for (const Slot slot : transient_) values_[static_cast<size_t>(slot)] = {};
  stack_.clear();
}

}  // namespace torchkeep::engine
