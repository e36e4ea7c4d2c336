#include "engine/archive.h"

#include <c10/core/GradMode.h>
#include <torch/serialize/input-archive.h>
#include <torch/serialize/output-archive.h>

#include <map>

#include "engine/file.h"
#include "engine/tensor.h"

namespace torchkeep::engine {
namespace {

using torch::serialize::InputArchive;
using torch::serialize::OutputArchive;

/// Names split at their dots, as modules nest.
struct Module {
  std::vector<NamedTensor> tensors;
  std::vector<std::pair<std::string, Module>> children;

  Module& child(const std::string& name) {
    for (auto& [known, module] : children) {
      if (known == name) return module;
    }
    return children.emplace_back(name, Module()).second;
  }
};

Module nest(const std::vector<NamedTensor>& tensors) {
  Module root;
  for (const NamedTensor& named : tensors) {
    Module* module = &root;
    size_t begin = 0;
    for (size_t dot = named.name.find('.'); dot != std::string::npos; dot = named.name.find('.', begin)) {
      module = &module->child(named.name.substr(begin, dot - begin));
      begin = dot + 1;
    }
    module->tensors.push_back({named.name.substr(begin), named.tensor, named.isBuffer});
  }
  return root;
}

void write(const Module& module, OutputArchive& archive) {
  // The order of torch::nn::Module::save: parameters, buffers, children.
  for (const bool buffers : {false, true}) {
    for (const NamedTensor& named : module.tensors) {
      if (named.isBuffer == buffers) archive.write(named.name, named.tensor->value, buffers);
    }
  }
  for (const auto& [name, child] : module.children) {
    OutputArchive nested(archive.compilation_unit());
    write(child, nested);
    archive.write(name, nested);
  }
}

void read(InputArchive& archive, const std::string& prefix, std::vector<NamedTensor>& tensors) {
  for (const std::string& key : archive.keys()) {
    const std::string name = prefix.empty() ? key : prefix + "." + key;
    c10::IValue value;
    archive.read(key, value);
    if (value.isTensor()) {
      tensors.push_back({name, wrap(value.toTensor())});
    } else if (value.isObject()) {
      InputArchive nested;
      archive.read(key, nested);
      read(nested, name, tensors);
    }
    // Anything else (a step count of an optimizer, the `training` flag) is no tensor.
  }
}

}  // namespace

void saveArchive(const std::string& path, const std::vector<NamedTensor>& tensors) {
  OutputArchive archive;
  write(nest(tensors), archive);
  File file = File::create(path);
  try {
    archive.save_to([&file](const void* data, size_t size) {
      file.write(data, size);
      return size;
    });
    file.sync();
    file.close();
  } catch (...) {
    const Error error = translate(std::current_exception());
    if (removeFile(path)) throw error;
    throw Error(error.code(), std::string(error.what()) + " (and the incomplete file could not be removed)");
  }
}

std::vector<NamedTensor> loadArchive(const std::string& path) {
  const File file = File::open(path);
  const uint64_t size = file.sizeBytes();
  InputArchive archive;
  try {
    archive.load_from(
        [&file, size](uint64_t position, void* data, size_t count) {
          const size_t available = position < size ? std::min<uint64_t>(count, size - position) : 0;
          file.read(data, available, position);
          return available;
        },
        [size] { return static_cast<size_t>(size); }, c10::Device(c10::kCPU));
    std::vector<NamedTensor> tensors;
    read(archive, "", tensors);
    return tensors;
  } catch (...) {
    const Error error = translate(std::current_exception());
    throw Error(ErrorCode::CheckpointCorrupt, path + ": not an archive that torch::load reads: " + error.what());
  }
}

}  // namespace torchkeep::engine
