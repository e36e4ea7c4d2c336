#include "engine/session_batches.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/index_select.h>

#include <algorithm>

#include "engine/error.h"
#include "engine/tensor.h"

namespace torchkeep::engine {
namespace {

[[noreturn]] void reject(ErrorCode code, const std::string& what, const std::string& expected,
                         const std::string& found) {
  throw Error(code, what + ": expected " + expected + ", found " + found);
}

std::string number(int64_t value) { return std::to_string(value); }

void checkBatch(const std::vector<TensorPtr>& tensors, int64_t inputs, c10::Device device, const std::string& what) {
  if (inputs < 0 || static_cast<size_t>(inputs) > tensors.size()) {
    reject(ErrorCode::InvalidArgument, "inputs", "0 to " + std::to_string(tensors.size()) + " (the tensors of a batch)",
           number(inputs));
  }
  if (tensors.empty()) reject(ErrorCode::InvalidArgument, what, "at least one tensor", "none");
  for (size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor& tensor = tensors[i]->value;
    const std::string name = what + ", tensor " + std::to_string(i);
    if (tensor.device() != device)
      reject(ErrorCode::InvalidArgument, name, "device " + device.str(), tensor.device().str());
    if (tensor.dim() == 0)
      reject(ErrorCode::InvalidArgument, name, "at least one dimension (the samples)", "a 0-d tensor");
    if (tensor.size(0) != tensors[0]->value.size(0)) {
      reject(ErrorCode::InvalidArgument, name, number(tensors[0]->value.size(0)) + " samples as in tensor 0",
             number(tensor.size(0)));
    }
  }
}

}  // namespace

BatchReader::BatchReader(const BatchSource& source, c10::Device device) : source_(source), device_(device) {
  if (source.ready) {
    checkReady();
    count_ = source.batches.size();
  } else {
    checkRows();
    count_ = (source.order.size() + static_cast<size_t>(source.batchSize) - 1) / static_cast<size_t>(source.batchSize);
  }
  if (count_ == 0) reject(ErrorCode::Data, "batches", "at least one sample", "none");
}

void BatchReader::checkRows() const {
  if (source_.batchSize < 1) reject(ErrorCode::InvalidArgument, "batchSize", "at least 1", number(source_.batchSize));
  checkBatch(source_.tensors, source_.inputs, device_, "tensors");
  const int64_t rows = source_.tensors[0]->value.size(0);
  const auto isMissing = [rows](int64_t row) { return row < 0 || row >= rows; };
  const auto missing = std::find_if(source_.order.begin(), source_.order.end(), isMissing);
  if (missing != source_.order.end()) {
    reject(ErrorCode::Data, "order[" + number(missing - source_.order.begin()) + "]",
           "a row from 0 to " + number(rows - 1), number(*missing));
  }
}

void BatchReader::checkReady() const {
  for (size_t i = 0; i < source_.batches.size(); ++i)
    checkBatch(source_.batches[i], source_.inputs, device_, "batch " + std::to_string(i));
}

std::vector<at::Tensor> BatchReader::read(size_t index) const {
  const at::NoGradGuard noGrad;
  std::vector<at::Tensor> batch;
  if (source_.ready) {
    for (const TensorPtr& tensor : source_.batches[index]) batch.push_back(tensor->value.detach());
    return batch;
  }
  const size_t begin = index * static_cast<size_t>(source_.batchSize);
  const size_t size = std::min(static_cast<size_t>(source_.batchSize), source_.order.size() - begin);
  // Read only; the view does not outlive this call, as index_select copies.
  int64_t* first = const_cast<int64_t*>(source_.order.data()) + begin;
  const at::Tensor rows = at::from_blob(first, {static_cast<int64_t>(size)}, at::kLong).to(device_);
  for (const TensorPtr& tensor : source_.tensors) batch.push_back(at::index_select(tensor->value, 0, rows));
  return batch;
}

}  // namespace torchkeep::engine
