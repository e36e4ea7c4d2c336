// The engine's own failure type and the one place that classifies foreign exceptions. No torch, no napi in this header.
#pragma once

#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>

namespace torchkeep::engine {

/// Codes of docs/errors.md that the engine can raise. `codeName` gives the public spelling (`ERR_...`).
enum class ErrorCode {
  InvalidArgument,
  Disposed,
  Busy,
  Aborted,
  Torch,
  OutOfMemory,
  Data,
  CheckpointCorrupt,
  CheckpointMissing,
  CheckpointWrite
};

const char* codeName(ErrorCode code) noexcept;

/// A failure with a code. The message names the culprit with expected and found.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }
  /// Index of the damaged storage of a mapTensorFile call; -1 elsewhere.
  int64_t storage = -1;
  /// `errno` of a system call that failed; 0 elsewhere.
  int systemError = 0;

 private:
  ErrorCode code_;
};

/// Classifies any exception by type (never by its text): Error as it is, c10::OutOfMemoryError, std::bad_alloc,
/// c10::Error (short text), others.
Error translate(const std::exception_ptr& failure) noexcept;

/// The exception in flight with `where` in front of its message.
[[noreturn]] void rethrowFrom(const std::string& where);

}  // namespace torchkeep::engine
