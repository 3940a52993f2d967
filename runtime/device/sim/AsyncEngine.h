//===- AsyncEngine.h - Operations in flight ---------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Private to the scheduler, AsyncProxy.cpp and AsyncEngine.cpp: the operations
// of a launch that have not landed, and landed ones whose group has not been
// waited for.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_ASYNCENGINE_H
#define QUERN_DEVICE_SIM_ASYNCENGINE_H

#include "runtime/device/sim/AsyncProxy.h"

#include <memory>
#include <vector>

namespace quern {
inline namespace v0 {
namespace sim {

struct AsyncEngine {
  static constexpr uint64_t never = ~uint64_t(0);

  std::vector<std::unique_ptr<AsyncOp>> ops; ///< In the order of issue.
  size_t pending = 0;                        ///< Not landed.
  uint64_t nextDue = never;

  void add(Launch &launch, AsyncOp op);
  /// Performs and signals; earlier operations of its chain first.
  void land(Launch &launch, AsyncOp &op);
  /// Lands what is due at Launch::turn.
  void landDue(Launch &launch);
  /// Lands one at random; false if none is pending.
  bool landAny(Launch &launch);
  /// At the end of a cluster: lands and forgets everything.
  void landAll(Launch &launch);

private:
  void sweep();
  size_t lastKept = 0;
};

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_ASYNCENGINE_H
