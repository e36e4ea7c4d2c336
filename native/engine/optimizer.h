// Optimizers that repeat the arithmetic of Python's torch.optim bit for bit. Includes torch: only engine/*.cpp may
// include this header.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/executor.h"
#include "engine/session.h"

namespace torchkeep::engine {

/// Hyperparameters of one group, read by PyTorch's names. Failures are Error(InvalidArgument) naming optimizer, group
/// and option.
class Hyperparameters {
 public:
  Hyperparameters(const Value& options, std::string where) : options_(options), where_(std::move(where)) {}

  bool has(const char* key) const { return find(options_, key) != nullptr; }
  double number(const char* key) const;
  /// A number >= 0.
  double nonNegative(const char* key) const;
  /// null counts as false.
  bool flag(const char* key) const;
  /// `betas`, each in [0, 1).
  std::pair<double, double> betas() const;
  /// Throws for a key that is neither in `known` nor one that leaves the arithmetic alone.
  void refuseUnknown(const std::vector<std::string>& known) const;
  [[noreturn]] void reject(const char* key, const std::string& expected) const;

 private:
  const Value& get(const char* key) const;

  const Value& options_;
  std::string where_;
};

/// A parameter under training with the name that its group uses.
struct TrainedParameter {
  std::string name;
  at::Tensor tensor;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// `optimizer.step()`: updates every parameter that has a gradient; the others keep no state, as in Python.
  void update();
  /// Replaces the hyperparameters of all groups; names and order must be the same.
  void setGroups(const std::vector<ParamGroup>& groups);
  /// Those of all groups, in order.
  std::vector<TrainedParameter> parameters() const;
  /// The live state tensors, by parameter name and Python's keys. Parameters without state are absent.
  OptimizerState state() const;

 protected:
  using Group = std::vector<TrainedParameter>;
  using NamedState = std::vector<std::pair<std::string, at::Tensor>>;

  Optimizer(const OptimizerSpec& spec, const TensorTable& parameters);

  virtual void step() = 0;
  /// Replaces those of all groups, or throws and leaves them as they were.
  virtual void setOptions(const std::vector<Hyperparameters>& groups) = 0;
  virtual NamedState stateOf(size_t group, size_t index) const = 0;
  virtual void loadState(size_t group, size_t index, const NamedTensors& state) = 0;
  /// To be called at the end of the derived constructor.
  void load(const OptimizerSpec& spec);

  /// The fused operators want one dtype a call.
  static std::vector<std::vector<size_t>> byDtype(const Group& group, const std::vector<size_t>& indices);

  std::string name_;
  std::vector<Group> groups_;
};

/// Throws Error(InvalidArgument) for an unknown optimizer, parameter, option or state.
std::unique_ptr<Optimizer> createOptimizer(const OptimizerSpec& spec, const TensorTable& parameters);

std::unique_ptr<Optimizer> createSgd(const OptimizerSpec& spec, const TensorTable& parameters);
std::unique_ptr<Optimizer> createAdam(const OptimizerSpec& spec, const TensorTable& parameters);

/// `number` as a 0-d tensor for arithmetic with tensors of `dtype`. A Python number would be a double that every call
/// casts to float32 or float64; it is cast once here, with the same bits. Kernels of the short floats use all digits of
/// the double, so there it stays one.
at::Tensor numberFor(at::ScalarType dtype, double number);

/// A copy of a state tensor as Python's load_state_dict makes it: in the parameter's dtype and device. Throws unless
/// the sizes are the parameter's.
at::Tensor copyMoment(const TensorPtr& state, const at::Tensor& parameter, const std::string& what);

}  // namespace torchkeep::engine
