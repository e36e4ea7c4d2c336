#include "engine/shared_library.h"

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace torchkeep::engine {

#ifdef _WIN32

void* loadLibrary(const std::string& path, std::string& error) {
  void* library = LoadLibraryExA(path.c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  if (library == nullptr) error = "LoadLibrary failed with error " + std::to_string(GetLastError());
  return library;
}

void* findSymbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}

std::string libraryOf(const void* address) {
  HMODULE module = nullptr;
  char path[MAX_PATH] = "";
  constexpr DWORD flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
  if (GetModuleHandleExA(flags, static_cast<LPCSTR>(address), &module)) GetModuleFileNameA(module, path, sizeof(path));
  return path;
}

#else

void* loadLibrary(const std::string& path, std::string& error) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) error = dlerror();
  return library;
}

void* findSymbol(void* library, const char* name) { return dlsym(library, name); }

std::string libraryOf(const void* address) {
  Dl_info info{};
  return dladdr(address, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : "";
}

#endif

}  // namespace torchkeep::engine
