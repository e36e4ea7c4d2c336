#include "engine/value.h"

namespace torchkeep::engine {

const Value* find(const Value& dict, const char* key) {
  const Dict* entries = std::get_if<Dict>(&dict);
  if (entries == nullptr) return nullptr;
  for (const auto& [name, value] : *entries) {
    if (name == key) return &value;
  }
  return nullptr;
}

}  // namespace torchkeep::engine
