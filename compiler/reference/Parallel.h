//===- Parallel.h - Splitting a range over threads --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The interpreter's only use of threads: a range of independent items, cut
// into one contiguous part per thread. Items must not write to the same
// place; then the result cannot depend on the number of threads.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_REFERENCE_PARALLEL_H
#define QUERN_REFERENCE_PARALLEL_H

#include "llvm/ADT/STLFunctionalExtras.h"

#include <cstdint>

namespace quern::reference {

/// Calls `work(begin, end)` on disjoint parts that cover [0, items), no part
/// smaller than `grain` unless it is the only one. A thread that cannot be
/// started has its part done by the caller.
void parallelFor(unsigned threads, int64_t items, int64_t grain,
                 llvm::function_ref<void(int64_t, int64_t)> work);

} // namespace quern::reference

#endif // QUERN_REFERENCE_PARALLEL_H
