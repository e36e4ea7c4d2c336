// Operators by schema name, and values to and from what their schemas ask for. Includes torch: only engine/*.cpp may
// include this header.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <string>

#include "engine/value.h"

namespace torchkeep::engine {

/// Finds `aten::add` with overload `Tensor` (`""` and `"default"` are the default overload); throws
/// Error(InvalidArgument) naming it.
c10::OperatorHandle findOperator(const std::string& op, const std::string& overload);

/// `aten::add.Tensor`, for messages.
std::string operatorName(const c10::OperatorHandle& op);

/// Tagged nondeterministic_seeded: draws from the default generator (run it inside ScopedDefaultGenerator).
bool drawsRandomNumbers(const c10::OperatorHandle& op);

/// Converts `value` to what `argument` asks for: by its real type, so dtypes, layouts, memory formats and devices are
/// names, a number where a Tensor is wanted becomes a wrapped number, one int fills an int[N]. Null takes the default
/// of an argument that is not optional. Throws Error(InvalidArgument) naming operator and argument, expected and found.
c10::IValue toIValue(const Value& value, const c10::Argument& argument, const c10::OperatorHandle& op);

/// A result as a value. With `type`, the real type of its schema, numbers that stand for dtypes, layouts and memory
/// formats become their names. Throws Error(InvalidArgument) for kinds that cannot cross.
Value fromIValue(const c10::IValue& value, const c10::Type* type = nullptr);

}  // namespace torchkeep::engine
