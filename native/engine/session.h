// A training session: one compiled model with its loss, optimizer and one thread of its own. No torch, no napi in this
// header.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/value.h"

namespace torchkeep::engine {

class TrainingProgram;  // engine/session_program.h: what the session's thread executes

/// Tensors by dotted name, in the order given.
using NamedTensors = std::vector<std::pair<std::string, TensorPtr>>;
/// Optimizer state: by parameter name, then by Python's key (`step`, `exp_avg`...).
using OptimizerState = std::vector<std::pair<std::string, NamedTensors>>;

struct ParamGroup {
  std::vector<std::string> params;
  /// PyTorch's hyperparameters by PyTorch's names: a Dict.
  Value options;
};

struct OptimizerSpec {
  std::string name;
  std::vector<ParamGroup> groups;
  OptimizerState state;
};

/// `SessionSpec` of lib/contract.ts. Graphs are plain trees of torch.export's JSON schema 8.x.
struct SessionSpec {
  /// Null: the session does not train.
  Value trainGraph;
  Value evalGraph;
  /// Null: the session computes no loss.
  Value lossGraph;
  NamedTensors parameters;
  NamedTensors buffers;
  NamedTensors constants;
  std::optional<OptimizerSpec> optimizer;
  std::string device;
  /// `bfloat16`; empty: none.
  std::string autocast;
};

/// `BatchSource` of lib/contract.ts: rows of whole tensors by index, or ready batches.
struct BatchSource {
  std::vector<TensorPtr> tensors;
  std::vector<int64_t> order;
  int64_t batchSize = 0;
  /// Used instead of the above when `ready`.
  std::vector<std::vector<TensorPtr>> batches;
  bool ready = false;
  /// How many leading tensors of a batch are model inputs.
  int64_t inputs = 0;
};

/// How to train; `RunOptions` of lib/contract.ts.
struct RunOptions {
  double maxDurationMs = 0;
  /// Batches of one optimizer step, and those of the first that earlier runs have done.
  int64_t accumulate = 1;
  int64_t accumulated = 0;
  std::optional<double> clipGradNorm;
  std::optional<double> clipGradValue;
  bool skipNonFinite = false;
};

/// A batch with a loss, or with the gradients of `parameter`, that is not finite.
struct NonFiniteBatch {
  int64_t batch = 0;
  std::optional<std::string> parameter;
};

enum class StopReason { End, Time, Paused, Stopped, NonFinite };

/// The spelling of lib/contract.ts.
const char* stopReasonName(StopReason reason) noexcept;

struct RunResult {
  int64_t batches = 0;
  int64_t steps = 0;
  int64_t samples = 0;
  /// One a batch; one more where the last one ended the run.
  std::vector<double> losses;
  /// One a step, with `clipGradNorm`.
  std::vector<double> gradNorms;
  int64_t accumulated = 0;
  std::vector<NonFiniteBatch> skipped;
  StopReason reason = StopReason::End;
};

struct EvaluateResult {
  int64_t samples = 0;
  double loss = 0;
  std::vector<TensorPtr> outputs;
  StopReason reason = StopReason::End;
};

/// One call of a prediction.
struct Prediction {
  std::vector<TensorPtr> outputs;
  /// What it failed with; the calls after it run all the same.
  std::exception_ptr failure;
};

struct PredictResult {
  /// Of the first calls: all of them with `End`.
  std::vector<Prediction> done;
  StopReason reason = StopReason::End;
};

/// All methods belong to one thread (JavaScript's); operations execute on the session's own thread, one at a time.
/// `done` is called on that thread exactly once, with a failure or the result, after the session has become free again.
/// It must not own the session: whoever drops the last reference joins the thread.
class Session {
 public:
  template <typename Result>
  using Done = std::function<void(std::exception_ptr, Result)>;

  /// Starts the thread, with `threads` for LibTorch's parallel regions on it; 0 takes LibTorch's default.
  Session(GeneratorPtr generator, int threads);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// The first operation: compiles the graphs and makes the optimizer. Fails with InvalidArgument naming the culprit.
  void compile(SessionSpec spec, Done<bool> done);
  /// Trains on the batches; gradients are dropped before every step, those of an unfinished one are kept. The chunk
  /// ends after the first batch past `maxDurationMs`. A failing step says its number, drops all gradients and leaves
  /// the session usable.
  void run(BatchSource source, RunOptions options, Done<RunResult> done);
  /// Evaluates under no_grad with the evaluation graph. Outputs are concatenated along dimension 0 (0-d ones become one
  /// element a batch).
  void evaluate(BatchSource source, Done<EvaluateResult> done);
  /// Runs the evaluation graph once a call under no_grad, on inputs of any sizes that it takes, until the first call
  /// past `maxDurationMs`. The outputs are as it gives them and share no memory with the state and the inputs.
  void predict(std::vector<std::vector<TensorPtr>> calls, double maxDurationMs, Done<PredictResult> done);
  void setParamGroups(const std::vector<ParamGroup>& groups);
  /// The live tensors.
  OptimizerState optimizerState();
  /// Those of an unfinished step: the live tensors.
  NamedTensors gradients();
  /// Puts copies in place of them.
  void setGradients(const NamedTensors& gradients);
  /// Ends the running operation after the current step or batch, a prediction between two graph nodes; without one it
  /// does nothing.
  void pause();
  /// Ends the running operation between two graph nodes, joins the thread, drops the tensors. Idempotent.
  void dispose();

 private:
  /// Marks `tensors`, and the generator if the operation draws, as in use and `data` as being read until the operation
  /// ends, and hands it to the thread. Throws Busy or Disposed.
  template <typename Result>
  void submit(const char* name, const std::vector<TensorPtr>& tensors, const std::vector<TensorPtr>& data, bool draws,
              std::function<Result()> operation, Done<Result> done);
  /// Throws Disposed or Busy, naming the operation.
  void requireIdle(const char* name);
  TrainingProgram& program(const char* name);
  void threadMain(int threads);

  const GeneratorPtr generator_;
  std::unique_ptr<TrainingProgram> program_;

  std::mutex mutex_;
  std::condition_variable wake_;
  /// The one slot of the queue.
  std::function<void()> job_;
  bool busy_ = false;
  bool disposed_ = false;

  std::atomic<bool> pause_{false};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace torchkeep::engine
