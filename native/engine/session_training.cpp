// The training loop of a session: what Python's does with `zero_grad`, `(loss / n).backward()`, clipping and `step`.
#include <ATen/ScalarOps.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/div.h>

#include <chrono>
#include <cmath>

#include "engine/autocast.h"
#include "engine/error.h"
#include "engine/session_batches.h"
#include "engine/session_program.h"

namespace torchkeep::engine {

RunResult TrainingProgram::run(const BatchSource& source, const RunOptions& options) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  optimizer("run");
  const BatchReader batches(source, device_);
  beginRun(options);
  RunResult result;
  result.accumulated = options.accumulated;
  struct EndOnExit {
    TrainingProgram& program;
    /// Of a run that failed or was stopped nothing is kept: its last batch may be half done.
    int64_t accumulated = 0;
    ~EndOnExit() { program.endRun(accumulated); }
  } end{*this};

  for (size_t i = 0; i < batches.count(); ++i) {
    Outcome outcome = Outcome::Stopped;
    int64_t samples = 0;
    end.accumulated = 0;
    try {
      const std::vector<at::Tensor> batch = batches.read(i);
      samples = batch.front().size(0);
      outcome = trainBatch(batch, static_cast<int64_t>(i), source.inputs, options, result);
    } catch (...) {
      rethrowFrom("step " + std::to_string(stepsDone_ + 1) + " of the session (batch " + std::to_string(i) +
                  " of this run)");
    }
    if (outcome == Outcome::Stopped) {
      result.reason = StopReason::Stopped;
      return result;
    }
    end.accumulated = result.accumulated;
    if (outcome == Outcome::NonFinite) {
      result.reason = StopReason::NonFinite;
      return result;
    }
    ++result.batches;
    result.samples += samples;
    if (i + 1 == batches.count()) break;
    const double elapsedMs = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    if (pause_.load(std::memory_order_relaxed)) result.reason = StopReason::Paused;
    if (elapsedMs > options.maxDurationMs) result.reason = StopReason::Time;
    if (result.reason != StopReason::End) return result;
  }
  return result;
}

void TrainingProgram::beginRun(const RunOptions& options) {
  // Gradients that came from outside are of as many batches as their owner says.
  if (options.accumulated > 0 && keptBatches_.value_or(options.accumulated) != options.accumulated) {
    throw Error(ErrorCode::InvalidArgument,
                "accumulated: expected " + std::to_string(*keptBatches_) +
                    " (the batches whose gradients the last run kept; setGradients gives others), found " +
                    std::to_string(options.accumulated));
  }
  dropGradients();
  hasGradients_ = options.accumulated > 0 && gradients_.hasKept();
  if (hasGradients_) gradients_.putBack();
  gradients_.dropKept();
}

void TrainingProgram::endRun(int64_t accumulated) {
  if (accumulated > 0) gradients_.takeAway();
  keptBatches_ = accumulated;
  dropGradients();
}

TrainingProgram::Outcome TrainingProgram::trainBatch(const std::vector<at::Tensor>& batch, int64_t index,
                                                     int64_t inputs, const RunOptions& options, RunResult& result) {
  if (result.accumulated == 0) {
    dropGradients();
    hasGradients_ = false;
  }
  at::Tensor loss;
  if (!forward(batch, inputs, loss)) return Outcome::Stopped;
  const double value = loss.item<double>();
  result.losses.push_back(value);
  if (std::isfinite(value)) {
    backward(loss, options.accumulate);
  } else {
    result.skipped.push_back({index, std::nullopt});
    if (!options.skipNonFinite) return Outcome::NonFinite;
  }
  ++result.accumulated;
  if (result.accumulated < options.accumulate) return Outcome::Done;
  result.accumulated = 0;
  return hasGradients_ ? step(index, options, result) : Outcome::Done;
}

bool TrainingProgram::forward(const std::vector<at::Tensor>& batch, int64_t inputs, at::Tensor& loss) {
  const at::AutoGradMode recordGradients(true);
  const Autocast autocast(device_, autocast_, stop_);
  std::vector<at::Tensor> outputs;
  return train_->run({batch.begin(), batch.begin() + inputs}, outputs) &&
         computeLoss(std::move(outputs), batch, inputs, loss);
}

void TrainingProgram::backward(const at::Tensor& loss, int64_t accumulate) {
  const at::AutoGradMode recordGradients(true);
  if (!loss.requires_grad()) {
    throw Error(ErrorCode::InvalidArgument,
                "expected a loss that depends on a parameter with requires_grad, found none (is everything frozen?)");
  }
  if (accumulate == 1) {
    loss.backward();
  } else {
    loss.div(at::native::wrapped_scalar_tensor(accumulate)).backward();
  }
  hasGradients_ = true;
}

TrainingProgram::Outcome TrainingProgram::step(int64_t index, const RunOptions& options, RunResult& result) {
  at::Tensor norm;
  if (options.clipGradNorm) norm = gradients_.totalNorm();
  const double normValue = norm.defined() ? norm.item<double>() : 0;
  // A finite norm has only finite gradients; without one, or where the squares overflow, each value is looked at.
  const bool isSuspect = !norm.defined() || !std::isfinite(normValue);
  if (const std::string* culprit = isSuspect ? gradients_.firstNonFinite() : nullptr) {
    result.skipped.push_back({index, *culprit});
    return options.skipNonFinite ? Outcome::Done : Outcome::NonFinite;
  }
  if (options.clipGradNorm) {
    gradients_.scaleToNorm(*options.clipGradNorm, norm);
    result.gradNorms.push_back(normValue);
  }
  if (options.clipGradValue) gradients_.clampValues(*options.clipGradValue);
  optimizer_->update();
  ++stepsDone_;
  ++result.steps;
  return Outcome::Done;
}

}  // namespace torchkeep::engine
