// Runs a compiled graph on the calling thread. Includes torch: only engine/*.cpp may include this header.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/graph.h"
#include "engine/value.h"

namespace torchkeep::engine {

using TensorTable = std::unordered_map<std::string, at::Tensor>;

/// What a graph's inputs are bound to, by name.
struct GraphBindings {
  const TensorTable& parameters;
  const TensorTable& buffers;
  const TensorTable& constants;
};

class Executor {
 public:
  /// Binds `graph` to its tensors. Throws Error(InvalidArgument) naming a tensor that is missing or is not what the
  /// graph says.
  Executor(Graph graph, const GraphBindings& bindings, c10::Device device, GeneratorPtr generator,
           const std::atomic<bool>& stop);

  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Runs all nodes; autograd records them as the calling thread's grad mode says. False when the stop flag, or
  /// `cancel` where given, was seen between two nodes. A failing node is named in the error; an index out of range is
  /// Error(Data). Inputs that do not fit the graph are Error(InvalidArgument).
  bool run(const std::vector<at::Tensor>& inputs, std::vector<at::Tensor>& outputs,
           const std::atomic<bool>* cancel = nullptr);

  /// Lets the first `count` inputs be float32 where the graph says `lower` and the other way round: they are results
  /// under autocast, whose dtypes a graph that was recorded without it does not know.
  void allowAutocast(size_t count, at::ScalarType lower);

  const std::string& label() const { return graph_.label; }
  size_t userInputs() const { return userInputs_.size(); }
  size_t userOutputs() const { return userOutputs_; }
  bool random() const { return graph_.random; }

 private:
  void bind(GraphInput& input, const GraphBindings& bindings);
  void setInputs(const std::vector<at::Tensor>& inputs);
  void runNode(const Node& node);
  void callOperator(const Node& node);
  void takeOutput(const Output& output, c10::IValue value);
  void collectOutputs(std::vector<at::Tensor>& outputs);
  void dropValues();

  Graph graph_;
  const c10::Device device_;
  const GeneratorPtr generator_;
  const std::atomic<bool>& stop_;
  std::vector<GraphInput*> userInputs_;
  size_t userOutputs_ = 0;
  TensorTable buffers_;
  /// By slot. Parameters, buffers and constants stay; everything else is dropped after its last reader.
  std::vector<c10::IValue> values_;
  /// Slots that are empty between two runs.
  std::vector<Slot> transient_;
  std::vector<c10::IValue> stack_;
};

/// Throws Error(InvalidArgument) that names `what` unless `tensor` is on `device` and has a dtype and the sizes of
/// `meta`.
void requireFits(const at::Tensor& tensor, const TensorMeta& meta, c10::Device device, const std::string& what);

}  // namespace torchkeep::engine
