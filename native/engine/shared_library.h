// Shared libraries loaded at run time, on every platform the same. No torch, no napi in this header.
#pragma once

#include <string>

namespace torchkeep::engine {

/// Loads a library for the life of the process. Returns its handle, or null with `error` set to the loader's own words.
void* loadLibrary(const std::string& path, std::string& error);

/// The address of a symbol in a loaded library, or null.
void* findSymbol(void* library, const char* name);

/// The file that holds the code at `address`; empty if the loader does not know.
std::string libraryOf(const void* address);

}  // namespace torchkeep::engine
