#include "engine/error.h"

#include <c10/util/Exception.h>

#include <new>

namespace torchkeep::engine {

const char* codeName(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::InvalidArgument:
      return "ERR_INVALID_ARGUMENT";
    case ErrorCode::Disposed:
      return "ERR_DISPOSED";
    case ErrorCode::Busy:
      return "ERR_BUSY";
    case ErrorCode::Aborted:
      return "ERR_ABORTED";
    case ErrorCode::Torch:
      return "ERR_TORCH";
    case ErrorCode::OutOfMemory:
      return "ERR_OUT_OF_MEMORY";
    case ErrorCode::Data:
      return "ERR_DATA";
    case ErrorCode::CheckpointCorrupt:
      return "ERR_CHECKPOINT_CORRUPT";
    case ErrorCode::CheckpointMissing:
      return "ERR_CHECKPOINT_MISSING";
    case ErrorCode::CheckpointWrite:
      return "ERR_CHECKPOINT_WRITE";
  }
  return "ERR_TORCH";
}

Error translate(const std::exception_ptr& failure) noexcept {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return error;
  } catch (const c10::OutOfMemoryError& error) {
    return {ErrorCode::OutOfMemory, error.what_without_backtrace()};
  } catch (const std::bad_alloc&) {
    return {ErrorCode::OutOfMemory, "the host is out of memory"};
  } catch (const c10::Error& error) {
    return {ErrorCode::Torch, error.what_without_backtrace()};
  } catch (const std::exception& error) {
    return {ErrorCode::Torch, error.what()};
  } catch (...) {
    return {ErrorCode::Torch, "an exception that is not a std::exception"};
  }
}

void rethrowFrom(const std::string& where) {
  const Error error = translate(std::current_exception());
  throw Error(error.code(), where + ": " + error.what());
}

}  // namespace torchkeep::engine
