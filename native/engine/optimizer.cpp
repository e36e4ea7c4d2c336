#include "engine/optimizer.h"

#include <ATen/EmptyTensor.h>
#include <ATen/ScalarOps.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <unordered_set>

#include "engine/error.h"
#include "engine/tensor.h"

namespace torchkeep::engine {
namespace {

[[noreturn]] void rejectOptimizer(const std::string& problem) { throw Error(ErrorCode::InvalidArgument, problem); }

std::string groupLabel(const std::string& optimizer, size_t group) {
  return optimizer + " group " + std::to_string(group);
}

}  // namespace

const Value& Hyperparameters::get(const char* key) const {
  const Value* value = find(options_, key);
  if (value == nullptr) reject(key, "a value");
  return *value;
}

void Hyperparameters::reject(const char* key, const std::string& expected) const {
  const Value* value = find(options_, key);
  std::ostringstream found;
  if (value == nullptr) {
    found << "none";
  } else if (const auto* number = std::get_if<double>(value)) {
    found << *number;
  } else if (const auto* flag = std::get_if<bool>(value)) {
    found << (*flag ? "true" : "false");
  } else {
    found << "another kind of value";
  }
  rejectOptimizer(where_ + ", option \"" + key + "\": expected " + expected + ", found " + found.str());
}

double Hyperparameters::number(const char* key) const {
  const Value& value = get(key);
  if (const auto* number = std::get_if<double>(&value)) return *number;
  if (const auto* number = std::get_if<int64_t>(&value)) return static_cast<double>(*number);
  reject(key, "a number");
}

double Hyperparameters::nonNegative(const char* key) const {
  const double value = number(key);
  if (!(value >= 0)) reject(key, "a number >= 0");
  return value;
}

bool Hyperparameters::flag(const char* key) const {
  const Value& value = get(key);
  if (value.isNull()) return false;
  if (const auto* flag = std::get_if<bool>(&value)) return *flag;
  reject(key, "a boolean");
}

std::pair<double, double> Hyperparameters::betas() const {
  const auto* list = std::get_if<List>(&get("betas"));
  if (list == nullptr || list->size() != 2) reject("betas", "two numbers in [0, 1)");
  double values[2];
  for (size_t i = 0; i < 2; ++i) {
    const auto* number = std::get_if<double>(&(*list)[i]);
    if (number == nullptr || !(*number >= 0 && *number < 1)) reject("betas", "two numbers in [0, 1)");
    values[i] = *number;
  }
  return {values[0], values[1]};
}

void Hyperparameters::refuseUnknown(const std::vector<std::string>& known) const {
  const auto* dict = std::get_if<Dict>(&options_);
  if (dict == nullptr) rejectOptimizer(where_ + ": expected an object of options");
  for (const auto& [key, value] : *dict) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    if (key == "initial_lr") continue;  // a scheduler's note
    // foreach gives the same bits on the CPU; the other two would change the arithmetic.
    const auto* flag = std::get_if<bool>(&value);
    const bool off = value.isNull() || (flag != nullptr && !*flag);
    if (key == "foreach") continue;
    if (key == "differentiable" || key == "capturable") {
      if (!off) reject(key.c_str(), "false, as a session does not support it");
      continue;
    }
    rejectOptimizer(where_ + ": unknown option \"" + key + "\"");
  }
}

Optimizer::Optimizer(const OptimizerSpec& spec, const TensorTable& parameters) : name_(spec.name) {
  std::unordered_set<const at::TensorImpl*> seen;
  for (size_t g = 0; g < spec.groups.size(); ++g) {
    Group group;
    for (const std::string& name : spec.groups[g].params) {
      const auto found = parameters.find(name);
      if (found == parameters.end()) rejectOptimizer(groupLabel(name_, g) + ": there is no parameter \"" + name + "\"");
      if (!seen.insert(found->second.unsafeGetTensorImpl()).second) {
        rejectOptimizer(groupLabel(name_, g) + ": parameter \"" + name +
                        "\" appears twice (under this or another name)");
      }
      group.push_back({name, found->second});
    }
    groups_.push_back(std::move(group));
  }
}

void Optimizer::load(const OptimizerSpec& spec) {
  setGroups(spec.groups);
  for (const auto& [name, tensors] : spec.state) {
    bool found = false;
    for (size_t g = 0; g < groups_.size() && !found; ++g) {
      for (size_t i = 0; i < groups_[g].size() && !found; ++i) {
        if (groups_[g][i].name != name) continue;
        loadState(g, i, tensors);
        found = true;
      }
    }
    if (!found) rejectOptimizer(name_ + " state: no group has a parameter \"" + name + "\"");
  }
}

