//===- executor.h - Where CPU kernels get their threads ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// CPU kernels process ranges of items; an Executor spreads a launch's items
// over threads. A host program that has its own threads passes its own
// Executor and Quern starts none.
//
// Results never depend on the executor: how items are cut into ranges, and
// which worker takes which, changes no bit.
//
// Nesting and oversubscription. The default executor runs on oneTBB, in an
// arena of its own with the given concurrency, the calling thread included.
// All arenas of a process share one pool of threads, no larger than the
// machine, so that several layers running at once, or a host that itself uses
// oneTBB, do not oversubscribe. Called from inside a oneTBB task it is safe
// and uses what threads are free. A host with another thread pool (OpenMP, its
// own) that keeps its threads spinning while Quern runs would oversubscribe:
// it passes an Executor over its pool, or one with a single thread. Built
// without oneTBB (QUERN_WITH_TBB=OFF), each executor has threads of its own.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_EXECUTOR_H
#define QUERN_EXECUTOR_H

#include "runtime/core/Export.h"

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace quern {
inline namespace v0 {

template <typename Signature> class FunctionRef;

/// A reference to something callable, two words, valid as long as that lives.
template <typename R, typename... Args> class FunctionRef<R(Args...)> {
public:
  template <typename F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef> &&
             std::is_invocable_r_v<R, F &, Args...>)
  FunctionRef(F &&function)
      : object(const_cast<void *>(
            static_cast<const void *>(std::addressof(function)))),
        call([](void *object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F> *>(object))(
              std::forward<Args>(args)...);
        }) {}
  R operator()(Args... args) const {
    return call(object, std::forward<Args>(args)...);
  }

private:
  void *object;
  R (*call)(void *, Args...);
};

class QUERN_API Executor {
public:
  virtual ~Executor();

  /// The number of workers: at least 1, and constant.
  virtual unsigned threads() const = 0;

  /// Calls `body(begin, end, worker)` for disjoint ranges that together are
  /// [0, items), and returns when all calls have returned. Ranges begin at
  /// multiples of `grain` (>= 1) and only the last may be shorter. Calls with
  /// the same `worker` (< threads()) never run at once. `body` does not throw.
  /// Does not allocate on the calling thread once warm.
  virtual void parallelFor(
      int64_t items, int64_t grain,
      FunctionRef<void(int64_t begin, int64_t end, unsigned worker)> body) = 0;
};

/// The default executor; `threads` = 0 takes what the process may use (its CPU
/// affinity).
QUERN_API std::shared_ptr<Executor> makeExecutor(unsigned threads = 0);

/// An executor that calls `body` once, on the calling thread.
QUERN_API std::shared_ptr<Executor> makeSerialExecutor();

} // namespace v0
} // namespace quern

#endif // QUERN_EXECUTOR_H
