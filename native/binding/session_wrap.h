// The session on the JavaScript side: `createSession` of lib/contract.ts.
#pragma once

#include <napi.h>

namespace torchkeep::binding {

struct EnvironmentData;

Napi::Value createSession(const Napi::CallbackInfo& info);

/// Stops and joins every session of an environment. JavaScript thread. Idempotent.
void shutdownSessions(EnvironmentData& environment);

}  // namespace torchkeep::binding
