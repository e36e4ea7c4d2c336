#include "engine/session.h"

#include <ATen/Parallel.h>

#include "engine/busy.h"
#include "engine/error.h"
#include "engine/random.h"
#include "engine/session_program.h"

namespace torchkeep::engine {
namespace {

/// What an operation keeps others from using, from its submission to its end.
class Marks {
 public:
  Marks(const char* name, const std::vector<TensorPtr>& tensors, const std::vector<TensorPtr>& data,
        GeneratorPtr generator)
      : generator_(std::move(generator)) {
    for (const TensorPtr& tensor : tensors) refuseBusy(tensor, name, Access::Write);
    for (const TensorPtr& tensor : data) refuseBusy(tensor, name, Access::Read);
    if (generator_ != nullptr && isGeneratorBusy(generator_)) {
      throw Error(ErrorCode::Busy,
                  std::string(name) + ": another session draws from this environment's generator; await it first");
    }
    storages_ = BusyStorages(tensors);
    data_ = BusyStorages(data, Access::Read);
    if (generator_ != nullptr) setGeneratorBusy(generator_, true);
  }
  ~Marks() {
    if (generator_ != nullptr) setGeneratorBusy(generator_, false);
  }
  Marks(const Marks&) = delete;
  Marks& operator=(const Marks&) = delete;

 private:
  const GeneratorPtr generator_;
  BusyStorages storages_;
  /// Others may read the batches, not change them.
  BusyStorages data_;
};

std::vector<TensorPtr> tensorsOf(const BatchSource& source) {
  if (!source.ready) return source.tensors;
  std::vector<TensorPtr> tensors;
  for (const std::vector<TensorPtr>& batch : source.batches) tensors.insert(tensors.end(), batch.begin(), batch.end());
  return tensors;
}

std::vector<TensorPtr> tensorsOf(const SessionSpec& spec) {
  std::vector<TensorPtr> tensors;
  const auto add = [&](const NamedTensors& list) {
    for (const auto& [name, tensor] : list) tensors.push_back(tensor);
  };
  add(spec.parameters);
  add(spec.buffers);
  add(spec.constants);
  if (spec.optimizer) {
    for (const auto& [name, state] : spec.optimizer->state) add(state);
  }
  return tensors;
}

}  // namespace

const char* stopReasonName(StopReason reason) noexcept {
  switch (reason) {
    case StopReason::End:
      return "end";
    case StopReason::Time:
      return "time";
    case StopReason::Paused:
      return "paused";
    case StopReason::Stopped:
      return "stopped";
    case StopReason::NonFinite:
      return "non_finite";
  }
  return "";
}

Session::Session(GeneratorPtr generator, int threads)
    : generator_(std::move(generator)), thread_([this, threads] { threadMain(threads); }) {}

Session::~Session() { dispose(); }

void Session::threadMain(int threads) {
  at::get_num_threads();  // LibTorch sets a new thread's count at its first use: let that happen before our own
  if (threads > 0) at::set_num_threads(threads);
  while (true) {
    std::function<void()> job;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return job_ != nullptr || disposed_; });
      if (job_ == nullptr) return;
      job.swap(job_);
    }
    job();
  }
}

void Session::requireIdle(const char* name) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (disposed_) throw Error(ErrorCode::Disposed, std::string(name) + ": the session has been disposed");
  if (busy_) throw Error(ErrorCode::Busy, std::string(name) + ": the session runs another operation; await it first");
}

TrainingProgram& Session::program(const char* name) {
  requireIdle(name);
  if (program_ == nullptr) throw Error(ErrorCode::Disposed, std::string(name) + ": the session failed to start");
  return *program_;
}

template <typename Result>
void Session::submit(const char* name, const std::vector<TensorPtr>& tensors, const std::vector<TensorPtr>& data,
                     bool draws, std::function<Result()> operation, Done<Result> done) {
  requireIdle(name);
  auto marks = std::make_shared<Marks>(name, tensors, data, draws ? generator_ : nullptr);
  pause_ = false;
  auto job = [this, marks, operation = std::move(operation), done = std::move(done)]() mutable {
    Result result{};
    std::exception_ptr failure;
    try {
      result = operation();
    } catch (...) {
      failure = std::current_exception();
    }
    operation = nullptr;
    marks.reset();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      busy_ = false;
    }
    done(failure, std::move(result));
  };
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    busy_ = true;
    job_ = std::move(job);
  }
  marks.reset();
  wake_.notify_one();
}

void Session::compile(SessionSpec spec, Done<bool> done) {
  const std::vector<TensorPtr> tensors = tensorsOf(spec);
  auto operation = [this, spec = std::move(spec)] {
    program_ = std::make_unique<TrainingProgram>(spec, generator_, stop_, pause_);
    return true;
  };
  submit<bool>("createSession", tensors, /*data=*/{}, /*draws=*/false, std::move(operation), std::move(done));
}

void Session::run(BatchSource source, RunOptions options, Done<RunResult> done) {
  TrainingProgram& program = this->program("run");
  const std::vector<TensorPtr> data = tensorsOf(source);
  auto operation = [&program, options, source = std::move(source)] { return program.run(source, options); };
  submit<RunResult>("run", program.tensors(), data, program.trainingDraws(), std::move(operation), std::move(done));
}

void Session::evaluate(BatchSource source, Done<EvaluateResult> done) {
  TrainingProgram& program = this->program("evaluate");
  const std::vector<TensorPtr> data = tensorsOf(source);
  auto operation = [&program, source = std::move(source)] { return program.evaluate(source); };
  submit<EvaluateResult>("evaluate", program.tensors(), data, program.evaluationDraws(), std::move(operation),
                         std::move(done));
}

void Session::predict(std::vector<std::vector<TensorPtr>> calls, double maxDurationMs, Done<PredictResult> done) {
  TrainingProgram& program = this->program("predict");
  std::vector<TensorPtr> data;
  for (const std::vector<TensorPtr>& inputs : calls) data.insert(data.end(), inputs.begin(), inputs.end());
  auto operation = [&program, maxDurationMs, calls = std::move(calls)] {
    return program.predict(calls, maxDurationMs);
  };
  submit<PredictResult>("predict", program.tensors(), data, program.predictionDraws(), std::move(operation),
                        std::move(done));
}

void Session::setParamGroups(const std::vector<ParamGroup>& groups) {
  program("setParamGroups").setParamGroups(groups);
}

OptimizerState Session::optimizerState() { return program("optimizerState").optimizerState(); }

NamedTensors Session::gradients() { return program("gradients").gradients(); }

void Session::setGradients(const NamedTensors& gradients) {
  TrainingProgram& program = this->program("setGradients");
  for (const auto& [name, tensor] : gradients) refuseBusy(tensor, "setGradients: \"" + name + "\"");
  program.setGradients(gradients);
}

void Session::pause() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (disposed_) throw Error(ErrorCode::Disposed, "pause: the session has been disposed");
  pause_ = true;  // the next operation clears it
}

void Session::dispose() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (disposed_) return;
    disposed_ = true;
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
  program_.reset();
}

}  // namespace torchkeep::engine
