// Promises over work on other threads. Every operation has three phases: arguments are read on the JavaScript thread,
// the work runs elsewhere on plain C++ values, the result becomes JavaScript on the JavaScript thread again. A failure
// travels as std::exception_ptr and never as text (node-addon-api's AsyncWorker takes an empty message for success, so
// it is not used).
#pragma once

#include <napi.h>

#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "binding/errors.h"

namespace torchkeep::binding {

/// A value or the exception that stood in its way.
template <typename Result>
struct Outcome {
  std::optional<Result> result;
  std::exception_ptr failure;
};

/// Runs `work` and catches everything.
template <typename Work>
auto outcomeOf(Work& work) noexcept -> Outcome<decltype(work())> {
  Outcome<decltype(work())> outcome;
  try {
    outcome.result.emplace(work());
  } catch (...) {
    outcome.failure = std::current_exception();
  }
  return outcome;
}

/// Settles `deferred` with `outcome`. JavaScript thread, inside a handle scope. An environment that is ending refuses
/// to make values: nobody awaits the promise any more, so that is the one failure dropped here.
template <typename Result, typename ToJs>
void settle(Napi::Env env, Napi::Promise::Deferred& deferred, Outcome<Result>& outcome, ToJs& toJs) noexcept {
  try {
    try {
      if (outcome.failure) throw makeError(env, outcome.failure);
      deferred.Resolve(toJs(env, *outcome.result));
    } catch (const Napi::Error& error) {
      deferred.Reject(error.Value());
    } catch (...) {
      deferred.Reject(makeError(env, std::current_exception()).Value());
    }
  } catch (...) {
  }
}

/// Runs `work` (no argument, returns a value) on libuv's pool and resolves with `toJs(env, result)`. `work` must not
/// touch JavaScript; `toJs` may own JavaScript references, which are released on the JavaScript thread.
template <typename Work, typename ToJs>
Napi::Promise runAsync(Napi::Env env, const char* name, Work work, ToJs toJs) {
  using Result = decltype(work());
  struct Task {
    Napi::Promise::Deferred deferred;
    Work work;
    ToJs toJs;
    Outcome<Result> outcome;
    napi_async_work handle = nullptr;
  };
  auto task = std::unique_ptr<Task>(new Task{Napi::Promise::Deferred::New(env), std::move(work), std::move(toJs), {}});
  const Napi::Promise promise = task->deferred.Promise();
  napi_status status = napi_create_async_work(
      env, nullptr, Napi::String::New(env, name),
      // On a thread of libuv's pool.
      [](napi_env, void* data) {
        Task& task = *static_cast<Task*>(data);
        task.outcome = outcomeOf(task.work);
      },
      // On the JavaScript thread.
      [](napi_env env, napi_status, void* data) {
        std::unique_ptr<Task> task(static_cast<Task*>(data));
        settle(Napi::Env(env), task->deferred, task->outcome, task->toJs);
        napi_delete_async_work(env, task->handle);
      },
      task.get(), &task->handle);
  if (status == napi_ok) status = napi_queue_async_work(env, task->handle);
  if (status != napi_ok) throw Napi::Error::New(env);
  task.release();
  return promise;
}

/// A promise that a thread of our own settles. Made on the JavaScript thread; `settle` may be called from any thread,
/// once.
template <typename Result>
class Completion : public std::enable_shared_from_this<Completion<Result>> {
 public:
  /// Makes the JavaScript result; also called to release what it owns, always on the JavaScript thread.
  using ToJs = std::function<Napi::Value(Napi::Env, Result&)>;

  static std::shared_ptr<Completion> create(Napi::Env env, const char* name, ToJs toJs) {
    auto completion = std::shared_ptr<Completion>(new Completion(env, std::move(toJs)));
    // The function owns one reference to us until its finalizer runs.
    auto* owner = new std::shared_ptr<Completion>(completion);
    const napi_status status =
        napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, name), 0, 1, owner, finalize,
                                        owner, onSettled, &completion->function_);
    if (status != napi_ok) {
      delete owner;
      throw Napi::Error::New(env);
    }
    // Registered after the function's own hook, so it runs before it: from then on no thread touches the function.
    napi_add_env_cleanup_hook(env, onEnvironmentEnd, owner);
    return completion;
  }

  /// Only in the handle scope that made it.
  Napi::Promise promise() const { return deferred_.Promise(); }

  /// Any thread. Does nothing once the environment has ended.
  void settle(Outcome<Result> outcome) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return;
    closed_ = true;
    outcome_ = std::move(outcome);
    napi_call_threadsafe_function(function_, nullptr, napi_tsfn_nonblocking);
    napi_release_threadsafe_function(function_, napi_tsfn_release);
  }

 private:
  Completion(Napi::Env env, ToJs toJs) : deferred_(Napi::Promise::Deferred::New(env)), toJs_(std::move(toJs)) {}

  static void onSettled(napi_env env, napi_value, void* context, void*) {
    if (env == nullptr) return;  // the environment is ending
    Completion& self = **static_cast<std::shared_ptr<Completion>*>(context);
    Napi::HandleScope scope(env);
    binding::settle(Napi::Env(env), self.deferred_, self.outcome_, self.toJs_);
  }

  static void onEnvironmentEnd(void* data) {
    Completion& self = **static_cast<std::shared_ptr<Completion>*>(data);
    std::lock_guard<std::mutex> lock(self.mutex_);
    self.closed_ = true;
  }

  static void finalize(napi_env env, void* data, void*) {
    auto* owner = static_cast<std::shared_ptr<Completion>*>(data);
    napi_remove_env_cleanup_hook(env, onEnvironmentEnd, owner);
    (*owner)->toJs_ = nullptr;
    (*owner)->outcome_ = {};
    delete owner;
  }

  Napi::Promise::Deferred deferred_;
  ToJs toJs_;
  std::mutex mutex_;
  Outcome<Result> outcome_;
  napi_threadsafe_function function_ = nullptr;
  bool closed_ = false;
};

}  // namespace torchkeep::binding
