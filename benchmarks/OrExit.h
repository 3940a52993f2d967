//===- OrExit.h - Results that a benchmark cannot do without ----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_BENCHMARKS_OREXIT_H
#define QUERN_BENCHMARKS_OREXIT_H

#include "runtime/core/Result.h"

#include <fmt/format.h>

#include <cstdlib>
#include <type_traits>

namespace quern::bench {

/// The value, or the end of the program with the error's message.
template <typename T> T orExit(Result<T> result) {
  if (!result) {
    fmt::print(stderr, "{}\n", result.error().render());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>)
    return std::move(*result);
}

} // namespace quern::bench

#endif // QUERN_BENCHMARKS_OREXIT_H
