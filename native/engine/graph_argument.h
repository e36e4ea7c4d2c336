// One argument of an exported node, as the operator's schema asks for it. Includes torch: only engine/*.cpp may include
// this header.
#pragma once

#include <functional>
#include <string>

#include "engine/graph.h"

namespace torchkeep::engine {

/// Finds the slot of a named value and notes that it is read.
using SlotOf = std::function<Slot(const std::string& name)>;

/// Compiles the union `exported` for `schema` of `op`. Device constants become `device`. Throws Error(InvalidArgument)
/// that begins with `where`.
Argument compileArgument(const Value& exported, const c10::Argument& schema, const c10::OperatorHandle& op,
                         c10::Device device, const SlotOf& slotOf, const std::string& where);

/// An argument of a symbolic function: a number or the slot of one.
Argument compileSymbolicArgument(const Value& exported, const SlotOf& slotOf, const std::string& where);

/// The symbolic function that `target` names (`_operator.mul`), or nullptr.
SymbolicFunction findSymbolicFunction(const std::string& target);

}  // namespace torchkeep::engine
