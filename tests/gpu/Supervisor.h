//===- Supervisor.h - Cases that may hang or crash --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// On a GPU a wrong kernel may never end, and an illegal address makes every
// later call in the process fail. So the cases run in a child process, one
// after the other, and the parent touches no device. A case that takes too long
// is killed with its process; one that ends the process, or says that it lost
// the device, ends that process too; a new one goes on with the next case.
// What each case gave reaches the parent at once.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_GPU_SUPERVISOR_H
#define QUERN_TESTS_GPU_SUPERVISOR_H

#include "runtime/core/Result.h"

#include <functional>
#include <string>

namespace quern::gputest {

/// What a case gives, in the child.
struct CaseAnswer {
  std::string text;
  bool deviceLost = false; ///< Later cases need a new process.
};

/// What became of a case, in the parent.
struct CaseReport {
  enum class End {
    Answered,
    TimedOut, ///< Killed after `caseSeconds`.
    Died,     ///< Its process ended: `text` says how.
    NotBegun, ///< The time was spent, or the device gone: `text` says which.
  };
  size_t index = 0;
  End end = End::Answered;
  std::string text;
};

struct Supervision {
  double caseSeconds = 60;   ///< For one case, and for opening the device.
  double totalSeconds = 1e9; ///< For all; a case that runs then is killed.

  /// In each new child, before its first case; what the first child's gives is
  /// told the parent by `opened`. After an error no further case is begun.
  std::function<Result<std::string>()> open;
  std::function<CaseAnswer(size_t)> run; ///< In the child.

  std::function<void(const std::string &)> opened;
  std::function<void(const CaseReport &)> report; ///< For every case, in order.
};

/// Runs the cases 0 to count-1. Fails where the first `open` does, or where no
/// process can be made. To be called before the process has threads.
Result<void> supervise(size_t count, const Supervision &supervision);

} // namespace quern::gputest

#endif // QUERN_TESTS_GPU_SUPERVISOR_H
