//===- Limits.h - What the machine can do at most ---------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The two limits that products are compared with: multiply-adds, and bytes
// read. Both are measured on an executor's threads, all at once, so that
// they see the same threads as the layer they stand beside. Operations count
// as two per multiply-add.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_BENCHMARKS_CPU_LIMITS_H
#define QUERN_BENCHMARKS_CPU_LIMITS_H

#include "runtime/include/quern/executor.h"
#include "runtime/measure/Dot.h"

#include <cstddef>
#include <span>

namespace quern::bench {

/// Seconds since some moment: on one thread of what that thread has run, so
/// that what other processes take does not count, and by the clock on several.
double now(const Executor &executor);

/// Operations per second of independent chains of a dot (runtime/measure/Dot.h)
/// in registers alone, on every thread; 0 on a machine without the instruction.
double dotPeak(Executor &executor, measure::Dot dot);

/// Cycles per second of the calling thread: a chain of dependent additions.
double clockRate(Executor &executor);

/// Bytes per second at which all threads together read `data`, each a part of
/// it, in four streams; the better of fetching ahead by instructions and not.
/// What of it lies in a cache is read from there.
double readRate(Executor &executor, std::span<const std::byte> data);

} // namespace quern::bench

#endif // QUERN_BENCHMARKS_CPU_LIMITS_H
