#include "engine/file.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#include <sys/stat.h>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace torchkeep::engine {
namespace {

/// Largest single transfer; Linux itself stops at 2 GB.
constexpr size_t kTransferBytes = size_t{1} << 30;

[[noreturn]] void fail(ErrorCode code, const std::string& path, const char* action) {
  const int number = errno;
  Error error(code, path + ": cannot " + action + ": " + std::generic_category().message(number));
  error.systemError = number;
  throw error;
}

std::filesystem::path native(const std::string& path) {
  return std::filesystem::path(std::u8string(path.begin(), path.end()));
}

#ifdef _WIN32
int openToCreate(const std::string& path) {
  return _wopen(native(path).c_str(), _O_CREAT | _O_EXCL | _O_WRONLY | _O_BINARY, _S_IREAD | _S_IWRITE);
}
int openToRead(const std::string& path) { return _wopen(native(path).c_str(), _O_RDONLY | _O_BINARY); }
int64_t writeSome(int descriptor, const void* data, size_t size) {
  return _write(descriptor, data, static_cast<unsigned>(size));
}
int64_t readSome(int descriptor, void* data, size_t size, uint64_t offset) {
  if (_lseeki64(descriptor, static_cast<int64_t>(offset), SEEK_SET) < 0) return -1;
  return _read(descriptor, data, static_cast<unsigned>(size));
}
int syncFile(int descriptor) { return _commit(descriptor); }
int closeFile(int descriptor) { return _close(descriptor); }
#else
int openToCreate(const std::string& path) {
  return ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
}
int openToRead(const std::string& path) { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }
int64_t writeSome(int descriptor, const void* data, size_t size) { return ::write(descriptor, data, size); }
int64_t readSome(int descriptor, void* data, size_t size, uint64_t offset) {
  return ::pread(descriptor, data, size, static_cast<off_t>(offset));
}
#ifdef __APPLE__
int syncFile(int descriptor) { return fcntl(descriptor, F_FULLFSYNC) == -1 ? fsync(descriptor) : 0; }
#else
int syncFile(int descriptor) { return fsync(descriptor); }
#endif
int closeFile(int descriptor) { return ::close(descriptor); }
#endif

}  // namespace

File File::create(const std::string& path) {
  const int descriptor = openToCreate(path);
  if (descriptor < 0) fail(ErrorCode::CheckpointWrite, path, "create the file");
  return {path, descriptor};
}

File File::open(const std::string& path) {
  const int descriptor = openToRead(path);
  if (descriptor < 0) fail(ErrorCode::CheckpointMissing, path, "open the file");
  return {path, descriptor};
}

File::File(File&& other) noexcept : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

File::~File() {
  // Only after a failure, or for a file that was read: a written file is closed by close(), which reports.
  if (descriptor_ >= 0) closeFile(descriptor_);
}

void File::write(const void* data, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  while (size > 0) {
    const int64_t written = writeSome(descriptor_, bytes, std::min(size, kTransferBytes));
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(ErrorCode::CheckpointWrite, path_, "write");
    }
    bytes += written;
    size -= static_cast<size_t>(written);
  }
}

void File::sync() {
  if (syncFile(descriptor_) != 0) fail(ErrorCode::CheckpointWrite, path_, "fsync");
}

void File::close() {
  if (closeFile(std::exchange(descriptor_, -1)) != 0) fail(ErrorCode::CheckpointWrite, path_, "close");
}

uint64_t File::sizeBytes() const {
#ifdef _WIN32
  const int64_t size = _filelengthi64(descriptor_);
  if (size < 0) fail(ErrorCode::CheckpointMissing, path_, "read the file's size");
  return static_cast<uint64_t>(size);
#else
  struct stat status{};
  if (fstat(descriptor_, &status) != 0) fail(ErrorCode::CheckpointMissing, path_, "read the file's size");
  if (!S_ISREG(status.st_mode)) throw Error(ErrorCode::CheckpointMissing, path_ + ": expected a regular file");
  return static_cast<uint64_t>(status.st_size);
#endif
}

void File::read(void* data, size_t size, uint64_t offset) const {
  auto* bytes = static_cast<uint8_t*>(data);
  while (size > 0) {
    const int64_t count = readSome(descriptor_, bytes, std::min(size, kTransferBytes), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(ErrorCode::CheckpointCorrupt, path_, "read");
    if (count == 0) {
      throw Error(ErrorCode::CheckpointCorrupt, path_ + ": the file ends at byte " + std::to_string(offset) + " with " +
                                                    std::to_string(size) + " bytes still expected");
    }
    bytes += count;
    offset += static_cast<uint64_t>(count);
    size -= static_cast<size_t>(count);
  }
}

std::shared_ptr<uint8_t> File::map() const {
#ifdef _WIN32
  return nullptr;
#else
  const size_t size = sizeBytes();
  if (size == 0) return nullptr;
  void* pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor_, 0);
  if (pages == MAP_FAILED) fail(ErrorCode::CheckpointMissing, path_, "map the file");
  return {static_cast<uint8_t*>(pages), [size](uint8_t* mapped) { munmap(mapped, size); }};
#endif
}

bool removeFile(const std::string& path) noexcept {
  std::error_code error;
  return std::filesystem::remove(native(path), error);
}

}  // namespace torchkeep::engine
