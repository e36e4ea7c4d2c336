#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "engine/busy.h"
#include "engine/crc32.h"
#include "engine/file.h"
#include "engine/tensor.h"
#include "engine/tensor_file.h"

namespace torchkeep::engine {
namespace {

/// The CRC of a chunk is taken while it is in the processor's cache, then it is written.
constexpr uint64_t kHostChunkBytes = 1 << 20;
/// Device memory is copied to the host in chunks, never as a whole.
constexpr uint64_t kDeviceChunkBytes = 32 << 20;

std::string partName(size_t index) { return "writeTensorFile: parts[" + std::to_string(index) + "]"; }

void checkStoragePart(const FilePart& part, const std::string& name) {
  const at::Tensor& tensor = part.tensor->value;
  if (!tensor.has_storage())
    throw Error(ErrorCode::InvalidArgument, name + ": the tensor has no storage (a sparse layout?)");
  const uint64_t available = tensor.storage().nbytes();
  if (part.offsetBytes > available || part.sizeBytes > available - part.offsetBytes) {
    throw Error(ErrorCode::InvalidArgument,
                name + ": expected a range within the storage's " + std::to_string(available) + " bytes, found " +
                    std::to_string(part.sizeBytes) + " at " + std::to_string(part.offsetBytes));
  }
  if (tensor.is_meta()) throw Error(ErrorCode::InvalidArgument, name + ": a tensor on the meta device has no values");
  refuseBusy(part.tensor, name);
}

uint32_t writeHost(File& file, const uint8_t* data, uint64_t size, uint32_t crc) {
  for (uint64_t done = 0; done < size; done += kHostChunkBytes) {
    const uint64_t chunk = std::min(kHostChunkBytes, size - done);
    crc = crc32(crc, data + done, chunk);
    file.write(data + done, chunk);
  }
  return crc;
}

uint32_t writeStorage(File& file, const FilePart& part) {
  const c10::Storage& storage = part.tensor->value.storage();
  if (part.sizeBytes == 0) return 0;
  if (part.tensor->value.is_cpu())
    return writeHost(file, static_cast<const uint8_t*>(storage.data()) + part.offsetBytes, part.sizeBytes, 0);
  const c10::NoGradGuard noGrad;
  const at::Tensor bytes =
      at::empty({0}, part.tensor->value.options().dtype(at::kByte).requires_grad(false))
          .set_(storage, static_cast<int64_t>(part.offsetBytes), {static_cast<int64_t>(part.sizeBytes)}, {1});
  uint32_t crc = 0;
  for (uint64_t done = 0; done < part.sizeBytes; done += kDeviceChunkBytes) {
    const uint64_t chunk = std::min(kDeviceChunkBytes, part.sizeBytes - done);
    const at::Tensor host = bytes.narrow(0, static_cast<int64_t>(done), static_cast<int64_t>(chunk)).to(at::kCPU);
    crc = writeHost(file, host.const_data_ptr<uint8_t>(), chunk, crc);
  }
  return crc;
}

void patch(FilePart& part, const std::vector<uint32_t>& crc32) {
  for (const auto& [at, slot] : part.crcPatches) {
    for (int i = 0; i < 4; i++) part.bytes[at + i] = static_cast<uint8_t>(crc32[slot] >> (8 * i));
  }
}

}  // namespace

void checkParts(const std::vector<FilePart>& parts) {
  std::set<uint32_t> slots;
  for (size_t i = 0; i < parts.size(); i++) {
    const FilePart& part = parts[i];
    if (part.tensor) {
      checkStoragePart(part, partName(i));
      if (part.crcSlot >= parts.size() || !slots.insert(part.crcSlot).second) {
        throw Error(ErrorCode::InvalidArgument,
                    partName(i) + ": crcSlot: expected an unused slot below the number of parts, found " +
                        std::to_string(part.crcSlot));
      }
    }
    for (const auto& [at, slot] : part.crcPatches) {
      if (!slots.contains(slot)) {
        throw Error(ErrorCode::InvalidArgument,
                    partName(i) + ": crcPatches: slot " + std::to_string(slot) + " is not written before this part");
      }
      if (part.bytes.size() < 4 || at > part.bytes.size() - 4) {
        throw Error(ErrorCode::InvalidArgument, partName(i) + ": crcPatches: expected a place for 4 bytes within " +
                                                    std::to_string(part.bytes.size()) + ", found " +
                                                    std::to_string(at));
      }
    }
  }
}

WrittenFile writeTensorFile(const std::string& path, std::vector<FilePart>& parts, bool fsync) {
  WrittenFile written;
  File file = File::create(path);
  try {
    for (FilePart& part : parts) {
      if (part.tensor) {
        if (written.crc32.size() <= part.crcSlot) written.crc32.resize(part.crcSlot + 1);
        written.crc32[part.crcSlot] = writeStorage(file, part);
        written.sizeBytes += part.sizeBytes;
      } else {
        patch(part, written.crc32);
        file.write(part.bytes.data(), part.bytes.size());
        written.sizeBytes += part.bytes.size();
      }
    }
    if (fsync) file.sync();
    file.close();
  } catch (...) {
    const Error error = translate(std::current_exception());
    if (removeFile(path)) throw error;
    Error worse(error.code(), std::string(error.what()) + " (and the incomplete file could not be removed)");
    worse.systemError = error.systemError;
    throw worse;
  }
  return written;
}

}  // namespace torchkeep::engine
