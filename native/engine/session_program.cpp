#include "engine/session_program.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <unordered_map>

#include "engine/autocast.h"
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

/// The same for a graph that may be absent.
std::unique_ptr<Executor> makeOptionalExecutor(const Value& graph, const char* label, const SessionSpec& spec,
                                               const TensorTable& parameters, c10::Device device,
                                               const GeneratorPtr& generator, const std::atomic<bool>& stop) {
  if (graph.isNull()) return nullptr;
  return std::unique_ptr<Executor>(new Executor(makeExecutor(graph, label, spec, parameters, device, generator, stop)));
}

void requireLossCount(size_t expected, size_t found) {
  if (expected != found) {
    throw Error(ErrorCode::InvalidArgument, "loss graph: expected " + std::to_string(found) +
                                                " inputs (the model's outputs and the targets of a batch), found " +
                                                std::to_string(expected));
  }
}

/// The optimizer's parameters in the model's order, which is that of `clip_grad_norm_(model.parameters())`: the norm's
/// last bits depend on it, and parameter groups may have another one.
std::vector<TrainedParameter> inModelOrder(std::vector<TrainedParameter> trained, const NamedTensors& model) {
  std::unordered_map<std::string, size_t> places;
  for (size_t i = 0; i < model.size(); ++i) places.emplace(model[i].first, i);
  std::stable_sort(trained.begin(), trained.end(), [&places](const TrainedParameter& a, const TrainedParameter& b) {
    return places.at(a.name) < places.at(b.name);
  });
  return trained;
}

}  // namespace

TrainingProgram::TrainingProgram(const SessionSpec& spec, const GeneratorPtr& generator, const std::atomic<bool>& stop,
                                 const std::atomic<bool>& pause)
    : device_(parseSessionDevice(spec.device)),
      autocast_(parseAutocastDtype(spec.autocast, "autocast")),
      stop_(stop),
      pause_(pause),
      tensors_(handlesOf(spec)),
      parameters_(tieParameters(spec.parameters)),
      train_(makeOptionalExecutor(spec.trainGraph, "train graph", spec, parameters_, device_, generator, stop)),
      eval_(makeExecutor(spec.evalGraph, "evaluation graph", spec, parameters_, device_, generator, stop)),
      loss_(makeOptionalExecutor(spec.lossGraph, "loss graph", spec, parameters_, device_, generator, stop)),
      optimizer_(spec.optimizer ? createOptimizer(*spec.optimizer, parameters_) : nullptr),
      gradients_(optimizer_ ? inModelOrder(optimizer_->parameters(), spec.parameters)
                            : std::vector<TrainedParameter>()) {
  if (optimizer_ && (!train_ || !loss_)) {
    throw Error(ErrorCode::InvalidArgument, std::string(train_ ? "lossGraph" : "trainGraph") +
                                                ": expected a graph, as there is an optimizer, found null");
  }
  if (!loss_) return;
  if (loss_->userOutputs() != 1) {
    throw Error(ErrorCode::InvalidArgument,
                "loss graph: expected one output, found " + std::to_string(loss_->userOutputs()));
  }
  if (autocast_) loss_->allowAutocast(eval_.userOutputs(), *autocast_);
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

NamedTensors TrainingProgram::gradients() const {
  optimizer("gradients");
  return gradients_.kept();
}

void TrainingProgram::setGradients(const NamedTensors& gradients) {
  optimizer("setGradients");
  gradients_.keepCopies(gradients);
  keptBatches_ = std::nullopt;
}

std::vector<TensorPtr> TrainingProgram::tensors() const {
  std::vector<TensorPtr> all = tensors_;
  if (optimizer_ == nullptr) return all;
  for (const at::Tensor& gradient : gradients_.live()) all.push_back(wrap(gradient));
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

bool TrainingProgram::computeLoss(std::vector<at::Tensor> modelOutputs, const std::vector<at::Tensor>& batch,
                                  int64_t inputs, at::Tensor& loss) {
  if (!loss_)
    throw Error(ErrorCode::InvalidArgument, "evaluate: expected batches of " + std::to_string(inputs) +
                                                " tensors, as the session was made without a loss graph, found " +
                                                std::to_string(batch.size()));
  modelOutputs.insert(modelOutputs.end(), batch.begin() + inputs, batch.end());
  requireLossCount(loss_->userInputs(), modelOutputs.size());
  std::vector<at::Tensor> losses;
  if (!loss_->run(modelOutputs, losses)) return false;
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
      const Autocast autocast(device_, autocast_, stop_);
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

PredictResult TrainingProgram::predict(const std::vector<std::vector<TensorPtr>>& calls, double maxDurationMs) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const at::NoGradGuard noGrad;
  PredictResult result;
  for (const std::vector<TensorPtr>& call : calls) {
    Prediction prediction;
    try {
      if (!predictCall(call, prediction.outputs)) {
        result.reason = stop_.load(std::memory_order_relaxed) ? StopReason::Stopped : StopReason::Paused;
        return result;
      }
    } catch (...) {
      prediction.outputs.clear();
      prediction.failure = std::current_exception();
    }
    result.done.push_back(std::move(prediction));
    if (result.done.size() == calls.size()) break;
    if (std::chrono::duration<double, std::milli>(Clock::now() - start).count() > maxDurationMs) {
      result.reason = StopReason::Time;
      break;
    }
  }
  return result;
}

bool TrainingProgram::predictCall(const std::vector<TensorPtr>& call, std::vector<TensorPtr>& results) {
  std::vector<at::Tensor> inputs;
  for (const TensorPtr& handle : call) inputs.push_back(handle->value.detach());
  std::vector<at::Tensor> outputs;
  const Autocast autocast(device_, autocast_, stop_);
  if (!eval_.run(inputs, outputs, &pause_)) return false;
  for (const at::Tensor& output : outputs) results.push_back(wrap(own(output, inputs)));
  return true;
}

at::Tensor TrainingProgram::own(const at::Tensor& output, const std::vector<at::Tensor>& inputs) const {
  const auto shares = [&output](const at::Tensor& other) { return output.is_alias_of(other); };
  const auto sharesHandle = [&shares](const TensorPtr& handle) { return shares(handle->value); };
  const bool isShared =
      std::any_of(inputs.begin(), inputs.end(), shares) || std::any_of(tensors_.begin(), tensors_.end(), sharesHandle);
  return isShared ? output.clone() : output;
}

}  // namespace torchkeep::engine
