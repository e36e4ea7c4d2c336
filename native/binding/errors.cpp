#include "binding/errors.h"

namespace torchkeep::binding {

Napi::Error makeError(Napi::Env env, const engine::Error& error) {
  Napi::Error made = Napi::Error::New(env, error.what());
  made.Set("code", Napi::String::New(env, engine::codeName(error.code())));
  if (error.storage >= 0) made.Set("storage", Napi::Number::New(env, static_cast<double>(error.storage)));
  // Negative, as on Node's own errors.
  if (error.systemError != 0) made.Set("errno", Napi::Number::New(env, -error.systemError));
  return made;
}

Napi::Error makeError(Napi::Env env, const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Napi::Error& error) {
    return error;
  } catch (...) {
    return makeError(env, engine::translate(failure));
  }
}

}  // namespace torchkeep::binding
