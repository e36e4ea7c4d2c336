#include "engine/random.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Tensor.h>
#include <c10/core/GeneratorImpl.h>

#include <cstring>

#include "engine/error.h"
#include "engine/generator.h"

namespace torchkeep::engine {
namespace {

/// Guards ATen's one default CPU generator of the process. Never destroyed: threads may still draw while the process
/// exits.
std::mutex& defaultGeneratorMutex() {
  static auto* mutex = new std::mutex();
  return *mutex;
}

at::CPUGeneratorImpl& implementation(const at::Generator& generator) { return *generator.get<at::CPUGeneratorImpl>(); }

/// Copies the state without the detour of get_state/set_state through a byte tensor (twenty times the time).
void copyState(at::CPUGeneratorImpl& from, at::CPUGeneratorImpl& to) {
  const std::scoped_lock lock(from.mutex_, to.mutex_);
  to.set_engine(from.engine());
  to.set_next_float_normal_sample(from.next_float_normal_sample());
  to.set_next_double_normal_sample(from.next_double_normal_sample());
}

void refuseBusyGenerator(const GeneratorPtr& generator) {
  if (generator->busy) throw Error(ErrorCode::Busy, "the generator is in use by a running session");
}

}  // namespace

GeneratorPtr createGenerator(uint64_t seed) { return wrapGenerator(at::detail::createCPUGenerator(seed)); }

GeneratorPtr createUnpredictableGenerator() { return createGenerator(c10::detail::getNonDeterministicRandom()); }

void manualSeed(const GeneratorPtr& generator, uint64_t seed) {
  refuseBusyGenerator(generator);
  const std::lock_guard<std::mutex> lock(generator->value.mutex());
  generator->value.set_current_seed(seed);
}

std::vector<uint8_t> getGeneratorState(const GeneratorPtr& generator) {
  refuseBusyGenerator(generator);
  const std::lock_guard<std::mutex> lock(generator->value.mutex());
  const at::Tensor state = generator->value.get_state();
  const auto* bytes = state.const_data_ptr<uint8_t>();
  return {bytes, bytes + state.numel()};
}

void setGeneratorState(const GeneratorPtr& generator, const std::vector<uint8_t>& state) {
  refuseBusyGenerator(generator);
  const std::lock_guard<std::mutex> lock(generator->value.mutex());
  // get_state makes a byte tensor of the right size to fill.
  at::Tensor bytes = generator->value.get_state();
  if (state.size() != static_cast<size_t>(bytes.numel())) {
    throw Error(ErrorCode::InvalidArgument, "generator state: expected " + std::to_string(bytes.numel()) +
                                                " bytes, found " + std::to_string(state.size()));
  }
  std::memcpy(bytes.mutable_data_ptr<uint8_t>(), state.data(), state.size());
  try {
    generator->value.set_state(bytes);
  } catch (const c10::Error& error) {
    throw Error(ErrorCode::InvalidArgument, std::string("generator state: ") + error.what_without_backtrace());
  }
}

ScopedDefaultGenerator::ScopedDefaultGenerator(GeneratorPtr generator)
    : generator_(std::move(generator)), lock_(defaultGeneratorMutex()) {
  copyState(implementation(generator_->value), implementation(at::detail::getDefaultCPUGenerator()));
}

ScopedDefaultGenerator::~ScopedDefaultGenerator() {
  copyState(implementation(at::detail::getDefaultCPUGenerator()), implementation(generator_->value));
}

void setGeneratorBusy(const GeneratorPtr& generator, bool busy) { generator->busy = busy; }

bool isGeneratorBusy(const GeneratorPtr& generator) { return generator->busy; }

}  // namespace torchkeep::engine
