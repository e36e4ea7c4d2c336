#include <napi.h>

#include "binding/arguments.h"
#include "binding/environment.h"
#include "binding/exports.h"
#include "engine/error.h"
#include "engine/operator_call.h"

namespace torchkeep::binding {
namespace {

std::string overloadOf(const Options& options) { return options.has("overload") ? options.string("overload") : ""; }

}  // namespace

Napi::Value call(const Napi::CallbackInfo& info) {
  const Options options(info, "call");
  engine::OperatorCall call;
  call.op = options.string("op");
  call.overload = overloadOf(options);
  const Napi::Array args = options.array("args");
  call.args.reserve(args.Length());
  for (uint32_t i = 0; i < args.Length(); i++)
    call.args.push_back(toValue(args.Get(i), call.op + ": args[" + std::to_string(i) + "]"));
  if (options.has("kwargs")) {
    const Napi::Object kwargs = options.object("kwargs").raw();
    const Napi::Array names = kwargs.GetPropertyNames();
    for (uint32_t i = 0; i < names.Length(); i++) {
      const std::string name = names.Get(i).ToString().Utf8Value();
      const Napi::Value value = kwargs.Get(name);
      // As with every optional argument in JavaScript, undefined is not given.
      if (!value.IsUndefined()) call.kwargs.emplace_back(name, toValue(value, call.op + ": " + name));
    }
  }
  call.gradEnabled = options.boolean("gradEnabled");
  if (options.has("autocast") && !options.get("autocast").IsNull()) {
    const Options autocast = options.object("autocast");
    call.autocastDtype = autocast.string("dtype");
    call.autocastDevice = autocast.string("device");
  }
  return toJs(info.Env(), engine::callOperator(call, EnvironmentData::of(info.Env()).defaultGenerator));
}

Napi::Value operatorSchema(const Napi::CallbackInfo& info) {
  const Options options(info, "operatorSchema");
  const engine::OperatorSchema schema = engine::operatorSchema(options.string("op"), overloadOf(options));
  const Napi::Env env = info.Env();
  Napi::Array arguments = Napi::Array::New(env, schema.arguments.size());
  for (size_t i = 0; i < schema.arguments.size(); i++) {
    const auto& argument = schema.arguments[i];
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("name", argument.name);
    entry.Set("type", argument.type);
    entry.Set("kwargOnly", argument.kwargOnly);
    if (argument.defaultValue.has_value()) entry.Set("default", toJs(env, *argument.defaultValue));
    arguments.Set(static_cast<uint32_t>(i), entry);
  }
  Napi::Array returns = Napi::Array::New(env, schema.returns.size());
  for (size_t i = 0; i < schema.returns.size(); i++) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("type", schema.returns[i]);
    returns.Set(static_cast<uint32_t>(i), entry);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("arguments", arguments);
  result.Set("returns", returns);
  return result;
}

}  // namespace torchkeep::binding
