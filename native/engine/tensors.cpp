#include "engine/tensors.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <c10/util/safe_numerics.h>
#include <torch/csrc/autograd/function.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "engine/busy.h"
#include "engine/names.h"
#include "engine/tensor.h"

namespace torchkeep::engine {
namespace {

std::string sizesText(const std::vector<int64_t>& sizes) {
  std::string text = "[";
  for (const int64_t size : sizes) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

/// The bytes that `sizes` of `itemSize` take; refuses negative sizes and overflow.
uint64_t checkedBytes(const std::vector<int64_t>& sizes, uint64_t itemSize) {
  uint64_t bytes = itemSize;
  for (const int64_t size : sizes) {
    if (size < 0 || c10::mul_overflows(bytes, static_cast<uint64_t>(size), &bytes)) {
      throw Error(ErrorCode::InvalidArgument,
                  "tensorFromData: sizes: expected non-negative sizes within 64 bits, found " + sizesText(sizes));
    }
  }
  return bytes;
}

}  // namespace

StorageFacts storageFacts(const TensorPtr& tensor) {
  const at::Tensor& value = tensor->value;
  if (!value.has_storage()) return {nullptr, 0};
  const c10::Storage& storage = value.storage();
  return {storage.unsafeGetStorageImpl(), static_cast<int64_t>(storage.nbytes())};
}

TensorInfo tensorInfo(const TensorPtr& tensor) {
  const at::Tensor& value = tensor->value;
  const bool strided = value.layout() == c10::Layout::Strided;
  const StorageFacts storage = storageFacts(tensor);
  TensorInfo info;
  info.dtype = dtypeName(value.scalar_type());
  info.sizes = value.sizes().vec();
  if (strided) info.strides = value.strides().vec();
  info.storageOffset = strided ? value.storage_offset() : 0;
  info.device = value.device().str();
  info.requiresGrad = value.requires_grad();
  info.isLeaf = value.is_leaf();
  info.isContiguous = strided && value.is_contiguous();
  std::array<char, 24> id{};
  std::snprintf(id.data(), id.size(), "%llx", static_cast<unsigned long long>(reinterpret_cast<uintptr_t>(storage.id)));
  info.storageId = id.data();
  info.storageSizeBytes = storage.sizeBytes;
  if (value.grad_fn()) info.gradFn = value.grad_fn()->name();
  return info;
}

TensorPtr tensorFromData(const std::string& dtype, const std::vector<int64_t>& sizes, std::span<const uint8_t> data,
                         const std::string& device) {
  const c10::ScalarType type = parseDtype(dtype, "tensorFromData: dtype");
  if (c10::isQIntType(type)) {
    throw Error(ErrorCode::InvalidArgument,
                "tensorFromData: dtype: a quantized tensor needs its quantizer, which raw " + dtype + " values lack");
  }
  const c10::Device target = parseDevice(device, "tensorFromData: device");
  const uint64_t expected = checkedBytes(sizes, c10::elementSize(type));
  if (data.size() != expected) {
    throw Error(ErrorCode::InvalidArgument, "tensorFromData: data: expected " + std::to_string(expected) +
                                                " bytes for " + dtype + " " + sizesText(sizes) + ", found " +
                                                std::to_string(data.size()));
  }
  const c10::NoGradGuard noGrad;
  at::Tensor tensor = at::detail::empty_cpu(sizes, type);
  if (!data.empty()) std::memcpy(tensor.mutable_data_ptr(), data.data(), data.size());
  return wrap(target.is_cpu() ? tensor : tensor.to(target));
}

HostData tensorToData(const TensorPtr& tensor) {
  refuseBusy(tensor, "tensorToData");
  const at::Tensor& value = tensor->value;
  if (value.is_meta())
    throw Error(ErrorCode::InvalidArgument, "tensorToData: a tensor on the meta device has no values");
  const c10::NoGradGuard noGrad;
  // A conjugate or negative view keeps its values unresolved in memory.
  at::Tensor host = value.detach().resolve_conj().resolve_neg().to(c10::kCPU).contiguous();
  const std::span<const uint8_t> bytes(static_cast<const uint8_t*>(host.const_data_ptr()), host.nbytes());
  return {bytes, wrap(std::move(host))};
}

TensorPtr tensorGrad(const TensorPtr& tensor) {
  const at::Tensor& grad = tensor->value.grad();
  return grad.defined() ? wrap(grad) : nullptr;
}

void setTensorGrad(const TensorPtr& tensor, const TensorPtr& grad) {
  refuseBusy(tensor, "tensorGrad");
  at::Tensor& value = tensor->value;
  if (!grad) {
    value.mutable_grad() = at::Tensor();
    return;
  }
  const at::Tensor& given = grad->value;
  // Python's checks in THPVariable_set_grad: ATen itself takes anything here.
  if (given.is_same(value)) throw Error(ErrorCode::InvalidArgument, "tensorGrad: a tensor cannot be its own grad");
  if (given.scalar_type() != value.scalar_type() || given.device() != value.device() ||
      given.sizes() != value.sizes()) {
    const auto text = [](const at::Tensor& t) {
      return dtypeName(t.scalar_type()) + " " + sizesText(t.sizes().vec()) + " on " + t.device().str();
    };
    throw Error(ErrorCode::InvalidArgument, "tensorGrad: grad: expected " + text(value) + ", found " + text(given));
  }
  value.mutable_grad() = given;
}

}  // namespace torchkeep::engine
