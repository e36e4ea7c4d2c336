// SGD, in the order of torch/optim/sgd.py: _single_tensor_sgd, and _fused_sgd for `fused`.
#include <ATen/core/Tensor.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty_like.h>

#include "engine/error.h"
#include "engine/optimizer.h"

namespace torchkeep::engine {
namespace {

struct SgdOptions {
  double lr;
  double momentum;
  double dampening;
  double weightDecay;
  bool nesterov;
  bool maximize;
  bool fused;
};

SgdOptions readOptions(const Hyperparameters& given) {
  given.refuseUnknown({"lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize", "fused"});
  SgdOptions options{};
  options.lr = given.nonNegative("lr");
  options.momentum = given.nonNegative("momentum");
  options.dampening = given.number("dampening");
  options.weightDecay = given.nonNegative("weight_decay");
  options.nesterov = given.flag("nesterov");
  options.maximize = given.flag("maximize");
  options.fused = given.flag("fused");
  if (options.nesterov && (options.momentum == 0 || options.dampening != 0)) {
    given.reject("nesterov", "false without momentum or with dampening");
  }
  return options;
}

class Sgd : public Optimizer {
 public:
  Sgd(const OptimizerSpec& spec, const TensorTable& parameters)
      : Optimizer(spec, parameters), buffers_(groups_.size()) {
    for (size_t g = 0; g < groups_.size(); ++g) buffers_[g].resize(groups_[g].size());
    load(spec);
  }

 protected:
  void step() override {
    for (size_t g = 0; g < groups_.size(); ++g) {
      if (options_[g].fused) {
        stepFused(groups_[g], buffers_[g], options_[g]);
      } else {
        for (size_t i = 0; i < groups_[g].size(); ++i) stepSingle(groups_[g][i].tensor, buffers_[g][i], options_[g]);
      }
    }
  }

  void setOptions(const std::vector<Hyperparameters>& groups) override {
    std::vector<SgdOptions> options;
    for (const Hyperparameters& group : groups) options.push_back(readOptions(group));
    options_ = std::move(options);
  }

  NamedState stateOf(size_t group, size_t index) const override {
    const at::Tensor& buffer = buffers_[group][index];
    return buffer.defined() ? NamedState{{"momentum_buffer", buffer}} : NamedState{};
  }

  void loadState(size_t group, size_t index, const NamedTensors& state) override {
    const TrainedParameter& parameter = groups_[group][index];
    for (const auto& [key, tensor] : state) {
      const std::string what = "SGD state of \"" + parameter.name + "\", \"" + key + "\"";
      if (key != "momentum_buffer")
        throw Error(ErrorCode::InvalidArgument, what + ": expected the key momentum_buffer");
      buffers_[group][index] = copyMoment(tensor, parameter.tensor, what);
    }
  }

 private:
  static void stepSingle(const at::Tensor& parameter, at::Tensor& buffer, const SgdOptions& options) {
    at::Tensor grad = parameter.grad();
    if (!grad.defined()) return;
    if (options.maximize) grad = grad.neg();
    if (options.weightDecay != 0) grad = grad.add(parameter, options.weightDecay);
    if (options.momentum != 0) {
      if (buffer.defined()) {
        buffer.mul_(numberFor(buffer.scalar_type(), options.momentum)).add_(grad, 1 - options.dampening);
      } else {
        buffer = grad.detach().clone();
      }
      grad = options.nesterov ? grad.add(buffer, options.momentum) : buffer;
    }
    parameter.add_(grad, -options.lr);
  }

  /// Python gives all buffers of a group at once; new ones are a call of their own here, so that parameters may be
  /// unfrozen later.
  static void stepFused(const Group& group, std::vector<at::Tensor>& buffers, const SgdOptions& options) {
    std::vector<size_t> fresh, known;
    for (size_t i = 0; i < group.size(); ++i) {
      const at::Tensor& grad = group[i].tensor.grad();
      if (!grad.defined()) continue;
      const bool isFresh = options.momentum != 0 && !buffers[i].defined();
      if (isFresh) buffers[i] = at::empty_like(grad);
      (isFresh ? fresh : known).push_back(i);
    }
    for (const auto& [indices, isFirstStep] : {std::pair(fresh, true), std::pair(known, false)}) {
      for (const std::vector<size_t>& sameKind : byDtype(group, indices))
        callFused(group, buffers, sameKind, isFirstStep, options);
    }
  }

  static void callFused(const Group& group, const std::vector<at::Tensor>& buffers, const std::vector<size_t>& indices,
                        bool isFirstStep, const SgdOptions& options) {
    std::vector<at::Tensor> parameters, grads, momenta;
    for (const size_t i : indices) {
      parameters.push_back(group[i].tensor);
      grads.push_back(group[i].tensor.grad());
      if (options.momentum != 0) momenta.push_back(buffers[i]);
    }
    at::_fused_sgd_(parameters, grads, momenta, options.weightDecay, options.momentum, options.lr, options.dampening,
                    options.nesterov, options.maximize, isFirstStep);
  }

  std::vector<SgdOptions> options_;
  std::vector<std::vector<at::Tensor>> buffers_;
};

}  // namespace

std::unique_ptr<Optimizer> createSgd(const OptimizerSpec& spec, const TensorTable& parameters) {
  return std::make_unique<Sgd>(spec, parameters);
}

}  // namespace torchkeep::engine
