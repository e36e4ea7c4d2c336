#include "engine/operator_call.h"

#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include "engine/autocast.h"
#include "engine/busy.h"
#include "engine/generator.h"
#include "engine/random.h"
#include "engine/schema.h"
#include "engine/tensor.h"

namespace torchkeep::engine {
namespace {

/// The arguments in schema order: positional ones, then those by name; the rest are null and take their defaults.
std::vector<const Value*> placeArguments(const OperatorCall& call, const c10::FunctionSchema& schema,
                                         const std::string& name) {
  const auto& arguments = schema.arguments();
  std::vector<const Value*> placed(arguments.size(), nullptr);
  for (size_t i = 0; i < call.args.size(); i++) {
    if (i >= arguments.size() || arguments[i].kwarg_only()) {
      throw Error(ErrorCode::InvalidArgument, name + ": expected at most " + std::to_string(i) +
                                                  " positional arguments, found " + std::to_string(call.args.size()));
    }
    placed[i] = &call.args[i];
  }
  for (const auto& [key, value] : call.kwargs) {
    const auto index = schema.argumentIndexWithName(key);
    if (!index.has_value()) throw Error(ErrorCode::InvalidArgument, name + ": there is no argument '" + key + "'");
    if (placed[*index] != nullptr)
      throw Error(ErrorCode::InvalidArgument, name + ": argument '" + key + "' is given twice");
    placed[*index] = &value;
  }
  for (size_t i = 0; i < arguments.size(); i++) {
    if (placed[i] != nullptr) continue;
    if (!arguments[i].default_value().has_value()) {
      throw Error(ErrorCode::InvalidArgument, name + ": argument '" + arguments[i].name() + "' is missing");
    }
  }
  return placed;
}

void refuseBusyTensors(const Value& value, const std::string& name, Access access) {
  if (const auto* tensor = std::get_if<TensorPtr>(&value)) return refuseBusy(*tensor, name, access);
  const auto* list = std::get_if<List>(&value);
  if (list == nullptr) return;
  for (const Value& element : *list) refuseBusyTensors(element, name, access);
}

/// Whether the operator is to draw from the environment's default generator: it was given no generator of its own, or
/// that very one. In the latter case the argument is cleared, so that ATen takes the default generator, which then is
/// in the place of ours.
bool usesDefaultGenerator(torch::jit::Stack& stack, const GeneratorPtr& defaultGenerator) {
  bool other = false;
  for (c10::IValue& argument : stack) {
    if (!argument.isGenerator()) continue;
    if (argument.toGenerator() == defaultGenerator->value) {
      argument = c10::IValue();
    } else {
      other = true;
    }
  }
  return !other;
}

void run(const c10::OperatorHandle& op, torch::jit::Stack& stack, const GeneratorPtr& defaultGenerator) {
  if (drawsRandomNumbers(op) && usesDefaultGenerator(stack, defaultGenerator)) {
    if (isGeneratorBusy(defaultGenerator)) {
      throw Error(ErrorCode::Busy,
                  operatorName(op) + ": the default generator is in use by a running session; await it first");
    }
    const ScopedDefaultGenerator scope(defaultGenerator);
    op.callBoxed(stack);
    return;
  }
  op.callBoxed(stack);
}

/// Puts the operator's name in front of a failure that LibTorch raised.
[[noreturn]] void rethrowNamed(const std::string& name) {
  const Error error = translate(std::current_exception());
  throw Error(error.code(), name + ": " + error.what());
}

}  // namespace

Value callOperator(const OperatorCall& call, const GeneratorPtr& defaultGenerator) {
  const c10::OperatorHandle op = findOperator(call.op, call.overload);
  const c10::FunctionSchema& schema = op.schema();
  const std::string name = operatorName(op);
  const std::vector<const Value*> placed = placeArguments(call, schema, name);
  torch::jit::Stack stack;
  stack.reserve(placed.size());
  for (size_t i = 0; i < placed.size(); i++) {
    const c10::Argument& argument = schema.arguments()[i];
    if (placed[i] == nullptr) {
      stack.push_back(*argument.default_value());
      continue;
    }
    if (anyBusy()) {
      const bool written = argument.alias_info() != nullptr && argument.alias_info()->isWrite();
      refuseBusyTensors(*placed[i], name, written ? Access::Write : Access::Read);
    }
    stack.push_back(toIValue(*placed[i], argument, op));
  }

  const c10::AutoGradMode gradMode(call.gradEnabled);
  std::optional<AutocastMode> autocast;
  if (const auto dtype = parseAutocastDtype(call.autocastDtype, name + ": autocast.dtype"))
    autocast.emplace(c10::Device(call.autocastDevice).type(), *dtype, /*caches=*/false);
  try {
    run(op, stack, defaultGenerator);
  } catch (const Error&) {
    throw;
  } catch (...) {
    rethrowNamed(name);
  }

  const auto& returns = schema.returns();
  if (stack.empty()) return {};
  if (stack.size() == 1) return fromIValue(stack[0], returns[0].real_type().get());
  List results;
  for (size_t i = 0; i < stack.size(); i++) results.push_back(fromIValue(stack[i], returns[i].real_type().get()));
  return results;
}

OperatorSchema operatorSchema(const std::string& op, const std::string& overload) {
  const c10::OperatorHandle handle = findOperator(op, overload);
  OperatorSchema result;
  for (const c10::Argument& argument : handle.schema().arguments()) {
    std::optional<Value> defaultValue;
    if (argument.default_value().has_value())
      defaultValue = fromIValue(*argument.default_value(), argument.real_type().get());
    result.arguments.push_back(
        {argument.name(), argument.real_type()->str(), argument.kwarg_only(), std::move(defaultValue)});
  }
  for (const c10::Argument& argument : handle.schema().returns()) result.returns.push_back(argument.real_type()->str());
  return result;
}

}  // namespace torchkeep::engine
