//===- Executor.cpp - Executors, whatever their threads -------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "quern/executor.h"

using namespace quern;

Executor::~Executor() = default;

namespace {

class SerialExecutor final : public Executor {
public:
  unsigned threads() const override { return 1; }
  void
  parallelFor(int64_t items, int64_t,
              FunctionRef<void(int64_t, int64_t, unsigned)> body) override {
    if (items > 0)
      body(0, items, 0);
  }
};

} // namespace

std::shared_ptr<Executor> quern::makeSerialExecutor() {
  return std::make_shared<SerialExecutor>();
}
