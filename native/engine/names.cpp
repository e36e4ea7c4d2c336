#include "engine/names.h"

#include <array>
#include <utility>

#include "engine/devices.h"
#include "engine/error.h"

namespace torchkeep::engine {
namespace {

template <typename T, size_t N>
using Table = std::array<std::pair<const char*, T>, N>;

constexpr Table<c10::ScalarType, 24> kDtypes = {{
    {"float32", c10::ScalarType::Float},
    {"int64", c10::ScalarType::Long},
    {"bool", c10::ScalarType::Bool},
    {"float64", c10::ScalarType::Double},
    {"float16", c10::ScalarType::Half},
    {"bfloat16", c10::ScalarType::BFloat16},
    {"int8", c10::ScalarType::Char},
    {"int16", c10::ScalarType::Short},
    {"int32", c10::ScalarType::Int},
    {"uint8", c10::ScalarType::Byte},
    {"uint16", c10::ScalarType::UInt16},
    {"uint32", c10::ScalarType::UInt32},
    {"uint64", c10::ScalarType::UInt64},
    {"complex32", c10::ScalarType::ComplexHalf},
    {"complex64", c10::ScalarType::ComplexFloat},
    {"complex128", c10::ScalarType::ComplexDouble},
    {"float8_e4m3fn", c10::ScalarType::Float8_e4m3fn},
    {"float8_e5m2", c10::ScalarType::Float8_e5m2},
    {"float8_e4m3fnuz", c10::ScalarType::Float8_e4m3fnuz},
    {"float8_e5m2fnuz", c10::ScalarType::Float8_e5m2fnuz},
    {"float8_e8m0fnu", c10::ScalarType::Float8_e8m0fnu},
    {"qint8", c10::ScalarType::QInt8},
    {"quint8", c10::ScalarType::QUInt8},
    {"qint32", c10::ScalarType::QInt32},
}};

constexpr Table<c10::Layout, 7> kLayouts = {{
    {"strided", c10::Layout::Strided},
    {"sparse_coo", c10::Layout::Sparse},
    {"sparse_csr", c10::Layout::SparseCsr},
    {"sparse_csc", c10::Layout::SparseCsc},
    {"sparse_bsr", c10::Layout::SparseBsr},
    {"sparse_bsc", c10::Layout::SparseBsc},
    {"_mkldnn", c10::Layout::Mkldnn},
}};

constexpr Table<c10::MemoryFormat, 4> kMemoryFormats = {{
    {"contiguous_format", c10::MemoryFormat::Contiguous},
    {"preserve_format", c10::MemoryFormat::Preserve},
    {"channels_last", c10::MemoryFormat::ChannelsLast},
    {"channels_last_3d", c10::MemoryFormat::ChannelsLast3d},
}};

template <typename T, size_t N>
T parse(const Table<T, N>& table, const std::string& name, const std::string& what, const char* kind) {
  for (const auto& [entry, value] : table) {
    if (name == entry) return value;
  }
  std::string names;
  for (const auto& [entry, value] : table) names += (names.empty() ? "" : ", ") + std::string(entry);
  throw Error(ErrorCode::InvalidArgument, what + ": expected " + kind + " (" + names + "), found '" + name + "'");
}

template <typename T, size_t N>
std::string nameIn(const Table<T, N>& table, T value, const char* kind) {
  for (const auto& [entry, known] : table) {
    if (value == known) return entry;
  }
  throw Error(ErrorCode::InvalidArgument, std::string(kind) + " number " + std::to_string(static_cast<int>(value)) +
                                              " of LibTorch has no name here");
}

}  // namespace

c10::ScalarType parseDtype(const std::string& name, const std::string& what) {
  return parse(kDtypes, name, what, "a dtype");
}
std::string dtypeName(c10::ScalarType dtype) { return nameIn(kDtypes, dtype, "dtype"); }
c10::Layout parseLayout(const std::string& name, const std::string& what) {
  return parse(kLayouts, name, what, "a layout");
}
std::string layoutName(c10::Layout layout) { return nameIn(kLayouts, layout, "layout"); }
c10::MemoryFormat parseMemoryFormat(const std::string& name, const std::string& what) {
  return parse(kMemoryFormats, name, what, "a memory format");
}
std::string memoryFormatName(c10::MemoryFormat format) { return nameIn(kMemoryFormats, format, "memory format"); }

c10::Device parseDevice(const std::string& name, const std::string& what) {
  c10::Device device(c10::kCPU);
  try {
    device = c10::Device(name);
  } catch (const c10::Error&) {
    throw Error(ErrorCode::InvalidArgument,
                what + ": expected a device such as 'cpu' or 'cuda:0', found '" + name + "'");
  }
  if (device.is_cuda()) requireCuda(device.has_index() ? device.index() : 0, what);
  return device;
}

}  // namespace torchkeep::engine
