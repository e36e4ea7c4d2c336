#include "binding/session_wrap.h"

#include <algorithm>
#include <memory>
#include <string>

#include "binding/arguments.h"
#include "binding/async.h"
#include "binding/environment.h"
#include "binding/session_arguments.h"
#include "binding/tensor_handle.h"
#include "engine/error.h"
#include "engine/runtime.h"
#include "engine/session.h"

namespace torchkeep::binding {
namespace {

using SessionPtr = std::shared_ptr<engine::Session>;

Napi::Float64Array toJs(Napi::Env env, const std::vector<double>& numbers) {
  Napi::Float64Array array = Napi::Float64Array::New(env, numbers.size());
  std::copy(numbers.begin(), numbers.end(), array.Data());
  return array;
}

Napi::Array toJs(Napi::Env env, const std::vector<engine::NonFiniteBatch>& skipped) {
  Napi::Array array = Napi::Array::New(env, skipped.size());
  for (size_t i = 0; i < skipped.size(); ++i) {
    const Napi::HandleScope scope(env);
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("batch", static_cast<double>(skipped[i].batch));
    entry.Set("parameter",
              skipped[i].parameter ? Napi::Value(Napi::String::New(env, *skipped[i].parameter)) : env.Null());
    array.Set(static_cast<uint32_t>(i), entry);
  }
  return array;
}

Napi::Object toJs(Napi::Env env, const engine::NamedTensors& tensors) {
  Napi::Object object = Napi::Object::New(env);
  for (const auto& [name, tensor] : tensors) object.Set(name, TensorHandle::create(env, tensor));
  return object;
}

Napi::Array toJs(Napi::Env env, const std::vector<engine::TensorPtr>& tensors) {
  Napi::Array array = Napi::Array::New(env, tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i)
    array.Set(static_cast<uint32_t>(i), TensorHandle::create(env, tensors[i]));
  return array;
}

Napi::Value toJs(Napi::Env env, const engine::RunResult& result) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("batches", static_cast<double>(result.batches));
  object.Set("steps", static_cast<double>(result.steps));
  object.Set("samples", static_cast<double>(result.samples));
  object.Set("losses", toJs(env, result.losses));
  object.Set("gradNorms", toJs(env, result.gradNorms));
  object.Set("accumulated", static_cast<double>(result.accumulated));
  object.Set("skipped", toJs(env, result.skipped));
  object.Set("reason", engine::stopReasonName(result.reason));
  return object;
}

Napi::Value toJs(Napi::Env env, const engine::EvaluateResult& result) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("samples", static_cast<double>(result.samples));
  object.Set("loss", result.loss);
  object.Set("outputs", toJs(env, result.outputs));
  object.Set("reason", engine::stopReasonName(result.reason));
  return object;
}

Napi::Value toJs(Napi::Env env, const engine::PredictResult& result) {
  Napi::Object object = Napi::Object::New(env);
  Napi::Array done = Napi::Array::New(env, result.done.size());
  for (size_t i = 0; i < result.done.size(); ++i) {
    const Napi::HandleScope scope(env);
    const engine::Prediction& prediction = result.done[i];
    if (prediction.failure)
      done.Set(static_cast<uint32_t>(i), makeError(env, prediction.failure).Value());
    else
      done.Set(static_cast<uint32_t>(i), toJs(env, prediction.outputs));
  }
  object.Set("done", done);
  object.Set("reason", engine::stopReasonName(result.reason));
  return object;
}

/// A promise for an operation of `session`; `submit` receives the callback that settles it. `toJs` should own the
/// session, which then lives until the promise is settled and is released on this thread.
template <typename Result, typename ToJs, typename Submit>
Napi::Value promiseOf(Napi::Env env, const char* name, ToJs toJs, Submit submit) {
  auto completion = Completion<Result>::create(env, name, std::move(toJs));
  const engine::Session::Done<Result> settle = [completion](const std::exception_ptr& failure, Result result) {
    completion->settle(failure ? Outcome<Result>{std::nullopt, failure} : Outcome<Result>{std::move(result), nullptr});
  };
  try {
    submit(settle);
  } catch (...) {
    settle(std::current_exception(), {});
  }
  return completion->promise();
}

