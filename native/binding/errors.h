// Failures on their way to JavaScript: every thrown or rejected value is an Error with a `code`. The one place that
// makes them.
#pragma once

#include <napi.h>

#include <exception>

#include "engine/error.h"

namespace torchkeep::binding {

/// An Error with `code` (ERR_...), and `storage` where a mapTensorFile call names one. JavaScript thread only.
Napi::Error makeError(Napi::Env env, const engine::Error& error);

/// The same for any exception in flight. A Napi::Error (thrown by JavaScript itself) passes unchanged.
Napi::Error makeError(Napi::Env env, const std::exception_ptr& failure);

/// Wraps a native function for the export table, so that no C++ exception leaves it untranslated.
template <Napi::Value (*function)(const Napi::CallbackInfo&)>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  try {
    return function(info);
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw makeError(info.Env(), std::current_exception());
  }
}

}  // namespace torchkeep::binding
