// Random state per environment, although ATen's CPU generator is one per process. No torch, no napi in this header.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "engine/value.h"

namespace torchkeep::engine {

/// A new CPU generator, as `torch.Generator().manual_seed(seed)`.
GeneratorPtr createGenerator(uint64_t seed);
/// A new CPU generator with an unpredictable seed, as Python's default one at start.
GeneratorPtr createUnpredictableGenerator();
void manualSeed(const GeneratorPtr& generator, uint64_t seed);
/// 5,056 bytes in the form of `torch.get_rng_state()`.
std::vector<uint8_t> getGeneratorState(const GeneratorPtr& generator);
void setGeneratorState(const GeneratorPtr& generator, const std::vector<uint8_t>& state);

/// While it lives, the process-wide default CPU generator continues from `generator`'s state; at the end the new state
/// goes back to `generator`. Holds one process-wide mutex, so that eager calls and sessions of all environments take
/// turns.
class ScopedDefaultGenerator {
 public:
  explicit ScopedDefaultGenerator(GeneratorPtr generator);
  ~ScopedDefaultGenerator();
  ScopedDefaultGenerator(const ScopedDefaultGenerator&) = delete;
  ScopedDefaultGenerator& operator=(const ScopedDefaultGenerator&) = delete;

 private:
  GeneratorPtr generator_;
  std::unique_lock<std::mutex> lock_;
};

/// Marks a generator as in use by a running session: draws by others throw ERR_BUSY meanwhile.
void setGeneratorBusy(const GeneratorPtr& generator, bool busy);
bool isGeneratorBusy(const GeneratorPtr& generator);

}  // namespace torchkeep::engine
