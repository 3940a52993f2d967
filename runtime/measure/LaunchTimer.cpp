//===- LaunchTimer.cpp - What each launch of a layer takes ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/measure/LaunchTimer.h"

#include "runtime/jit/LayerState.h"

#include <chrono>

using namespace quern;
using namespace quern::measure;

struct LaunchTimer::Times {
  /// A program that times what it hands on.
  class Timed;
  /// The plan that launches lie in.
  const LaunchDesc *first = nullptr;
  std::vector<double> seconds;

  static Layer wrap(const Layer &layer, std::shared_ptr<Times> times);
};

class LaunchTimer::Times::Timed final : public Program {
public:
  Timed(std::shared_ptr<Program> program, std::shared_ptr<Times> times)
      : program(std::move(program)), times(std::move(times)) {}

  Result<void *> allocate(uint64_t bytes) override {
    return program->allocate(bytes);
  }
  void release(void *address) override { program->release(address); }
  bool usesHostMemory() const override { return program->usesHostMemory(); }
  Result<void *> makeStream() override { return program->makeStream(); }
  void destroyStream(void *stream) override { program->destroyStream(stream); }
  Result<void> synchronize(void *stream) override {
    return program->synchronize(stream);
  }
  Result<void> copyIn(void *to, const void *from, uint64_t bytes,
                      void *stream) override {
    return program->copyIn(to, from, bytes, stream);
  }
  Result<void> copyOut(void *to, const void *from, uint64_t bytes,
                       void *stream) override {
    return program->copyOut(to, from, bytes, stream);
  }
  Result<void> copyWithin(void *to, const void *from, uint64_t bytes,
                          void *stream) override {
    return program->copyWithin(to, from, bytes, stream);
  }
  Result<void> zero(void *at, uint64_t bytes, void *stream) override {
    return program->zero(at, bytes, stream);
  }
  unsigned workers() const override { return program->workers(); }

  Result<void> launch(const LaunchCall &call, void *stream) override {
    auto start = std::chrono::steady_clock::now();
    Result<void> done = program->launch(call, stream);
    times->seconds[call.launch - times->first] +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count();
    return done;
  }

private:
  std::shared_ptr<Program> program;
  std::shared_ptr<Times> times;
};

Layer LaunchTimer::Times::wrap(const Layer &layer,
                               std::shared_ptr<Times> times) {
  auto state =
      std::make_shared<detail::LayerState>(detail::LayerAccess::state(layer));
  times->first = state->variant.launches.data();
  times->seconds.assign(state->variant.launches.size(), 0);
  state->program = std::make_shared<Timed>(state->program, std::move(times));
  return detail::LayerAccess::make(std::move(state));
}

LaunchTimer::LaunchTimer(const Layer &layer)
    : times(std::make_shared<Times>()), timed(Times::wrap(layer, times)) {}

std::vector<double> LaunchTimer::take() {
  std::vector<double> taken(times->seconds.size(), 0);
  taken.swap(times->seconds);
  return taken;
}
