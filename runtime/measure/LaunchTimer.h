//===- LaunchTimer.h - What each launch of a layer takes --------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A layer's runs are timed from outside; this tells how that time is shared
// among its launches. The layer is bound once more, to a program that hands
// everything on to the real one and looks at the clock around each launch: the
// same code, plan and threads run as ever, two readings of the clock (some 50
// ns) longer per launch. On devices that only enqueue launches it would time
// the enqueueing: it is for CPUs.
//
// Thread-safety: runs of the layer, and `take`, one at a time.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_MEASURE_LAUNCHTIMER_H
#define QUERN_MEASURE_LAUNCHTIMER_H

#include "quern/quern.h"

#include <memory>
#include <vector>

namespace quern {
inline namespace v0 {
namespace measure {

class LaunchTimer {
public:
  explicit LaunchTimer(const Layer &layer);

  /// Weights and contexts of this one are timed, and of no other.
  const Layer &layer() const { return timed; }

  /// Seconds of each launch of the variant's plan since the last call, summed
  /// over its runs; prepare launches are counted where weights were bound.
  std::vector<double> take();

private:
  struct Times;
  std::shared_ptr<Times> times;
  Layer timed;
};

} // namespace measure
} // namespace v0
} // namespace quern

#endif // QUERN_MEASURE_LAUNCHTIMER_H
