#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <c10/util/safe_numerics.h>

#include <algorithm>
#include <unordered_map>

#include "engine/crc32.h"
#include "engine/file.h"
#include "engine/names.h"
#include "engine/tensor.h"
#include "engine/tensor_file.h"

namespace torchkeep::engine {
namespace {

constexpr uint64_t kReadChunkBytes = 1 << 20;

[[noreturn]] void corrupt(const TensorFileMap& file, size_t storage, const std::string& message) {
  Error error(ErrorCode::CheckpointCorrupt, file.path + ": storage " + std::to_string(storage) + ": " + message);
  error.storage = static_cast<int64_t>(storage);
  throw error;
}

void checkCrc(const TensorFileMap& file, size_t storage, uint32_t found) {
  const auto& expected = file.storages[storage].crc32;
  if (!expected.has_value() || *expected == found) return;
  corrupt(file, storage, "expected CRC-32 " + std::to_string(*expected) + ", found " + std::to_string(found));
}

/// Whether a tensor of the storage would be read at addresses that its dtype does not allow; such a range is copied
/// instead of mapped.
bool isAligned(const TensorFileMap& file, size_t storage) {
  return std::all_of(file.tensors.begin(), file.tensors.end(), [&](const TensorFileMap::Tensor& tensor) {
    return static_cast<size_t>(tensor.storage) != storage ||
           file.storages[storage].offsetBytes % c10::elementSize(parseDtype(tensor.dtype, "mapTensorFile: dtype")) == 0;
  });
}

c10::Storage readStorage(const TensorFileMap& file, const File& source, size_t index) {
  const TensorFileMap::Storage& range = file.storages[index];
  const at::Tensor memory = at::detail::empty_cpu({static_cast<int64_t>(range.sizeBytes)}, c10::ScalarType::Byte);
  auto* data = static_cast<uint8_t*>(memory.mutable_data_ptr());
  uint32_t crc = 0;
  for (uint64_t done = 0; done < range.sizeBytes; done += kReadChunkBytes) {
    const uint64_t chunk = std::min(kReadChunkBytes, range.sizeBytes - done);
    source.read(data + done, chunk, range.offsetBytes + done);
    if (range.crc32.has_value()) crc = crc32(crc, data + done, chunk);
  }
  checkCrc(file, index, crc);
  return memory.storage();
}

/// A storage over a part of the map; it keeps the map alive.
c10::Storage mapStorage(const TensorFileMap& file, const std::shared_ptr<uint8_t>& map, size_t index) {
  const TensorFileMap::Storage& range = file.storages[index];
  uint8_t* data = map.get() + range.offsetBytes;
  if (range.crc32.has_value()) checkCrc(file, index, crc32(0, data, range.sizeBytes));
  c10::DataPtr pointer(
      data, new std::shared_ptr<uint8_t>(map),
      [](void* owner) { delete static_cast<std::shared_ptr<uint8_t>*>(owner); }, c10::Device(c10::kCPU));
  return {c10::Storage::use_byte_size_t(), range.sizeBytes, std::move(pointer), nullptr, /*resizable=*/false};
}

/// Bytes of the storage that a tensor reaches, 0 for an empty one. Throws where a number is negative or the arithmetic
/// overflows.
uint64_t reach(const TensorFileMap::Tensor& tensor, uint64_t itemSize, const std::string& name) {
  const auto reject = [&name](const std::string& reason) {
    throw Error(ErrorCode::InvalidArgument, name + ": " + reason);
  };
  if (tensor.sizes.size() != tensor.strides.size()) reject("sizes and strides differ in length");
  if (tensor.storageOffset < 0) reject("storageOffset is negative");
  uint64_t count = 1;
  uint64_t end = static_cast<uint64_t>(tensor.storageOffset) + 1;
  for (size_t i = 0; i < tensor.sizes.size(); i++) {
    if (tensor.sizes[i] < 0 || tensor.strides[i] < 0) reject("a size or a stride is negative");
    const auto size = static_cast<uint64_t>(tensor.sizes[i]);
    uint64_t span = 0;
    // ATen counts in int64.
    if (c10::mul_overflows(count, size, &count) || count > INT64_MAX) reject("sizes overflow 64 bits");
    if (size == 0) continue;
    if (c10::mul_overflows(size - 1, static_cast<uint64_t>(tensor.strides[i]), &span) ||
        c10::add_overflows(end, span, &end)) {
      reject("strides overflow 64 bits");
    }
  }
  if (count == 0) return 0;
  uint64_t bytes = 0;
  if (c10::mul_overflows(end, itemSize, &bytes)) reject("the extent overflows 64 bits");
  return bytes;
}

TensorPtr makeTensor(const TensorFileMap& file, const std::vector<c10::Storage>& storages, size_t index) {
  const TensorFileMap::Tensor& tensor = file.tensors[index];
  const c10::ScalarType dtype = parseDtype(tensor.dtype, "mapTensorFile: dtype");
  at::Tensor result = at::detail::empty_cpu({0}, dtype);
  return wrap(
      result.set_(storages[static_cast<size_t>(tensor.storage)], tensor.storageOffset, tensor.sizes, tensor.strides));
}

void checkTensors(const TensorFileMap& file) {
  for (size_t i = 0; i < file.tensors.size(); i++) {
    const TensorFileMap::Tensor& tensor = file.tensors[i];
    const std::string name = "mapTensorFile: tensors[" + std::to_string(i) + "]";
    if (tensor.storage < 0 || static_cast<size_t>(tensor.storage) >= file.storages.size()) {
      throw Error(ErrorCode::InvalidArgument, name + ": storage: expected an index below " +
                                                  std::to_string(file.storages.size()) + ", found " +
                                                  std::to_string(tensor.storage));
    }
    const c10::ScalarType dtype = parseDtype(tensor.dtype, name + ": dtype");
    if (c10::isQIntType(dtype)) {
      throw Error(ErrorCode::InvalidArgument,
                  name + ": dtype: map the integers of " + tensor.dtype + " and make the quantized tensor from them");
    }
    const uint64_t bytes = reach(tensor, c10::elementSize(dtype), name);
    const uint64_t available = file.storages[static_cast<size_t>(tensor.storage)].sizeBytes;
    if (bytes > available) {
      throw Error(ErrorCode::InvalidArgument, name + ": expected an extent within the storage's " +
                                                  std::to_string(available) + " bytes, found " + std::to_string(bytes));
    }
  }
}

void checkStorages(const TensorFileMap& file, uint64_t fileSize) {
  for (size_t i = 0; i < file.storages.size(); i++) {
    const auto& [offset, size, crc] = file.storages[i];
    if (offset > fileSize || size > fileSize - offset) {
      corrupt(file, i,
              "expected " + std::to_string(size) + " bytes at " + std::to_string(offset) + ", found a file of " +
                  std::to_string(fileSize) + " bytes");
    }
  }
}

}  // namespace

std::vector<TensorPtr> mapTensorFile(const TensorFileMap& file) {
  checkTensors(file);
  const File source = File::open(file.path);
  checkStorages(file, source.sizeBytes());
  const c10::NoGradGuard noGrad;
  const std::shared_ptr<uint8_t> map = file.map ? source.map() : nullptr;
  std::vector<c10::Storage> storages;
  for (size_t i = 0; i < file.storages.size(); i++) {
    storages.push_back(map && isAligned(file, i) ? mapStorage(file, map, i) : readStorage(file, source, i));
  }
  std::vector<TensorPtr> tensors;
  for (size_t i = 0; i < file.tensors.size(); i++) tensors.push_back(makeTensor(file, storages, i));
  return tensors;
}

}  // namespace torchkeep::engine
