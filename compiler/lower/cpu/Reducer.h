//===- Reducer.h - Reductions whose order does not matter -------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Maxima and integer sums on vectors of elements. What is carried from one
// vector to the next are integers, because their maxima are one instruction
// with a latency of one cycle, whatever the elements are:
//
//     addi, umax     the element
//     umax of |x|    where x was widened from 16 bits, the 15 bits of its
//                    magnitude: the order of magnitudes is that of the stored
//                    integers, and half as wide
//     maximumf       two: the bits, those of negative numbers inverted but for
//                    the sign, whose signed order is the numbers' and puts -0
//                    below +0; and the magnitude, whose maximum tells a NaN;
//                    both of the 16 bits where x or -x was widened from them
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_REDUCER_H
#define QUERN_COMPILER_LOWER_CPU_REDUCER_H

#include "compiler/lower/cpu/ElementBody.h"

namespace quern::cpugen {

class Reducer {
public:
  using Values = Emitter::Values;

  /// For any reduction but the ordered sum.
  Reducer(Emitter &e, tile::ReduceOp op);

  /// Whether all there is to do for an element is to read it, from places that
  /// follow one another with `index`: then wide vectors pay.
  bool readsAlong(mlir::Value index) const;
  /// The partial results of no elements.
  Values neutral(unsigned lanes) const;
  /// What is carried of the elements that `body`, already emitted, yields;
  /// neutral where the mask is off.
  Values read(ElementBody &body) const;
  Values combine(const Values &x, const Values &y) const;
  /// One partial result from one per lane.
  Values reduceLanes(Values partial) const;
  /// The reduction's result from one partial result.
  llvm::Value *finish(const Values &partial) const;

private:
  enum class Form : uint8_t { Integer, Magnitude, Number };

  Emitter &e;
  tile::ReduceKind kind;
  mlir::Value element;
  Form form = Form::Integer;
  /// The value before it was widened, if it was, and its type; the element is
  /// it, its magnitude, or with the other sign.
  mlir::Value narrow;
  DType narrowType = DType::F16;
  bool negated = false;
};

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_REDUCER_H
