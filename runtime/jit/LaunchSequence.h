//===- LaunchSequence.h - Issuing a plan's launches -------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The launches of one phase with everything that is needed to issue them, in
// memory allocated beforehand: buffer addresses in launch order, sizes for the
// current symbol values (re-evaluated only when those change), and the
// per-worker scratch that all launches share, since they follow one another.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_JIT_LAUNCHSEQUENCE_H
#define QUERN_JIT_LAUNCHSEQUENCE_H

#include "runtime/jit/LayerState.h"

namespace quern {
inline namespace v0 {
namespace detail {

class LaunchSequence {
public:
  /// `launches` lives in the layer. Allocates for every value in `ranges`.
  static Result<LaunchSequence> make(std::shared_ptr<const LayerState> layer,
                                     std::span<const uint32_t> launches,
                                     std::span<const Interval> ranges);

  /// Issues all launches with these buffer addresses (one per buffer of the
  /// plan) and symbol values. Allocates nothing when it succeeds.
  Result<void> issue(std::span<void *const> addresses,
                     std::span<const int64_t> symbols, void *stream);

  uint64_t scratchBytes() const { return scratch.size(); }

private:
  LaunchSequence() = default;
  Result<void> evaluate(std::span<const int64_t> symbols);

  std::shared_ptr<const LayerState> layer;
  std::span<const uint32_t> launches;
  std::vector<void *> arguments; ///< All launches' buffers, concatenated.
  std::vector<LaunchSizes> sizes;
  std::vector<int64_t> evaluatedFor;
  bool evaluated = false;
  DeviceMemory scratch;
  uint64_t scratchStride = 0;
};

} // namespace detail
} // namespace v0
} // namespace quern

#endif // QUERN_JIT_LAUNCHSEQUENCE_H
