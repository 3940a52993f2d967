//===- Compare.h - Are these results right? ---------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Every operation belongs to one of three classes, and a layer to the weakest
// of its operations':
//
//   exact    the same bits on every target: element-wise operations, quantize,
//            dequantize, products of integer codes, max, shape operations
//   ordered  f32 sums in the one written order: the same bits likewise
//   bounded  sums of products of floats, in f32 and any order. With K products
//            |error| <= K * 2^-24 * sum |a * b|. In the mode `fast`, arithmetic
//            on floats as well.
//
// Results of exact and ordered layers are compared bit for bit (all NaNs are
// equal). For bounded layers the tolerance is derived by trial: the exact
// interpreter runs again several times with each part of a bounded product
// moved, up or down by a coin, by the whole of its bound. An element may differ
// from the reference by the largest change seen in its row (along the last
// axis) times a safety factor, and by one unit in the last place of its type
// anyway. Where products of bf16 may take subnormal elements for zero
// (Options::flushesBf16) one more trial does so; rows with codes that it moves
// by more than one are not compared, as the scale itself may have lost what it
// was made of. Directly after a product that is the bound itself; behind
// further operations it is an estimate of how far the bound spreads, good in
// practice and no proof. Codes that a quantizer makes of bounded values may
// differ by one, in a share of the elements derived in the same way.
//
// A sum that overflows f32 in one order and not in another (products of both
// signs beyond 3.4e38) is Inf, NaN or a number by chance: such an element, and
// what depends on it, is counted and not compared. Infinities that every order
// gives, from an operand or a sum of one sign, are compared like numbers.
//
// The trials know nothing of `fast`; its layers need `extraRelative`.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_REFERENCE_COMPARE_H
#define QUERN_REFERENCE_COMPARE_H

#include "compiler/reference/HostTensor.h"
#include "compiler/reference/Interpreter.h"
#include "runtime/core/NumericsClass.h"

#include <optional>
#include <string>
#include <string_view>

namespace quern::reference {

struct ClassifiedOp {
  mlir::Operation *op;
  NumericsClass numericsClass;
  std::string_view reason;
};

/// All operations with a result, in program order, kernel regions included.
std::vector<ClassifiedOp> classifyOps(mlir::func::FuncOp layer);
/// The weakest class among them.
NumericsClass classify(mlir::func::FuncOp layer);

/// How far results may be from the reference.
struct Tolerance {
  NumericsClass numericsClass = NumericsClass::Exact;
  /// Bounded only, per result tensor and row along its last axis: the largest
  /// difference allowed. Unused for integer and f8 tensors.
  std::vector<std::vector<double>> rows;
  /// Bounded only, per result tensor: the share of codes that may differ.
  std::vector<double> codeShare;
  /// Bounded only: further difference allowed, relative to the expected value.
  double extraRelative = 0;
  /// Bounded only, per result tensor and element: some order of summing
  /// overflows and another does not, or the element hangs on subnormal numbers
  /// that may be lost; nothing is compared. Empty for none.
  std::vector<std::vector<bool>> undetermined;
};

/// Derives the tolerance of a layer on these inputs; `expected` are its exact
/// results. Costs no time for exact and ordered layers.
Result<Tolerance> deriveTolerance(mlir::func::FuncOp layer,
                                  llvm::ArrayRef<HostTensor> inputs,
                                  llvm::ArrayRef<HostTensor> expected,
                                  const Options &options = {});

/// The element furthest from right.
struct WorstElement {
  size_t tensor = 0;
  std::vector<int64_t> index;
  double expected = 0, actual = 0;
  /// Distance in units in the last place of the tensor's type.
  int64_t ulps = 0;
  /// The difference allowed here; 0 where bits must be equal.
  double allowed = 0;
};

struct Comparison {
  NumericsClass numericsClass = NumericsClass::Exact;
  int64_t elements = 0;
  /// Elements beyond what is allowed; of codes also those within one step when
  /// their share is too large.
  int64_t mismatches = 0;
  /// Elements whose bits differ, allowed or not.
  int64_t different = 0;
  /// Elements not compared: see Tolerance::undetermined.
  int64_t undetermined = 0;
  /// Bounded only: codes that are one step off.
  int64_t steps = 0;
  /// Bounded only, over the numbers that are not codes: the largest error, as a
  /// share of the largest number of its row, and the largest share of what is
  /// allowed (1 is all of it; one unit in the last place is always allowed and
  /// counts for nothing).
  double error = 0;
  double share = 0;
  /// Set when any element differs: a mismatch if there is one.
  std::optional<WorstElement> worst;

  bool passed() const { return mismatches == 0; }
  /// One or two sentences for people.
  std::string render() const;
};

/// InvalidArgument when the lists differ in length, or two tensors in type or
/// shape.
Result<Comparison> compare(llvm::ArrayRef<HostTensor> expected,
                           llvm::ArrayRef<HostTensor> actual,
                           const Tolerance &tolerance = {});

} // namespace quern::reference

#endif // QUERN_REFERENCE_COMPARE_H
