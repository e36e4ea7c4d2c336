#include "engine/session_program.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <tuple>

#include "engine/error.h"
#include "engine/session_batches.h"
#include "engine/tensor.h"

namespace torchkeep::engine {
namespace {

c10::Device parseSessionDevice(const std::string& name) {
  try {
    return c10::Device(name);
  } catch (const c10::Error& error) {
    throw Error(ErrorCode::InvalidArgument,
                "device: expected a device name such as cpu or cuda:0, found \"" + name + "\"");
  }
}

bool isSameView(const at::Tensor& a, const at::Tensor& b) {
  return a.is_same(b) ||
         (a.is_alias_of(b) && a.storage_offset() == b.storage_offset() && a.scalar_type() == b.scalar_type() &&
          a.sizes() == b.sizes() && a.strides() == b.strides() && a.numel() > 0);
}

/// By name. A parameter that views the same memory as an earlier one is that one, so that tied weights get one gradient
/// and one update.
TensorTable tieParameters(const NamedTensors& parameters) {
  TensorTable table;
  std::vector<std::pair<std::string, at::Tensor>> seen;
  for (const auto& [name, handle] : parameters) {
    at::Tensor tensor = handle->value;
    const std::string what = "parameter \"" + name + "\"";
    if (tensor.requires_grad() && !tensor.is_leaf())
      throw Error(ErrorCode::InvalidArgument, what + ": expected a leaf tensor, found a result of autograd");
    const auto isTied = [&](const auto& other) { return isSameView(other.second, tensor); };
    const auto tied = std::find_if(seen.begin(), seen.end(), isTied);
    if (tied == seen.end()) {
      seen.emplace_back(name, tensor);
    } else if (tied->second.requires_grad() != tensor.requires_grad()) {
      throw Error(ErrorCode::InvalidArgument,
                  what + ": expected the same requires_grad as \"" + tied->first + "\", which shares its memory");
    } else {
      tensor = tied->second;
    }
    table.emplace(name, std::move(tensor));
  }
  return table;
}

TensorTable tableOf(const NamedTensors& tensors) {
  TensorTable table;
  for (const auto& [name, handle] : tensors) table.emplace(name, handle->value);
  return table;
}

std::vector<TensorPtr> handlesOf(const SessionSpec& spec) {
  std::vector<TensorPtr> handles;
  for (const NamedTensors* list : {&spec.parameters, &spec.buffers, &spec.constants}) {
    for (const auto& [name, handle] : *list) handles.push_back(handle);
  }
  return handles;
}

/// Compiles one of the three graphs and binds it.
Executor makeExecutor(const Value& graph, const char* label, const SessionSpec& spec, const TensorTable& parameters,
                      c10::Device device, const GeneratorPtr& generator, const std::atomic<bool>& stop) {
  const TensorTable buffers = tableOf(spec.buffers);
  const TensorTable constants = tableOf(spec.constants);
  return Executor(compileGraph(graph, label, device), {parameters, buffers, constants}, device, generator, stop);
}

/// The exception in flight, as a failure of one step or batch.
[[noreturn]] void rethrowFrom(const std::string& where) {
  const Error error = translate(std::current_exception());
  throw Error(error.code(), where + ": " + error.what());
}

void requireLossCount(size_t expected, size_t found) {
  if (expected != found) {
    throw Error(ErrorCode::InvalidArgument, "loss graph: expected " + std::to_string(found) +
                                                " inputs (the model's outputs and the targets of a batch), found " +
                                                std::to_string(expected));
  }
}

}  // namespace

TrainingProgram::TrainingProgram(const SessionSpec& spec, const GeneratorPtr& generator, const std::atomic<bool>& stop,
                                 const std::atomic<bool>& pause)
    : device_(parseSessionDevice(spec.device)),
      stop_(stop),
      pause_(pause),
      tensors_(handlesOf(spec)),
      parameters_(tieParameters(spec.parameters)),
      train_(makeExecutor(spec.trainGraph, "train graph", spec, parameters_, device_, generator, stop)),
      eval_(makeExecutor(spec.evalGraph, "evaluation graph", spec, parameters_, device_, generator, stop)),
      loss_(makeExecutor(spec.lossGraph, "loss graph", spec, parameters_, device_, generator, stop)) {
  if (loss_.userOutputs() != 1) {
    throw Error(ErrorCode::InvalidArgument,
                "loss graph: expected one output, found " + std::to_string(loss_.userOutputs()));
  }
  if (spec.optimizer) optimizer_ = createOptimizer(*spec.optimizer, parameters_);
}

Optimizer& TrainingProgram::optimizer(const char* what) const {
  if (optimizer_ == nullptr)
    throw Error(ErrorCode::InvalidArgument,
                std::string(what) + ": the session was made without an optimizer, for evaluation only");
  return *optimizer_;
}

void TrainingProgram::setParamGroups(const std::vector<ParamGroup>& groups) {
  optimizer("setParamGroups").setGroups(groups);
}

OptimizerState TrainingProgram::optimizerState() const { return optimizer("optimizerState").state(); }

std::vector<TensorPtr> TrainingProgram::tensors() const {
  std::vector<TensorPtr> all = tensors_;
  if (optimizer_ == nullptr) return all;
  for (const auto& [name, state] : optimizer_->state()) {
    for (const auto& [key, tensor] : state) all.push_back(tensor);
  }
  return all;
}

void TrainingProgram::dropGradients() {
  for (const auto& [name, parameter] : parameters_) {
    if (parameter.grad().defined()) parameter.mutable_grad().reset();
  }
}

RunResult TrainingProgram::run(const BatchSource& source, double maxDurationMs) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  optimizer("run");
  const BatchReader batches(source, device_);
  struct DropOnExit {
    TrainingProgram& program;
    ~DropOnExit() { program.dropGradients(); }
  } dropOnExit{*this};

