// Clipping in the order of torch/nn/utils/clip_grad.py, the foreach path.
#include "engine/gradients.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/grad_mode.h>
#include <ATen/native/ForeachUtils.h>
#include <ATen/ops/_foreach_clamp_max.h>
#include <ATen/ops/_foreach_clamp_min.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <limits>

#include "engine/error.h"
#include "engine/finite.h"
#include "engine/names.h"
#include "engine/tensor.h"

namespace torchkeep::engine {
namespace {

/// As no_grad, and without the layers below autograd, which a step of a small model feels.
struct WithoutAutograd {
  const at::AutoDispatchBelowADInplaceOrView belowAutograd;
  const at::NoGradGuard noGrad;
};

using TensorGroups = std::vector<std::vector<at::Tensor>>;

/// By device and dtype, in the order in which Python's dict gets them, since rounding depends on it.
TensorGroups groupTensors(const std::vector<at::Tensor>& tensors) {
  if (tensors.empty()) return {};
  const at::Tensor& first = tensors.front();
  const auto isAlike = [&](const at::Tensor& other) {
    return other.scalar_type() == first.scalar_type() && other.device() == first.device();
  };
  if (std::all_of(tensors.begin(), tensors.end(), isAlike)) return {tensors};
  std::vector<std::optional<at::Tensor>> list(tensors.begin(), tensors.end());
  TensorGroups groups;
  for (const auto& [key, group] : at::native::_group_tensors_by_first_tensors_device_and_dtype({list}, false)) {
    std::vector<at::Tensor> members;
    for (const std::optional<at::Tensor>& tensor : group.first.front()) members.push_back(*tensor);
    groups.push_back(std::move(members));
  }
  return groups;
}

std::vector<at::Tensor> normsOf(const std::vector<at::Tensor>& tensors, double order) {
  std::vector<at::Tensor> norms;
  for (const std::vector<at::Tensor>& group : groupTensors(tensors)) {
    for (at::Tensor& norm : at::_foreach_norm(group, order)) norms.push_back(std::move(norm));
  }
  return norms;
}

/// All at once, since each look at a value of an accelerator waits for it. The largest magnitude says it exactly.
bool isAllFiniteOnAccelerator(const std::vector<at::Tensor>& tensors) {
  const auto isPlain = [](const at::Tensor& tensor) {
    return tensor.layout() == at::kStrided && tensor.is_floating_point() && tensor.numel() > 0;
  };
  if (!std::all_of(tensors.begin(), tensors.end(), isPlain)) return false;
  return at::isfinite(at::stack(normsOf(tensors, std::numeric_limits<double>::infinity()))).all().item<bool>();
}

/// A copy with the strides that autograd gives a parameter's gradient.
at::Tensor copyGradient(const at::Tensor& gradient, const TrainedParameter& parameter) {
  const at::NoGradGuard noGrad;
  const at::Tensor& like = parameter.tensor;
  const bool sameStrides = like.is_non_overlapping_and_dense();
  at::Tensor copy = sameStrides ? at::empty_strided(like.sizes(), like.strides(), like.options())
                                : at::empty(like.sizes(), like.options());
  return copy.copy_(gradient);
}

}  // namespace

Gradients::Gradients(std::vector<TrainedParameter> parameters)
    : parameters_(std::move(parameters)), kept_(parameters_.size()) {}

std::vector<at::Tensor> Gradients::present() const {
  std::vector<at::Tensor> gradients;
  for (const TrainedParameter& parameter : parameters_) {
    if (parameter.tensor.grad().defined()) gradients.push_back(parameter.tensor.grad());
  }
  return gradients;
}

const std::string* Gradients::firstNonFinite() const {
  const WithoutAutograd withoutAutograd;
  const bool onCpu = parameters_.empty() || parameters_.front().tensor.is_cpu();
  if (!onCpu) {
    const std::vector<at::Tensor> gradients = present();
    if (gradients.empty() || isAllFiniteOnAccelerator(gradients)) return nullptr;
  }
  for (const TrainedParameter& parameter : parameters_) {
    const at::Tensor& gradient = parameter.tensor.grad();
    if (gradient.defined() && !isAllFinite(gradient)) return &parameter.name;
  }
  return nullptr;
}

at::Tensor Gradients::totalNorm() const {
  const WithoutAutograd withoutAutograd;
  const std::vector<at::Tensor> gradients = present();
  if (gradients.empty()) return at::tensor(0.0F);
  std::vector<at::Tensor> norms = normsOf(gradients, 2.0);
  for (at::Tensor& norm : norms) norm = norm.to(gradients.front().device());
  return at::linalg_vector_norm(at::stack(norms), 2.0);
}

void Gradients::scaleToNorm(double maxNorm, const at::Tensor& totalNorm) const {
  const WithoutAutograd withoutAutograd;
  // Python's `max_norm / tensor` is `tensor.reciprocal() * max_norm`.
  const at::Tensor factor = totalNorm.add(1e-6).reciprocal().mul(maxNorm).clamp(std::nullopt, 1.0);
  for (const std::vector<at::Tensor>& group : groupTensors(present()))
    at::_foreach_mul_(group, factor.to(group.front().device()));
}

void Gradients::clampValues(double limit) const {
  const WithoutAutograd withoutAutograd;
  for (const std::vector<at::Tensor>& group : groupTensors(present())) {
    at::_foreach_clamp_min_(group, -limit);
    at::_foreach_clamp_max_(group, limit);
  }
}

void Gradients::takeAway() {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    kept_[i] = parameters_[i].tensor.grad();
    if (kept_[i].defined()) parameters_[i].tensor.mutable_grad().reset();
  }
}

