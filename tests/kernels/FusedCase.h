//===- FusedCase.h - Products with the quantizer behind them ----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Takes a layer's text to tile IR, puts the kernels from the first product on
// that a placement may hold into one, and compiles both forms, so that a test
// can run them side by side: the fused kernel must give the same bits as the
// kernels it replaces.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_KERNELS_FUSEDCASE_H
#define QUERN_TESTS_KERNELS_FUSEDCASE_H

#include "tests/kernels/KernelHarness.h"

namespace quern::test {

struct FusedPair {
  VariantDesc unfused, fused;
  std::string source; ///< The fused unit, for people.
};

/// How two forms of a layer are made.
struct FuseRequest {
  std::string layer = "";
  std::string arch = "sm_80";
  std::string placement = "tile"; ///< As the tile dialect spells it.
  unsigned count = 1;             ///< Launches put behind the product.
  bool keepInMemory = false;      ///< Values between them stay buffers.
  bool alone = false;             ///< Without the unfused form.
  /// Instead of all this: the compiler places, as asked here.
  std::string wish = "";
};

/// A refusal of the fused form is the result's error; anything else that goes
/// wrong is Errc::Internal.
Result<FusedPair> compileFused(const FuseRequest &request);

/// Draws every input and weight: codes of all values, small positive scales,
/// normal numbers with a few that are large, and among the rows of x one of
/// zeros and one with a NaN if so wished.
Buffers drawBuffers(const VariantDesc &variant,
                    const std::vector<int64_t> &symbols, uint32_t seed,
                    bool corners = false);

/// The first difference between the outputs, or nothing; all NaNs are equal.
std::string compareOutputs(const VariantDesc &variant, const Buffers &got,
                           const Buffers &want);

} // namespace quern::test

#endif // QUERN_TESTS_KERNELS_FUSEDCASE_H