  RunResult result;
  for (size_t i = 0; i < batches.count(); ++i) {
    Step step = Step::Stopped;
    double loss = 0;
    int64_t samples = 0;
    try {
      const std::vector<at::Tensor> batch = batches.read(i);
      samples = batch.front().size(0);
      step = trainStep(batch, source.inputs, loss);
    } catch (...) {
      rethrowFrom("step " + std::to_string(stepsDone_ + 1) + " of the session (batch " + std::to_string(i) +
                  " of this run)");
    }
    if (step == Step::Stopped) {
      result.reason = StopReason::Stopped;
      return result;
    }
    result.losses.push_back(loss);
    if (step == Step::NonFinite) {
      result.reason = StopReason::NonFinite;
      return result;
    }
    ++stepsDone_;
    ++result.steps;
    result.samples += samples;
    if (i + 1 == batches.count()) break;
    const double elapsedMs = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    if (pause_.load(std::memory_order_relaxed)) result.reason = StopReason::Paused;
    if (elapsedMs > maxDurationMs) result.reason = StopReason::Time;
    if (result.reason != StopReason::End) return result;
  }
  return result;
}

TrainingProgram::Step TrainingProgram::trainStep(const std::vector<at::Tensor>& batch, int64_t inputs,
                                                 double& lossValue) {
  const at::AutoGradMode recordGradients(true);
  dropGradients();
  std::vector<at::Tensor> outputs;
  if (!train_.run({batch.begin(), batch.begin() + inputs}, outputs)) return Step::Stopped;
  at::Tensor loss;
  if (!computeLoss(std::move(outputs), batch, inputs, loss)) return Step::Stopped;
  lossValue = loss.item<double>();
  if (!std::isfinite(lossValue)) return Step::NonFinite;
  if (!loss.requires_grad()) {
    throw Error(ErrorCode::InvalidArgument,
                "expected a loss that depends on a parameter with requires_grad, found none (is everything frozen?)");
  }
  loss.backward();
  optimizer_->update();
  return Step::Done;
}

bool TrainingProgram::computeLoss(std::vector<at::Tensor> modelOutputs, const std::vector<at::Tensor>& batch,
                                  int64_t inputs, at::Tensor& loss) {
  modelOutputs.insert(modelOutputs.end(), batch.begin() + inputs, batch.end());
  requireLossCount(loss_.userInputs(), modelOutputs.size());
  std::vector<at::Tensor> losses;
  if (!loss_.run(modelOutputs, losses)) return false;
  loss = std::move(losses.front());
  if (loss.numel() != 1)
    throw Error(ErrorCode::InvalidArgument, "loss graph: expected one number, found sizes " + c10::str(loss.sizes()));
  return true;
}

EvaluateResult TrainingProgram::evaluate(const BatchSource& source) {
  const at::NoGradGuard noGrad;
  const BatchReader batches(source, device_);
  EvaluateResult result;
  std::vector<std::vector<at::Tensor>> outputs(eval_.userOutputs());
  double lossSum = 0;
  bool hasLoss = true;
  for (size_t i = 0; i < batches.count() && result.reason == StopReason::End; ++i) {
    try {
      const std::vector<at::Tensor> batch = batches.read(i);
      hasLoss = static_cast<size_t>(source.inputs) < batch.size();
      std::vector<at::Tensor> batchOutputs;
      at::Tensor loss;
      if (!eval_.run({batch.begin(), batch.begin() + source.inputs}, batchOutputs) ||
          (hasLoss && !computeLoss(batchOutputs, batch, source.inputs, loss))) {
        result.reason = StopReason::Stopped;
        break;
      }
      for (size_t k = 0; k < batchOutputs.size(); ++k)
        outputs[k].push_back(batchOutputs[k].dim() == 0 ? batchOutputs[k].reshape({1}) : batchOutputs[k]);
      const int64_t samples = batch.front().size(0);
      if (hasLoss) lossSum += loss.item<double>() * static_cast<double>(samples);
      result.samples += samples;
    } catch (...) {
      rethrowFrom("evaluation, batch " + std::to_string(i));
    }
    if (pause_.load(std::memory_order_relaxed) && i + 1 < batches.count()) result.reason = StopReason::Paused;
  }
  result.loss = hasLoss ? lossSum / static_cast<double>(result.samples) : std::numeric_limits<double>::quiet_NaN();
  if (result.samples == 0) return result;
  for (size_t k = 0; k < outputs.size(); ++k) {
    try {
      result.outputs.push_back(wrap(at::cat(outputs[k])));
    } catch (...) {
      rethrowFrom("evaluation, output " + std::to_string(k) + " of the model, joining the batches along dimension 0");
    }
  }
  return result;
}

}  // namespace torchkeep::engine
