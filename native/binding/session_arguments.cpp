#include "binding/session_arguments.h"

#include <string>

#include "binding/tensor_handle.h"

namespace torchkeep::binding {
namespace {

std::vector<std::string> propertyNames(const Napi::Object& object) {
  std::vector<std::string> names;
  const Napi::Array keys = object.GetPropertyNames();
  for (uint32_t i = 0; i < keys.Length(); ++i) names.push_back(keys.Get(i).ToString().Utf8Value());
  return names;
}

/// Neither undefined nor null.
bool isGiven(const Options& options, const char* key) { return options.has(key) && !options.get(key).IsNull(); }

/// A number >= 0, NaN excluded.
double readNonNegative(const Options& options, const char* key) {
  const double number = options.number(key);
  if (!(number >= 0)) rejectArgument(options.path(key), "a number >= 0", options.get(key));
  return number;
}

engine::OptimizerSpec readOptimizer(const Options& options) {
  engine::OptimizerSpec spec;
  spec.name = options.string("name");
  spec.groups = readGroups(options);
  if (!options.has("state")) return spec;
  const Options state = options.object("state");
  for (const std::string& name : propertyNames(state.raw()))
    spec.state.emplace_back(name, readNamedTensors(state.object(name.c_str())));
  return spec;
}

}  // namespace

engine::NamedTensors readNamedTensors(const Options& tensors) {
  engine::NamedTensors result;
  for (const std::string& name : propertyNames(tensors.raw())) result.emplace_back(name, tensors.tensor(name.c_str()));
  return result;
}

std::vector<engine::ParamGroup> readGroups(const Options& options) {
  std::vector<engine::ParamGroup> groups;
  const Napi::Array array = options.array("groups");
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const std::string path = options.path("groups") + "[" + std::to_string(i) + "]";
    const Napi::Value element = array.Get(i);
    if (!element.IsObject()) rejectArgument(path, "an object", element);
    const Options group(element.As<Napi::Object>(), path);
    const Napi::Array params = group.array("params");
    engine::ParamGroup read;
    for (uint32_t k = 0; k < params.Length(); ++k) {
      const Napi::Value name = params.Get(k);
      if (!name.IsString()) rejectArgument(group.path("params") + "[" + std::to_string(k) + "]", "a string", name);
      read.params.push_back(name.As<Napi::String>().Utf8Value());
    }
    read.options = group.object("options").raw().IsEmpty() ? engine::Value() : group.value("options");
    groups.push_back(std::move(read));
  }
  return groups;
}

engine::SessionSpec readSpec(const Options& options) {
  engine::SessionSpec spec;
  spec.trainGraph = options.value("trainGraph");
  spec.evalGraph = options.value("evalGraph");
  spec.lossGraph = options.value("lossGraph");
  spec.parameters = readNamedTensors(options.object("parameters"));
  spec.buffers = readNamedTensors(options.object("buffers"));
  if (options.has("constants")) spec.constants = readNamedTensors(options.object("constants"));
  if (!options.get("optimizer").IsNull()) spec.optimizer = readOptimizer(options.object("optimizer"));
  spec.device = options.string("device");
  if (isGiven(options, "autocast")) spec.autocast = options.string("autocast");
  return spec;
}

engine::BatchSource readBatches(const Options& options) {
  engine::BatchSource source;
  source.inputs = options.integer("inputs");
  source.ready = options.has("batches");
  if (!source.ready) {
    source.tensors = options.tensors("tensors");
    source.order = options.bigInt64Array("order");
    source.batchSize = options.integer("batchSize");
    return source;
  }
  source.batches = options.tensorLists("batches");
  return source;
}

engine::RunOptions readRunOptions(const Options& options) {
  engine::RunOptions run;
  run.maxDurationMs = readNonNegative(options, "maxDurationMs");
  if (options.has("accumulate")) run.accumulate = options.integer("accumulate");
  if (run.accumulate < 1) rejectArgument(options.path("accumulate"), "at least 1", options.get("accumulate"));
  if (options.has("accumulated")) run.accumulated = options.integer("accumulated");
  if (run.accumulated < 0 || run.accumulated >= run.accumulate) {
    rejectArgument(options.path("accumulated"),
                   "0 to " + std::to_string(run.accumulate - 1) + " (less than the batches of a step)",
                   options.get("accumulated"));
  }
  if (isGiven(options, "clipGradNorm")) run.clipGradNorm = readNonNegative(options, "clipGradNorm");
  if (isGiven(options, "clipGradValue")) run.clipGradValue = readNonNegative(options, "clipGradValue");
  if (options.has("onNonFinite")) {
    const std::string action = options.string("onNonFinite");
    if (action != "stop" && action != "skip")
      rejectArgument(options.path("onNonFinite"), "'stop' or 'skip'", options.get("onNonFinite"));
    run.skipNonFinite = action == "skip";
  }
  return run;
}

}  // namespace torchkeep::binding
