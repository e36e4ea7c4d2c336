// What a session's thread executes: the compiled graphs, the parameters and the optimizer. Includes torch: only
// engine/*.cpp may include this header.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "engine/executor.h"
#include "engine/optimizer.h"
#include "engine/session.h"

namespace torchkeep::engine {

class TrainingProgram {
 public:
  /// Compiles and checks everything; throws Error(InvalidArgument) naming the culprit.
  TrainingProgram(const SessionSpec& spec, const GeneratorPtr& generator, const std::atomic<bool>& stop,
                  const std::atomic<bool>& pause);

  /// On the session's thread.
  RunResult run(const BatchSource& source, double maxDurationMs);
  EvaluateResult evaluate(const BatchSource& source);

  void setParamGroups(const std::vector<ParamGroup>& groups);
  OptimizerState optimizerState() const;

  /// Every tensor that an operation reads or writes.
  std::vector<TensorPtr> tensors() const;
  bool trainingDraws() const { return train_.random() || loss_.random(); }
  bool evaluationDraws() const { return eval_.random() || loss_.random(); }

 private:
  enum class Step { Done, Stopped, NonFinite };

  /// One training step; the loss goes to `loss`.
  Step trainStep(const std::vector<at::Tensor>& batch, int64_t inputs, double& loss);
  /// Runs the loss graph on the model's outputs and the targets. False when stopped.
  bool computeLoss(std::vector<at::Tensor> modelOutputs, const std::vector<at::Tensor>& batch, int64_t inputs,
                   at::Tensor& loss);
  void dropGradients();
  Optimizer& optimizer(const char* what) const;

  const c10::Device device_;
  const std::atomic<bool>& stop_;
  const std::atomic<bool>& pause_;
  std::vector<TensorPtr> tensors_;
  /// Two names of one tied parameter have one tensor here.
  const TensorTable parameters_;
  Executor train_;
  Executor eval_;
  Executor loss_;
  std::unique_ptr<Optimizer> optimizer_;
  /// Steps of the whole session, for messages.
  int64_t stepsDone_ = 0;
};

}  // namespace torchkeep::engine
