// Reading what the methods of a session are given (lib/contract.ts). Failures are engine::Error (InvalidArgument)
// naming the option with expected and found. JavaScript thread only.
#pragma once

#include <vector>

#include "binding/arguments.h"
#include "engine/session.h"

namespace torchkeep::binding {

/// An object of tensor handles by name.
engine::NamedTensors readNamedTensors(const Options& tensors);
/// `groups` of an optimizer.
std::vector<engine::ParamGroup> readGroups(const Options& options);
engine::SessionSpec readSpec(const Options& options);
engine::BatchSource readBatches(const Options& options);
engine::RunOptions readRunOptions(const Options& options);

}  // namespace torchkeep::binding
