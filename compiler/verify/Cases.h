//===- Cases.h - What a layer is verified with ------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A case is a set of sizes (Sizes.h), a corner written over the inputs
// (compiler/reference/Corner.h) and the seed that they are drawn from. It
// follows from the layer, a seed and its number alone: the same case is run
// everywhere, and can be run again without those before it.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_VERIFY_CASES_H
#define QUERN_COMPILER_VERIFY_CASES_H

#include "compiler/pipelines/Oracle.h"
#include "compiler/verify/Sizes.h"

namespace quern::verify {

struct Case {
  unsigned number = 0;
  Symbols symbols;
  reference::Corner corner = reference::Corner::None;
  uint64_t seed = 0; ///< Of the inputs.
};

class Cases {
public:
  /// Multiply-adds of one case, as Oracle::work counts them: about a twentieth
  /// of a second in the reference. Less where a layer is bounded, and the
  /// reference runs nine times to find its tolerance.
  static double budgetOf(const Oracle &oracle) {
    return oracle.numericsClass() == NumericsClass::Bounded ? 3e7 : 1e8;
  }

  /// The oracle must outlive the cases.
  Cases(const Oracle &oracle, uint64_t seed);

  Case get(unsigned number) const;
  const Sizes &getSizes() const { return sizes; }

private:
  uint64_t seed;
  Sizes sizes;
  /// Those that apply to the layer, plain numbers every fifth time.
  std::vector<reference::Corner> corners;
};

} // namespace quern::verify

#endif // QUERN_COMPILER_VERIFY_CASES_H
