//===- RandomInputs.h - Inputs for a layer from a seed ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Draws the inputs a run was not given. The same seed gives the same bytes on
// every platform: the generator is xoshiro256** seeded by splitmix64, and the
// normal distribution is built from correctly rounded operations only (a sum
// of uniform integers, see RandomInputs.cpp), for no library's logarithm is
// the same everywhere.
//
//   activations       N(0, 1); every 61st channel of the last axis or so is an
//                     outlier channel, 8 to 24 times as large, as in trained
//                     transformers
//   weights, plain    N(0, 1/K), K the last extent
//   codes             integers uniform in the symmetric range ([-127, 127] for
//                     i8, [0, 255] for u8), f8 codes uniform over the finite
//                     patterns
//   scales            uniform in [0.5, 1.5] times 1/(c sqrt(K)), c being the
//                     largest code, so that a product of unit activations has
//                     unit size
//   i32               uniform in [0, 64): indices
//
// Every tensor has its own stream, derived from the seed and its position: a
// tensor's values do not change when another one's shape does.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_REFERENCE_RANDOMINPUTS_H
#define QUERN_REFERENCE_RANDOMINPUTS_H

#include "compiler/reference/Corner.h"
#include "compiler/reference/HostTensor.h"
#include "runtime/core/Result.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/ArrayRef.h"

#include <vector>

namespace quern::reference {

/// The PRNG: xoshiro256** by Blackman and Vigna, in the public domain.
class Random {
public:
  explicit Random(uint64_t seed);
  uint64_t next();
  /// Uniform in [0, n), n > 0.
  uint64_t below(uint64_t n);
  /// Uniform in [0, 1), a multiple of 2^-53.
  double uniform();
  /// Approximately N(0, 1), within +-6.
  double normal();

private:
  uint64_t state[4];
};

/// All inputs of a layer for these symbol values, in the order of `interpret`.
/// InvalidArgument when the symbols are not as many as declared or give an
/// impossible shape.
Result<std::vector<HostTensor>> randomInputs(mlir::func::FuncOp layer,
                                             llvm::ArrayRef<int64_t> symbols,
                                             uint64_t seed,
                                             Corner corner = Corner::None);

/// Whether the layer has inputs that the corner is written over.
bool applies(Corner corner, mlir::func::FuncOp layer);

} // namespace quern::reference

#endif // QUERN_REFERENCE_RANDOMINPUTS_H
