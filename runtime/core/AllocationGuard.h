//===- AllocationGuard.h - Nothing throws, even without memory --*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The runtime is written with the standard library's containers, which throw
// `std::bad_alloc`. Every entry point of the public API that returns a
// `Result` runs its body through `guardAllocations`, so that a host program
// sees Errc::OutOfMemory instead; what was made so far is released on the way
// out. Anything else that throws comes from a host's own Executor.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CORE_ALLOCATIONGUARD_H
#define QUERN_CORE_ALLOCATIONGUARD_H

#include "runtime/core/Result.h"

#include <new>

namespace quern {
inline namespace v0 {

/// What `body` returns, a `Result`; an exception becomes its error. The
/// messages fit a string without allocation.
template <typename F>
auto guardAllocations(F &&body) noexcept -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc &) {
    return fail(Errc::OutOfMemory, "out of memory");
  } catch (...) {
    return fail(Errc::Internal, "an exception");
  }
}

} // namespace v0
} // namespace quern

#endif // QUERN_CORE_ALLOCATIONGUARD_H