void Gradients::putBack() {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (kept_[i].defined()) parameters_[i].tensor.mutable_grad() = std::exchange(kept_[i], at::Tensor());
  }
}

void Gradients::dropKept() { std::fill(kept_.begin(), kept_.end(), at::Tensor()); }

bool Gradients::hasKept() const {
  return std::any_of(kept_.begin(), kept_.end(), [](const at::Tensor& gradient) { return gradient.defined(); });
}

std::vector<at::Tensor> Gradients::live() const {
  std::vector<at::Tensor> tensors;
  std::copy_if(kept_.begin(), kept_.end(), std::back_inserter(tensors),
               [](const at::Tensor& t) { return t.defined(); });
  return tensors;
}

NamedTensors Gradients::kept() const {
  NamedTensors gradients;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (!kept_[i].defined()) continue;
    if (kept_[i].layout() != at::kStrided) {
      throw Error(ErrorCode::InvalidArgument, "gradients: expected dense ones, found a sparse one of \"" +
                                                  parameters_[i].name + "\", which cannot be read or kept in a file");
    }
    gradients.emplace_back(parameters_[i].name, wrap(kept_[i]));
  }
  return gradients;
}

void Gradients::keepCopies(const NamedTensors& gradients) {
  std::vector<at::Tensor> copies(parameters_.size());
  for (const auto& [name, handle] : gradients) {
    const std::string what = "setGradients: \"" + name + "\"";
    const auto isNamed = [&wanted = name](const TrainedParameter& parameter) { return parameter.name == wanted; };
    const auto found = std::find_if(parameters_.begin(), parameters_.end(), isNamed);
    if (found == parameters_.end())
      throw Error(ErrorCode::InvalidArgument, what + ": the optimizer trains no parameter of this name");
    const at::Tensor& gradient = handle->value;
    const at::Tensor& parameter = found->tensor;
    const auto reject = [&](const std::string& expected, const std::string& actual) {
      throw Error(ErrorCode::InvalidArgument, what + ": expected " + expected + ", found " + actual);
    };
    if (gradient.layout() != at::kStrided) reject("a dense tensor", "another layout");
    if (gradient.scalar_type() != parameter.scalar_type())
      reject("dtype " + dtypeName(parameter.scalar_type()), dtypeName(gradient.scalar_type()));
    if (gradient.sizes() != parameter.sizes())
      reject("sizes " + c10::str(parameter.sizes()), c10::str(gradient.sizes()));
    if (!parameter.requires_grad()) reject("a parameter with requires_grad", "a frozen one");
    copies[static_cast<size_t>(found - parameters_.begin())] = copyGradient(gradient, *found);
  }
  kept_ = std::move(copies);
}

}  // namespace torchkeep::engine
