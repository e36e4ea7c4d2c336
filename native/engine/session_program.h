// What a session's thread executes: the compiled graphs, the parameters and the optimizer. Includes torch: only
// engine/*.cpp may include this header.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "engine/executor.h"
#include "engine/gradients.h"
#include "engine/optimizer.h"
#include "engine/session.h"

namespace torchkeep::engine {

class TrainingProgram {
 public:
  /// Compiles and checks everything; throws Error(InvalidArgument) naming the culprit.
  TrainingProgram(const SessionSpec& spec, const GeneratorPtr& generator, const std::atomic<bool>& stop,
                  const std::atomic<bool>& pause);

  /// On the session's thread.
  RunResult run(const BatchSource& source, const RunOptions& options);
  EvaluateResult evaluate(const BatchSource& source);
  PredictResult predict(const std::vector<std::vector<TensorPtr>>& calls, double maxDurationMs);

  void setParamGroups(const std::vector<ParamGroup>& groups);
  OptimizerState optimizerState() const;
  NamedTensors gradients() const;
  void setGradients(const NamedTensors& gradients);

  /// Every tensor that an operation reads or writes.
  std::vector<TensorPtr> tensors() const;
  bool trainingDraws() const { return (train_ && train_->random()) || lossDraws(); }
  bool evaluationDraws() const { return eval_.random() || lossDraws(); }
  bool predictionDraws() const { return eval_.random(); }

 private:
  enum class Outcome { Done, Stopped, NonFinite };

  /// Checks the options against the gradients that are kept, and makes those the parameters'.
  void beginRun(const RunOptions& options);
  /// Keeps the gradients of `accumulated` batches.
  void endRun(int64_t accumulated);
  /// Batch number `index` of the run and, where it ends a group, the step. What comes of it is noted in `result`.
  Outcome trainBatch(const std::vector<at::Tensor>& batch, int64_t index, int64_t inputs, const RunOptions& options,
                     RunResult& result);
  /// Forward and loss. False when stopped.
  bool forward(const std::vector<at::Tensor>& batch, int64_t inputs, at::Tensor& loss);
  void backward(const at::Tensor& loss, int64_t accumulate);
  Outcome step(int64_t index, const RunOptions& options, RunResult& result);
  /// Runs the loss graph on the model's outputs and the targets. False when stopped.
  bool computeLoss(std::vector<at::Tensor> modelOutputs, const std::vector<at::Tensor>& batch, int64_t inputs,
                   at::Tensor& loss);
  /// One call; false when it was stopped.
  bool predictCall(const std::vector<TensorPtr>& call, std::vector<TensorPtr>& results);
  bool lossDraws() const { return loss_ && loss_->random(); }
  /// A copy of what shares memory with the state or an input, so that outputs are the caller's.
  at::Tensor own(const at::Tensor& output, const std::vector<at::Tensor>& inputs) const;
  void dropGradients();
  Optimizer& optimizer(const char* what) const;

  const c10::Device device_;
  const std::optional<at::ScalarType> autocast_;
  const std::atomic<bool>& stop_;
  const std::atomic<bool>& pause_;
  std::vector<TensorPtr> tensors_;
  /// Two names of one tied parameter have one tensor here.
  const TensorTable parameters_;
  /// Null in a session that does not train.
  std::unique_ptr<Executor> train_;
  Executor eval_;
  /// Null in a session that only predicts.
  std::unique_ptr<Executor> loss_;
  std::unique_ptr<Optimizer> optimizer_;
  Gradients gradients_;
  /// Batches whose gradients are kept between two runs; absent where they came from `setGradients`.
  std::optional<int64_t> keptBatches_ = 0;
  /// Whether any batch of the present group has given gradients: all may have been passed over.
  bool hasGradients_ = false;
  /// Steps of the whole session, for messages.
  int64_t stepsDone_ = 0;
};

}  // namespace torchkeep::engine
