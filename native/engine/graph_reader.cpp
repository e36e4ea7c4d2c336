#include "engine/graph_reader.h"

#include <array>
#include <cmath>
#include <limits>

#include "engine/error.h"

namespace torchkeep::engine {

void rejectGraph(const std::string& where, const std::string& problem) {
  throw Error(ErrorCode::InvalidArgument, where + ": " + problem);
}

const Value& field(const Value& dict, const char* key, const std::string& where) {
  const Value* found = std::holds_alternative<Dict>(dict) ? find(dict, key) : nullptr;
  if (found == nullptr) rejectGraph(where, std::string("expected a field \"") + key + "\", found none");
  return *found;
}

const std::string& asString(const Value& value, const std::string& where) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  rejectGraph(where, "expected a string");
}

const List& asList(const Value& value, const std::string& where) {
  if (const auto* list = std::get_if<List>(&value)) return *list;
  rejectGraph(where, "expected a list");
}

int64_t asInt(const Value& value, const std::string& where) {
  if (const auto* number = std::get_if<int64_t>(&value)) return *number;
  const auto* number = std::get_if<double>(&value);
  if (number == nullptr || *number != std::trunc(*number)) rejectGraph(where, "expected an integer");
  constexpr double limit = 9223372036854775808.0;  // 2^63
  if (*number == limit) return std::numeric_limits<int64_t>::max();
  if (*number == -limit) return std::numeric_limits<int64_t>::min();
  if (std::abs(*number) > 9007199254740992.0)
    rejectGraph(where, "expected an integer up to 2^53 or a bigint, as larger numbers have lost digits");
  return static_cast<int64_t>(*number);
}

double asFloat(const Value& value, const std::string& where) {
  if (const auto* number = std::get_if<double>(&value)) return *number;
  if (const auto* number = std::get_if<int64_t>(&value)) return static_cast<double>(*number);
  if (const auto* text = std::get_if<std::string>(&value)) {
    if (*text == "Infinity") return std::numeric_limits<double>::infinity();
    if (*text == "-Infinity") return -std::numeric_limits<double>::infinity();
    if (*text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  }
  rejectGraph(where, "expected a float");
}

bool asBool(const Value& value, const std::string& where) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag;
  rejectGraph(where, "expected a boolean");
}

std::pair<const std::string&, const Value&> asUnion(const Value& value, const std::string& where) {
  const auto* dict = std::get_if<Dict>(&value);
  if (dict == nullptr || dict->size() != 1) rejectGraph(where, "expected an object with one member");
  return {dict->front().first, dict->front().second};
}

at::ScalarType scalarTypeOfExport(int64_t number, const std::string& where) {
  using at::ScalarType;
  static const std::array<std::pair<int64_t, ScalarType>, 21> types{{
      {1, ScalarType::Byte},
      {2, ScalarType::Char},
      {3, ScalarType::Short},
      {4, ScalarType::Int},
      {5, ScalarType::Long},
      {6, ScalarType::Half},
      {7, ScalarType::Float},
      {8, ScalarType::Double},
      {9, ScalarType::ComplexHalf},
      {10, ScalarType::ComplexFloat},
      {11, ScalarType::ComplexDouble},
      {12, ScalarType::Bool},
      {13, ScalarType::BFloat16},
      {28, ScalarType::UInt16},
      {29, ScalarType::Float8_e4m3fn},
      {30, ScalarType::Float8_e5m2},
      {31, ScalarType::Float8_e4m3fnuz},
      {32, ScalarType::Float8_e5m2fnuz},
      {33, ScalarType::Float8_e8m0fnu},
      {34, ScalarType::UInt32},
      {35, ScalarType::UInt64},
  }};
  for (const auto& [code, type] : types) {
    if (code == number) return type;
  }
  rejectGraph(where, "unknown dtype number " + std::to_string(number) + " of the export schema");
}

at::Layout layoutOfExport(int64_t number, const std::string& where) {
  static const at::Layout layouts[] = {at::kSparse,    at::kSparseCsr, at::kSparseCsc, at::kSparseBsr,
                                       at::kSparseBsc, at::kMkldnn,    at::kStrided};
  if (number < 1 || number > 7)
    rejectGraph(where, "unknown layout number " + std::to_string(number) + " of the export schema");
  return layouts[number - 1];
}

at::MemoryFormat memoryFormatOfExport(int64_t number, const std::string& where) {
  using at::MemoryFormat;
  static const MemoryFormat formats[] = {MemoryFormat::Contiguous, MemoryFormat::ChannelsLast,
                                         MemoryFormat::ChannelsLast3d, MemoryFormat::Preserve};
  if (number < 1 || number > 4)
    rejectGraph(where, "unknown memory format number " + std::to_string(number) + " of the export schema");
  return formats[number - 1];
}

}  // namespace torchkeep::engine
