// Any ATen operator, boxed, through the c10 dispatcher. No torch, no napi in this header.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/value.h"

namespace torchkeep::engine {

/// `CallOptions` of lib/contract.ts.
struct OperatorCall {
  std::string op;
  std::string overload;
  List args;
  Dict kwargs;
  bool gradEnabled;
  /// A dtype, and the device whose tensors it is for; empty: none.
  std::string autocastDtype;
  std::string autocastDevice;
};

/// Runs on this thread. Draws come from `defaultGenerator`, also where the operator's own generator argument is null.
/// Several results come as a List.
Value callOperator(const OperatorCall& call, const GeneratorPtr& defaultGenerator);

/// `OperatorSchema` of lib/contract.ts.
struct OperatorSchema {
  struct Argument {
    std::string name;
    std::string type;
    bool kwargOnly;
    std::optional<Value> defaultValue;
  };
  std::vector<Argument> arguments;
  std::vector<std::string> returns;
};

OperatorSchema operatorSchema(const std::string& op, const std::string& overload);

}  // namespace torchkeep::engine
