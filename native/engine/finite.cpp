#include "engine/finite.h"

#include <ATen/Parallel.h>
#include <ATen/ops/isfinite.h>

#include <atomic>
#include <cstdint>
#include <limits>

namespace torchkeep::engine {
namespace {

/// A float is NaN or infinite where all bits of its exponent are set. Adding the lowest of them then carries into the
/// sign's place, so that one "or" over all sums tells; the compiler makes vector instructions of it.
template <typename Word>
bool hasFullExponent(const Word* words, int64_t begin, int64_t end, Word exponent) {
  const Word lowest = static_cast<Word>(exponent & -exponent);
  Word carried = 0;
  for (int64_t i = begin; i < end; ++i) {
    carried = static_cast<Word>(carried | static_cast<Word>(static_cast<Word>(words[i] & exponent) + lowest));
  }
  return (carried >> (std::numeric_limits<Word>::digits - 1)) != 0;
}

template <typename Word>
bool isMemoryFinite(const at::Tensor& tensor, int64_t count, Word exponent) {
  const auto* words = static_cast<const Word*>(tensor.const_data_ptr());
  constexpr int64_t grainSize = 1 << 16;  // less is not worth another thread
  if (count <= grainSize) return !hasFullExponent(words, 0, count, exponent);
  std::atomic<bool> found{false};
  at::parallel_for(0, count, grainSize, [&](int64_t begin, int64_t end) {
    if (hasFullExponent(words, begin, end, exponent)) found.store(true, std::memory_order_relaxed);
  });
  return !found.load(std::memory_order_relaxed);
}

}  // namespace

bool isAllFinite(const at::Tensor& tensor) {
  if (tensor.is_sparse()) return isAllFinite(tensor._values());
  if (!tensor.is_cpu() || tensor.layout() != at::kStrided || !tensor.is_non_overlapping_and_dense())
    return at::isfinite(tensor).all().item<bool>();
  const int64_t count = tensor.numel();
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return isMemoryFinite<uint32_t>(tensor, count, 0x7f800000U);
    case at::kComplexFloat:
      return isMemoryFinite<uint32_t>(tensor, 2 * count, 0x7f800000U);
    case at::kDouble:
      return isMemoryFinite<uint64_t>(tensor, count, 0x7ff0000000000000U);
    case at::kComplexDouble:
      return isMemoryFinite<uint64_t>(tensor, 2 * count, 0x7ff0000000000000U);
    case at::kBFloat16:
      return isMemoryFinite<uint16_t>(tensor, count, 0x7f80U);
    case at::kHalf:
      return isMemoryFinite<uint16_t>(tensor, count, 0x7c00U);
    default:
      return at::isfinite(tensor).all().item<bool>();
  }
}

}  // namespace torchkeep::engine
