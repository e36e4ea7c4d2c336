#include <napi.h>

#include <algorithm>

#include "binding/arguments.h"
#include "binding/async.h"
#include "binding/exports.h"
#include "binding/tensor_handle.h"
#include "engine/archive.h"
#include "engine/busy.h"
#include "engine/tensor_file.h"

namespace torchkeep::binding {
namespace {

uint64_t requireSize(const Options& options, const char* key) {
  const int64_t size = options.integer(key);
  if (size < 0) rejectArgument(options.path(key), "a number of bytes", options.get(key));
  return static_cast<uint64_t>(size);
}

uint32_t requireUint32(const Options& options, const char* key) {
  const int64_t value = options.integer(key);
  if (value < 0 || value > UINT32_MAX)
    rejectArgument(options.path(key), "a number from 0 to 4294967295", options.get(key));
  return static_cast<uint32_t>(value);
}

Options element(const Napi::Array& array, uint32_t index, const std::string& path) {
  const Napi::Value value = array.Get(index);
  const std::string name = path + "[" + std::to_string(index) + "]";
  if (!value.IsObject()) rejectArgument(name, "an object", value);
  return {value.As<Napi::Object>(), name};
}

engine::FilePart readPart(const Options& options) {
  engine::FilePart part;
  const std::string kind = options.string("kind");
  if (kind == "storage") {
    part.tensor = options.tensor("tensor");
    part.offsetBytes = requireSize(options, "offsetBytes");
    part.sizeBytes = requireSize(options, "sizeBytes");
    part.crcSlot = requireUint32(options, "crcSlot");
    return part;
  }
  if (kind != "bytes") rejectArgument(options.path("kind"), "'bytes' or 'storage'", options.get("kind"));
  // Copied, so that JavaScript may reuse its buffer while the file is written.
  const std::span<const uint8_t> bytes = options.bytes("bytes");
  part.bytes.assign(bytes.begin(), bytes.end());
  if (!options.has("crcPatches")) return part;
  const Napi::Array patches = options.array("crcPatches");
  for (uint32_t i = 0; i < patches.Length(); i++) {
    const Options patch = element(patches, i, options.path("crcPatches"));
    part.crcPatches.push_back({requireSize(patch, "at"), requireUint32(patch, "slot")});
  }
  return part;
}

engine::TensorFileMap readMap(const Options& options) {
  engine::TensorFileMap file;
  file.path = options.string("path");
  const std::string mode = options.string("mode");
  if (mode != "read" && mode != "map") rejectArgument(options.path("mode"), "'read' or 'map'", options.get("mode"));
  file.map = mode == "map";
  const Napi::Array storages = options.array("storages");
  for (uint32_t i = 0; i < storages.Length(); i++) {
    const Napi::HandleScope scope(storages.Env());
    const Options storage = element(storages, i, options.path("storages"));
    std::optional<uint32_t> crc;
    if (!storage.get("crc32").IsNull()) crc = requireUint32(storage, "crc32");
    file.storages.push_back({requireSize(storage, "offsetBytes"), requireSize(storage, "sizeBytes"), crc});
  }
  const Napi::Array tensors = options.array("tensors");
  for (uint32_t i = 0; i < tensors.Length(); i++) {
    const Napi::HandleScope scope(tensors.Env());
    const Options tensor = element(tensors, i, options.path("tensors"));
    file.tensors.push_back({tensor.integer("storage"), tensor.string("dtype"), tensor.integers("sizes"),
                            tensor.integers("strides"), tensor.integer("storageOffset")});
  }
  return file;
}

std::vector<engine::NamedTensor> readArchiveValue(const Options& options) {
  std::vector<engine::NamedTensor> tensors;
  const Napi::Value value = options.get("value");
  if (TensorHandle::from(value) != nullptr) {
    tensors.push_back({"0", options.tensor("value")});
  } else if (value.IsArray()) {
    for (engine::TensorPtr& tensor : options.tensors("value"))
      tensors.push_back({std::to_string(tensors.size()), std::move(tensor)});
  } else {
    const Napi::Object object = options.object("value").raw();
    const Napi::Array names = object.GetPropertyNames();
    for (uint32_t i = 0; i < names.Length(); i++) {
      const std::string name = names.Get(i).ToString().Utf8Value();
      tensors.push_back({name, requireTensor(object.Get(name), options.path("value") + "." + name)});
    }
  }
  if (!options.has("buffers")) return tensors;
  const Napi::Array buffers = options.array("buffers");
  for (uint32_t i = 0; i < buffers.Length(); i++) {
    const std::string name = buffers.Get(i).ToString().Utf8Value();
    const auto named = std::find_if(tensors.begin(), tensors.end(),
                                    [&name](const engine::NamedTensor& tensor) { return tensor.name == name; });
    if (named == tensors.end()) rejectArgument(options.path("buffers"), "names of the value's tensors", buffers.Get(i));
    named->isBuffer = true;
  }
  return tensors;
}

}  // namespace

Napi::Value writeTensorFile(const Napi::CallbackInfo& info) {
  const Options options(info, "writeTensorFile");
  const Napi::Array list = options.array("parts");
  std::vector<engine::FilePart> parts;
  std::vector<engine::TensorPtr> tensors;
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::HandleScope scope(info.Env());
    parts.push_back(readPart(element(list, i, options.path("parts"))));
    if (parts.back().tensor) tensors.push_back(parts.back().tensor);
  }
  engine::checkParts(parts);
  // Nobody may change the tensors until they are written.
  auto marks = std::make_shared<engine::BusyStorages>(tensors, engine::Access::Read);
  return runAsync(
      info.Env(), "torchkeep:writeTensorFile",
      [path = options.string("path"), fsync = options.boolean("fsync"), parts = std::move(parts),
       marks = std::move(marks)]() mutable {
        const auto release = std::move(marks);
        return engine::writeTensorFile(path, parts, fsync);
      },
      [](Napi::Env env, const engine::WrittenFile& written) {
        Napi::Array crcs = Napi::Array::New(env, written.crc32.size());
        for (size_t i = 0; i < written.crc32.size(); i++) crcs.Set(static_cast<uint32_t>(i), written.crc32[i]);
        Napi::Object result = Napi::Object::New(env);
        result.Set("sizeBytes", static_cast<double>(written.sizeBytes));
        result.Set("crc32", crcs);
        return result;
      });
}