/// `NativeSession` of lib/contract.ts. Work in flight holds its own reference to the session, so this object may be
/// collected meanwhile.
class SessionWrap : public Napi::ObjectWrap<SessionWrap> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "NativeSession",
                       {
                           InstanceMethod<&SessionWrap::guard<&SessionWrap::run>>("run"),
                           InstanceMethod<&SessionWrap::guard<&SessionWrap::evaluate>>("evaluate"),
                           InstanceMethod<&SessionWrap::guard<&SessionWrap::predict>>("predict"),
                           InstanceMethod<&SessionWrap::guard<&SessionWrap::setParamGroups>>("setParamGroups"),
                           InstanceMethod<&SessionWrap::guard<&SessionWrap::optimizerState>>("optimizerState"),
                           InstanceMethod<&SessionWrap::guard<&SessionWrap::gradients>>("gradients"),
                           InstanceMethod<&SessionWrap::guard<&SessionWrap::setGradients>>("setGradients"),
                           InstanceMethod<&SessionWrap::guard<&SessionWrap::pause>>("pause"),
                           InstanceMethod<&SessionWrap::guard<&SessionWrap::dispose>>("dispose"),
                       });
  }

  static Napi::Object create(Napi::Env env, SessionPtr session) {
    EnvironmentData& environment = EnvironmentData::of(env);
    if (environment.sessionClass.IsEmpty()) environment.sessionClass = Napi::Persistent(define(env));
    return environment.sessionClass.New({Napi::External<SessionPtr>::New(env, &session)});
  }

  explicit SessionWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<SessionWrap>(info) {
    if (info.Length() != 1 || !info[0].IsExternal()) {
      throw makeError(info.Env(),
                      engine::Error(engine::ErrorCode::InvalidArgument, "a session is made by createSession only"));
    }
    session_ = *info[0].As<Napi::External<SessionPtr>>().Data();
  }

 private:
  template <Napi::Value (SessionWrap::*method)(const Napi::CallbackInfo&)>
  Napi::Value guard(const Napi::CallbackInfo& info) {
    try {
      return (this->*method)(info);
    } catch (const Napi::Error&) {
      throw;
    } catch (...) {
      throw makeError(info.Env(), std::current_exception());
    }
  }

  Napi::Value run(const Napi::CallbackInfo& info) {
    const Options options(info, "run");
    engine::BatchSource source = readBatches(options);
    const engine::RunOptions runOptions = readRunOptions(options);
    engine::releaseWaitingThreads();  // this thread's, from eager operators
    const auto makeResult = [session = session_](Napi::Env env, engine::RunResult& result) {
      return toJs(env, result);
    };
    return promiseOf<engine::RunResult>(info.Env(), "run", makeResult,
                                        [&](const engine::Session::Done<engine::RunResult>& done) {
                                          session_->run(std::move(source), runOptions, done);
                                        });
  }

  Napi::Value evaluate(const Napi::CallbackInfo& info) {
    engine::BatchSource source = readBatches(Options(info, "evaluate"));
    engine::releaseWaitingThreads();
    const auto makeResult = [session = session_](Napi::Env env, engine::EvaluateResult& result) {
      return toJs(env, result);
    };
    return promiseOf<engine::EvaluateResult>(info.Env(), "evaluate", makeResult,
                                             [&](const engine::Session::Done<engine::EvaluateResult>& done) {
                                               session_->evaluate(std::move(source), done);
                                             });
  }

  Napi::Value predict(const Napi::CallbackInfo& info) {
    const Options options(info, "predict");
    std::vector<std::vector<engine::TensorPtr>> calls = options.tensorLists("calls");
    const double maxDurationMs = options.number("maxDurationMs");
    engine::releaseWaitingThreads();
    const auto makeResult = [session = session_](Napi::Env env, engine::PredictResult& result) {
      return toJs(env, result);
    };
    return promiseOf<engine::PredictResult>(info.Env(), "predict", makeResult,
                                            [&](const engine::Session::Done<engine::PredictResult>& done) {
                                              session_->predict(std::move(calls), maxDurationMs, done);
                                            });
  }

  Napi::Value setParamGroups(const Napi::CallbackInfo& info) {
    session_->setParamGroups(readGroups(Options(info, "setParamGroups")));
    return info.Env().Undefined();
  }

  Napi::Value optimizerState(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    Napi::Object state = Napi::Object::New(env);
    for (const auto& [parameter, tensors] : session_->optimizerState()) state.Set(parameter, toJs(env, tensors));
    return state;
  }

  Napi::Value gradients(const Napi::CallbackInfo& info) { return toJs(info.Env(), session_->gradients()); }

  Napi::Value setGradients(const Napi::CallbackInfo& info) {
    session_->setGradients(readNamedTensors(Options(info, "setGradients").object("gradients")));
    return info.Env().Undefined();
  }

  Napi::Value pause(const Napi::CallbackInfo& info) {
    session_->pause();
    return info.Env().Undefined();
  }

  Napi::Value dispose(const Napi::CallbackInfo& info) {
    session_->dispose();
    return info.Env().Undefined();
  }

  SessionPtr session_;
};

/// Remembers `session` for shutdownSessions and forgets those that are gone.
void addSession(EnvironmentData& environment, const SessionPtr& session) {
  auto& sessions = environment.sessions;
  const auto isGone = [](const std::weak_ptr<engine::Session>& entry) { return entry.expired(); };
  sessions.erase(std::remove_if(sessions.begin(), sessions.end(), isGone), sessions.end());
  sessions.push_back(session);
}

}  // namespace

Napi::Value createSession(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  EnvironmentData& environment = EnvironmentData::of(env);
  if (environment.shutDown)
    throw engine::Error(engine::ErrorCode::Disposed, "createSession: the addon has been shut down");
  const Options options(info, "createSession");
  engine::SessionSpec spec = readSpec(options);
  const int64_t threads = options.integer("threads");
  if (threads < 0 || threads > 1024) rejectArgument(options.path("threads"), "0 to 1024", options.get("threads"));

  const auto session = std::make_shared<engine::Session>(environment.defaultGenerator, static_cast<int>(threads));
  addSession(environment, session);
  const auto makeResult = [session](Napi::Env env, bool&) { return SessionWrap::create(env, session); };
  return promiseOf<bool>(env, "createSession", makeResult,
                         [&](const engine::Session::Done<bool>& done) { session->compile(std::move(spec), done); });
}

void shutdownSessions(EnvironmentData& environment) {
  environment.shutDown = true;
  for (const std::weak_ptr<engine::Session>& entry : environment.sessions) {
    if (const SessionPtr session = entry.lock()) session->dispose();
  }
  environment.sessions.clear();
}

}  // namespace torchkeep::binding
