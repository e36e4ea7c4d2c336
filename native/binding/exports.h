// The native functions of lib/contract.ts, by the file of native/binding that defines them; createSession is in
// session_wrap.h.
#pragma once

#include <napi.h>

namespace torchkeep::binding {

// operators.cpp
Napi::Value call(const Napi::CallbackInfo& info);
Napi::Value operatorSchema(const Napi::CallbackInfo& info);

// tensors.cpp
Napi::Value tensorFromData(const Napi::CallbackInfo& info);
Napi::Value tensorToData(const Napi::CallbackInfo& info);
Napi::Value tensorInfo(const Napi::CallbackInfo& info);
Napi::Value tensorGrad(const Napi::CallbackInfo& info);

// files.cpp
Napi::Value writeTensorFile(const Napi::CallbackInfo& info);
Napi::Value mapTensorFile(const Napi::CallbackInfo& info);
Napi::Value saveArchive(const Napi::CallbackInfo& info);
Napi::Value loadArchive(const Napi::CallbackInfo& info);

// generators.cpp
Napi::Value defaultGenerator(const Napi::CallbackInfo& info);
Napi::Value createGenerator(const Napi::CallbackInfo& info);
Napi::Value manualSeed(const Napi::CallbackInfo& info);
Napi::Value getGeneratorState(const Napi::CallbackInfo& info);
Napi::Value setGeneratorState(const Napi::CallbackInfo& info);

// runtime.cpp
Napi::Value versions(const Napi::CallbackInfo& info);
Napi::Value devices(const Napi::CallbackInfo& info);
Napi::Value memoryStats(const Napi::CallbackInfo& info);
Napi::Value emptyCache(const Napi::CallbackInfo& info);
Napi::Value getNumThreads(const Napi::CallbackInfo& info);
Napi::Value setNumThreads(const Napi::CallbackInfo& info);
Napi::Value shutdown(const Napi::CallbackInfo& info);

}  // namespace torchkeep::binding
