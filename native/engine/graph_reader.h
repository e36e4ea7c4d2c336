// Reading the plain tree of an exported graph: fields that must be there, unions, numbers. Failures are
// Error(InvalidArgument) naming the place. Includes torch: only engine/*.cpp may include this header.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>

#include "engine/value.h"

namespace torchkeep::engine {

[[noreturn]] void rejectGraph(const std::string& where, const std::string& problem);

/// A field that must be present.
const Value& field(const Value& dict, const char* key, const std::string& where);
const std::string& asString(const Value& value, const std::string& where);
const List& asList(const Value& value, const std::string& where);
/// An integer; JavaScript's doubles are taken where they are exact, and 2^63 for the largest int64, which JSON.parse
/// rounds up to it.
int64_t asInt(const Value& value, const std::string& where);
/// A float; the schema spells the non-finite ones "Infinity", "-Infinity" and "NaN".
double asFloat(const Value& value, const std::string& where);
bool asBool(const Value& value, const std::string& where);

/// The one member of a union that is set: its key and value.
std::pair<const std::string&, const Value&> asUnion(const Value& value, const std::string& where);

/// The export schema's own enum numbers, which are not c10's.
at::ScalarType scalarTypeOfExport(int64_t number, const std::string& where);
at::Layout layoutOfExport(int64_t number, const std::string& where);
at::MemoryFormat memoryFormatOfExport(int64_t number, const std::string& where);

}  // namespace torchkeep::engine