Napi::Value mapTensorFile(const Napi::CallbackInfo& info) {
  return runAsync(
      info.Env(), "torchkeep:mapTensorFile",
      [file = readMap(Options(info, "mapTensorFile"))] { return engine::mapTensorFile(file); },
      [](Napi::Env env, std::vector<engine::TensorPtr>& tensors) {
        Napi::Array result = Napi::Array::New(env, tensors.size());
        for (size_t i = 0; i < tensors.size(); i++)
          result.Set(static_cast<uint32_t>(i), TensorHandle::create(env, std::move(tensors[i])));
        return result;
      });
}

Napi::Value saveArchive(const Napi::CallbackInfo& info) {
  const Options options(info, "saveArchive");
  std::vector<engine::NamedTensor> tensors = readArchiveValue(options);
  std::vector<engine::TensorPtr> used;
  for (const engine::NamedTensor& named : tensors) {
    engine::refuseBusy(named.tensor, options.path("value") + "." + named.name);
    used.push_back(named.tensor);
  }
  auto marks = std::make_shared<engine::BusyStorages>(used, engine::Access::Read);
  return runAsync(
      info.Env(), "torchkeep:saveArchive",
      [path = options.string("path"), tensors = std::move(tensors), marks = std::move(marks)]() mutable {
        const auto release = std::move(marks);
        engine::saveArchive(path, tensors);
        return true;
      },
      [](Napi::Env env, bool) { return env.Undefined(); });
}

Napi::Value loadArchive(const Napi::CallbackInfo& info) {
  return runAsync(
      info.Env(), "torchkeep:loadArchive",
      [path = Options(info, "loadArchive").string("path")] { return engine::loadArchive(path); },
      [](Napi::Env env, std::vector<engine::NamedTensor>& tensors) {
        Napi::Object result = Napi::Object::New(env);
        for (engine::NamedTensor& named : tensors)
          result.Set(named.name, TensorHandle::create(env, std::move(named.tensor)));
        return result;
      });
}

}  // namespace torchkeep::binding