void Optimizer::update() {
  {
    // As no_grad, and the calls also skip the layers below autograd, which a step of a small model feels.
    const at::AutoDispatchBelowADInplaceOrView belowAutograd;
    const at::NoGradGuard noGrad;
    step();
  }
  // What those layers would have noted: a backward pass that saved an old value must notice the change.
  for (const Group& group : groups_) {
    for (const TrainedParameter& parameter : group) {
      if (parameter.tensor.grad().defined()) parameter.tensor.unsafeGetTensorImpl()->bump_version();
    }
  }
}

void Optimizer::setGroups(const std::vector<ParamGroup>& groups) {
  if (groups.size() != groups_.size()) {
    rejectOptimizer(name_ + ": expected " + std::to_string(groups_.size()) + " groups, found " +
                    std::to_string(groups.size()));
  }
  for (size_t g = 0; g < groups.size(); ++g) {
    const auto sameName = [](const TrainedParameter& parameter, const std::string& name) {
      return parameter.name == name;
    };
    if (!std::equal(groups_[g].begin(), groups_[g].end(), groups[g].params.begin(), groups[g].params.end(), sameName)) {
      rejectOptimizer(groupLabel(name_, g) + ": expected the same parameters in the same order as before");
    }
  }
  std::vector<Hyperparameters> options;
  for (size_t g = 0; g < groups.size(); ++g) options.emplace_back(groups[g].options, groupLabel(name_, g));
  setOptions(options);
}

std::vector<TrainedParameter> Optimizer::parameters() const {
  std::vector<TrainedParameter> all;
  for (const Group& group : groups_) all.insert(all.end(), group.begin(), group.end());
  return all;
}

OptimizerState Optimizer::state() const {
  OptimizerState state;
  for (size_t g = 0; g < groups_.size(); ++g) {
    for (size_t i = 0; i < groups_[g].size(); ++i) {
      NamedTensors tensors;
      for (const auto& [key, tensor] : stateOf(g, i)) tensors.emplace_back(key, wrap(tensor));
      if (!tensors.empty()) state.emplace_back(groups_[g][i].name, std::move(tensors));
    }
  }
  return state;
}

std::vector<std::vector<size_t>> Optimizer::byDtype(const Group& group, const std::vector<size_t>& indices) {
  std::vector<std::vector<size_t>> result;
  for (const size_t i : indices) {
    const auto sameDtype = [&](const std::vector<size_t>& list) {
      return group[list.front()].tensor.scalar_type() == group[i].tensor.scalar_type();
    };
    const auto found = std::find_if(result.begin(), result.end(), sameDtype);
    if (found == result.end()) {
      result.push_back({i});
    } else {
      found->push_back(i);
    }
  }
  return result;
}

std::unique_ptr<Optimizer> createOptimizer(const OptimizerSpec& spec, const TensorTable& parameters) {
  if (spec.name == "SGD") return createSgd(spec, parameters);
  if (spec.name == "Adam" || spec.name == "AdamW") return createAdam(spec, parameters);
  rejectOptimizer("optimizer: expected SGD, Adam or AdamW, found \"" + spec.name + "\"");
}

at::Tensor numberFor(at::ScalarType dtype, double number) {
  if (dtype != at::kFloat && dtype != at::kDouble) return at::native::wrapped_scalar_tensor(number);
  at::Tensor tensor = at::detail::empty_cpu({}, dtype);
  if (dtype == at::kFloat) {
    *tensor.mutable_data_ptr<float>() = static_cast<float>(number);
  } else {
    *tensor.mutable_data_ptr<double>() = number;
  }
  return tensor;
}

at::Tensor copyMoment(const TensorPtr& state, const at::Tensor& parameter, const std::string& what) {
  const at::Tensor& value = state->value;
  if (value.sizes() != parameter.sizes()) {
    std::ostringstream text;
    text << what << ": expected sizes " << parameter.sizes() << ", found " << value.sizes();
    rejectOptimizer(text.str());
  }
  const bool cast = parameter.is_floating_point();
  return value.detach().to(parameter.device(), cast ? parameter.scalar_type() : value.scalar_type(),
                           /*non_blocking=*/false, /*copy=*/true);
}

}  // namespace torchkeep::engine
