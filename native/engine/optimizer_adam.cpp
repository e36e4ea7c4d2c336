// Adam and AdamW, in the order of torch/optim/adam.py: _single_tensor_adam, and _fused_adam for `fused`.
#include <ATen/core/Tensor.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <tuple>

#include "engine/error.h"
#include "engine/optimizer.h"
#include "engine/tensor.h"

namespace torchkeep::engine {
namespace {

struct AdamOptions {
  double lr;
  double beta1;
  double beta2;
  double eps;
  double weightDecay;
  bool amsgrad;
  bool maximize;
  bool fused;
  /// Decay the weights, not the gradient: always so in AdamW.
  bool decoupled;
};

struct AdamState {
  /// float32, 0-d; on the CPU but for `fused`.
  at::Tensor step;
  at::Tensor expAvg;
  at::Tensor expAvgSq;
  /// Only with amsgrad.
  at::Tensor maxExpAvgSq;
};

AdamOptions readOptions(const Hyperparameters& given, bool isAdamW) {
  given.refuseUnknown({"lr", "betas", "eps", "weight_decay", "amsgrad", "maximize", "fused", "decoupled_weight_decay"});
  AdamOptions options{};
  options.lr = given.nonNegative("lr");
  std::tie(options.beta1, options.beta2) = given.betas();
  options.eps = given.nonNegative("eps");
  options.weightDecay = given.nonNegative("weight_decay");
  options.amsgrad = given.flag("amsgrad");
  options.maximize = given.flag("maximize");
  options.fused = given.flag("fused");
  options.decoupled = isAdamW || (given.has("decoupled_weight_decay") && given.flag("decoupled_weight_decay"));
  return options;
}

/// What all parameters of a group at the same step and dtype have in common.
class StepNumbers {
 public:
  void prepare(double step, at::ScalarType dtype, const AdamOptions& options) {
    if (step == step_ && dtype == dtype_) return;
    step_ = step;
    dtype_ = dtype;
    const double biasCorrection1 = 1 - std::pow(options.beta1, step);
    const double biasCorrection2 = 1 - std::pow(options.beta2, step);
    stepSize = options.lr / biasCorrection1;
    // Python's x ** 0.5, which is not always sqrt(x).
    biasCorrection2Sqrt = numberFor(dtype, std::pow(biasCorrection2, 0.5));
    beta2 = numberFor(dtype, options.beta2);
    eps = numberFor(dtype, options.eps);
    decay = numberFor(dtype, 1 - options.lr * options.weightDecay);
  }

  double stepSize = 0;
  at::Tensor biasCorrection2Sqrt;
  at::Tensor beta2;
  at::Tensor eps;
  /// What decoupled decay multiplies the weights with.
  at::Tensor decay;

 private:
  double step_ = -1;
  at::ScalarType dtype_ = at::kFloat;
};

class Adam : public Optimizer {
 public:
  Adam(const OptimizerSpec& spec, const TensorTable& parameters)
      : Optimizer(spec, parameters), states_(groups_.size()) {
    for (size_t g = 0; g < groups_.size(); ++g) states_[g].resize(groups_[g].size());
    load(spec);
  }

 protected:
  void step() override {
    for (size_t g = 0; g < groups_.size(); ++g) {
      if (options_[g].fused) {
        stepFused(groups_[g], states_[g], options_[g]);
      } else {
        StepNumbers numbers;
        for (size_t i = 0; i < groups_[g].size(); ++i) stepSingle(groups_[g][i], states_[g][i], options_[g], numbers);
      }
    }
  }

  void setOptions(const std::vector<Hyperparameters>& groups) override {
    std::vector<AdamOptions> options;
    for (const Hyperparameters& group : groups) options.push_back(readOptions(group, name_ == "AdamW"));
    for (size_t g = 0; g < options_.size(); ++g) {
      const char* reason = "the value it had, as the state depends on it";
      if (options[g].amsgrad != options_[g].amsgrad) groups[g].reject("amsgrad", reason);
      if (options[g].fused != options_[g].fused) groups[g].reject("fused", reason);
    }
    options_ = std::move(options);
  }

