// The gradients of the parameters that an optimizer trains: kept between two runs, checked, clipped. Includes torch:
// only engine/*.cpp may include this header.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "engine/optimizer.h"
#include "engine/session.h"

namespace torchkeep::engine {

/// In the order in which it was given them. Parameters without a gradient are passed over, as in Python.
class Gradients {
 public:
  explicit Gradients(std::vector<TrainedParameter> parameters);

  /// The first parameter whose gradient has a NaN or infinite value; nullptr where all are finite.
  const std::string* firstNonFinite() const;
  /// `torch.nn.utils.get_total_norm` with the 2-norm: a 0-d tensor.
  at::Tensor totalNorm() const;
  /// `torch.nn.utils.clip_grads_with_norm_`.
  void scaleToNorm(double maxNorm, const at::Tensor& totalNorm) const;
  /// `torch.nn.utils.clip_grad_value_`.
  void clampValues(double limit) const;

  /// Takes the gradients from the parameters and keeps them here until `putBack`, so that nobody else sees, changes or
  /// drops those of an unfinished step.
  void takeAway();
  void putBack();
  void dropKept();
  bool hasKept() const;
  std::vector<at::Tensor> live() const;
  /// Those kept, by name: the live tensors. Throws Error(InvalidArgument) for a sparse one.
  NamedTensors kept() const;
  /// Keeps copies of `gradients` in place of those that are here. Throws Error(InvalidArgument) naming the culprit,
  /// with nothing changed.
  void keepCopies(const NamedTensors& gradients);

 private:
  /// Of the parameters that have one.
  std::vector<at::Tensor> present() const;

  std::vector<TrainedParameter> parameters_;
  /// By index of the parameter.
  std::vector<at::Tensor> kept_;
};

}  // namespace torchkeep::engine
