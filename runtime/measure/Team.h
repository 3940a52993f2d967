//===- Team.h - Threads that do the same thing at once ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// An Executor shares work out; what a machine can do with several threads is
// measured by all of them doing the same at the same time. A team's threads
// sleep between calls and take nothing from what is measured in between.
//
// Thread-safety: one call of `run` at a time.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_MEASURE_TEAM_H
#define QUERN_MEASURE_TEAM_H

#include "quern/executor.h"
#include "runtime/core/Result.h"

#include <atomic>
#include <thread>
#include <vector>

namespace quern {
inline namespace v0 {
namespace measure {

/// The CPUs that the process may run on; at least 1.
unsigned availableCpus();

class Team {
public:
  /// So many threads, the caller of `run` being one of them; at least 1.
  static Result<std::unique_ptr<Team>> create(unsigned threads);
  ~Team();
  Team(const Team &) = delete;

  unsigned threads() const { return count; }
  /// Calls `body(thread)` on every thread, once all of them are awake; returns
  /// when all are done. `body` does not throw.
  void run(FunctionRef<void(unsigned thread)> body);

private:
  explicit Team(unsigned threads) : count(threads) {}
  void work(unsigned thread);
  void together(unsigned thread);

  unsigned count;
  std::vector<std::thread> others;
  const FunctionRef<void(unsigned)> *job = nullptr;
  std::atomic<unsigned> round{0}, awake{0}, done{0};
  std::atomic<bool> ends{false};
};

} // namespace measure
} // namespace v0
} // namespace quern

#endif // QUERN_MEASURE_TEAM_H