  NamedState stateOf(size_t group, size_t index) const override {
    const AdamState& state = states_[group][index];
    if (!state.step.defined()) return {};
    NamedState named{{"step", state.step}, {"exp_avg", state.expAvg}, {"exp_avg_sq", state.expAvgSq}};
    if (state.maxExpAvgSq.defined()) named.emplace_back("max_exp_avg_sq", state.maxExpAvgSq);
    return named;
  }

  void loadState(size_t group, size_t index, const NamedTensors& given) override {
    const TrainedParameter& parameter = groups_[group][index];
    const std::string owner = name_ + " state of \"" + parameter.name + "\"";
    AdamState& state = states_[group][index];
    for (const auto& [key, tensor] : given) {
      const std::string what = owner + ", \"" + key + "\"";
      if (key == "step") {
        if (tensor->value.dim() != 0) throw Error(ErrorCode::InvalidArgument, what + ": expected a 0-d tensor");
        const c10::Device device = options_[group].fused ? parameter.tensor.device() : c10::Device(c10::kCPU);
        state.step = tensor->value.detach().to(device, at::kFloat, /*non_blocking=*/false, /*copy=*/true);
      } else if (key == "exp_avg") {
        state.expAvg = copyMoment(tensor, parameter.tensor, what);
      } else if (key == "exp_avg_sq") {
        state.expAvgSq = copyMoment(tensor, parameter.tensor, what);
      } else if (key == "max_exp_avg_sq") {
        state.maxExpAvgSq = copyMoment(tensor, parameter.tensor, what);
      } else {
        throw Error(ErrorCode::InvalidArgument, what + ": unknown key");
      }
    }
    if (given.empty()) return;
    const bool complete = state.step.defined() && state.expAvg.defined() && state.expAvgSq.defined();
    if (!complete || state.maxExpAvgSq.defined() != options_[group].amsgrad) {
      throw Error(ErrorCode::InvalidArgument,
                  owner + ": expected step, exp_avg, exp_avg_sq and, with amsgrad only, max_exp_avg_sq");
    }
  }

 private:
  static void initialise(AdamState& state, const at::Tensor& parameter, const AdamOptions& options) {
    const auto stepDevice = options.fused ? parameter.device() : c10::Device(c10::kCPU);
    state.step = at::zeros({}, at::TensorOptions().dtype(at::kFloat).device(stepDevice));
    state.expAvg = at::zeros_like(parameter, {}, at::MemoryFormat::Preserve);
    state.expAvgSq = at::zeros_like(parameter, {}, at::MemoryFormat::Preserve);
    if (options.amsgrad) state.maxExpAvgSq = at::zeros_like(parameter, {}, at::MemoryFormat::Preserve);
  }

  /// The gradient, with state made where it is the first; undefined where there is none.
  at::Tensor prepare(const TrainedParameter& parameter, AdamState& state, const AdamOptions& options) const {
    at::Tensor grad = parameter.tensor.grad();
    if (!grad.defined()) return grad;
    if (grad.is_sparse())
      throw Error(ErrorCode::InvalidArgument,
                  name_ + ": the gradient of \"" + parameter.name + "\" is sparse, which Adam does not support");
    if (!state.step.defined()) initialise(state, parameter.tensor, options);
    return grad;
  }

  void stepSingle(const TrainedParameter& trained, AdamState& state, const AdamOptions& options,
                  StepNumbers& numbers) const {
    at::Tensor grad = prepare(trained, state, options);
    if (!grad.defined()) return;
    const at::Tensor& parameter = trained.tensor;
    if (options.maximize) grad = grad.neg();
    float& step = *state.step.mutable_data_ptr<float>();
    step += 1;
    numbers.prepare(step, c10::toRealValueType(parameter.scalar_type()), options);
    if (options.weightDecay != 0) {
      if (options.decoupled) {
        parameter.mul_(numbers.decay);
      } else {
        grad = grad.add(parameter, options.weightDecay);
      }
    }
    if (parameter.is_complex()) {
      const at::Tensor maximum = options.amsgrad ? at::view_as_real(state.maxExpAvgSq) : at::Tensor();
      const AdamState real{state.step, at::view_as_real(state.expAvg), at::view_as_real(state.expAvgSq), maximum};
      update(at::view_as_real(parameter), at::view_as_real(grad), real, options, numbers);
    } else {
      update(parameter, grad, state, options, numbers);
    }
  }

  static void update(const at::Tensor& parameter, const at::Tensor& grad, const AdamState& state,
                     const AdamOptions& options, const StepNumbers& numbers) {
    state.expAvg.lerp_(grad, 1 - options.beta1);
    state.expAvgSq.mul_(numbers.beta2).addcmul_(grad, grad, 1 - options.beta2);
    if (options.amsgrad) at::maximum_out(const_cast<at::Tensor&>(state.maxExpAvgSq), state.maxExpAvgSq, state.expAvgSq);
    const at::Tensor denom = (options.amsgrad ? state.maxExpAvgSq : state.expAvgSq).sqrt();
    denom.div_(numbers.biasCorrection2Sqrt).add_(numbers.eps);
    parameter.addcdiv_(state.expAvg, denom, -numbers.stepSize);
  }

  void stepFused(const Group& group, std::vector<AdamState>& states, const AdamOptions& options) const {
    std::vector<size_t> withGrad;
    for (size_t i = 0; i < group.size(); ++i) {
      if (prepare(group[i], states[i], options).defined()) withGrad.push_back(i);
    }
    for (const std::vector<size_t>& indices : byDtype(group, withGrad)) {
      std::vector<at::Tensor> parameters, grads, expAvgs, expAvgSqs, maxExpAvgSqs, steps;
      for (const size_t i : indices) {
        parameters.push_back(group[i].tensor);
        grads.push_back(group[i].tensor.grad());
        expAvgs.push_back(states[i].expAvg);
        expAvgSqs.push_back(states[i].expAvgSq);
        if (options.amsgrad) maxExpAvgSqs.push_back(states[i].maxExpAvgSq);
        steps.push_back(states[i].step.add_(1));
      }
      const auto fused = options.decoupled ? callFusedAdamW : callFusedAdam;
      fused(parameters, grads, expAvgs, expAvgSqs, maxExpAvgSqs, steps, options);
    }
  }

  static void callFusedAdam(at::TensorList parameters, at::TensorList grads, at::TensorList expAvgs,
                            at::TensorList expAvgSqs, at::TensorList maxExpAvgSqs, at::TensorList steps,
                            const AdamOptions& o) {
    at::_fused_adam_(parameters, grads, expAvgs, expAvgSqs, maxExpAvgSqs, steps, o.lr, o.beta1, o.beta2, o.weightDecay,
                     o.eps, o.amsgrad, o.maximize);
  }

  static void callFusedAdamW(at::TensorList parameters, at::TensorList grads, at::TensorList expAvgs,
                             at::TensorList expAvgSqs, at::TensorList maxExpAvgSqs, at::TensorList steps,
                             const AdamOptions& o) {
    at::_fused_adamw_(parameters, grads, expAvgs, expAvgSqs, maxExpAvgSqs, steps, o.lr, o.beta1, o.beta2, o.weightDecay,
                      o.eps, o.amsgrad, o.maximize);
  }

  std::vector<AdamOptions> options_;
  std::vector<std::vector<AdamState>> states_;
};

}  // namespace

std::unique_ptr<Optimizer> createAdam(const OptimizerSpec& spec, const TensorTable& parameters) {
  return std::make_unique<Adam>(spec, parameters);
}

}  // namespace torchkeep::engine
