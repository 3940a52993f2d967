//===- Interpreter.h - The oracle: what a layer computes --------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Evaluates a layer of the quern dialect on host buffers. Everything generated
// is compared with this; it shares no code with emission or lowering, and
// stands on docs/numerics.md alone. Two modes over one table of operations:
//
// *exact*  Each operation in its declared element type and written order; each
//          value is kept in its storage type between operations. Operations of
//          the classes exact and ordered give the one right answer, bit for
//          bit. Where the order is free (class bounded: sums of products of
//          floats) the sum is made in double and rounded once to f32, the best
//          answer there is; see Compare.h for how far a target may be from it.
//
// *real*   Everything in double without rounding: the answer of the layer as
//          mathematics, for error statistics. Quantization is the identity
//          here. A quantize op still yields codes and scales, since later
//          operations may take them apart, but its codes are the quotients
//          x / s without rounding or clamping, with s from the unrounded
//          recipe, so that code * scale is x again. (Where a dynamic block
//          holds a NaN or an infinity, s is 1.) Quantized *operands* of the
//          layer, its weights, are what their codes and scales say.
//
// The layer may also be given after any pass of the quern pipeline: contract,
// make_qtensor, codes, scales and kernel regions are evaluated too, so a pass
// is checked by interpreting its input and its output.
//
// Symbols take their values from the shapes of the inputs. Every extent is
// checked against the operand's type, and every symbol against its declared
// range; the value 0 is always legal (an empty batch).
//
// Defined corners: the maximum of no elements is -inf, their absolute maximum
// and their sum +0, their mean NaN. A product over K = 0 is +0 times its
// scales. An integer product whose sum could leave 32 bits is
// summed in the parts that docs/numerics.md defines.
//
// Thread-safe as far as the layer's context is: the layer is only read, but
// types are looked up. Results are independent of `threads`.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_REFERENCE_INTERPRETER_H
#define QUERN_REFERENCE_INTERPRETER_H

#include "compiler/reference/HostTensor.h"
#include "runtime/core/Result.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/ArrayRef.h"

#include <vector>

namespace quern::reference {

enum class Mode { Exact, Real };

struct Options {
  /// Threads for products and row operations; 0 for all processors.
  unsigned threads = 0;
  /// Exact only. Not 0: every part of a product of the class bounded is moved
  /// up or down, by a coin seeded with this, by the full bound on its error
  /// (Compare.h). What then happens to the results shows how a layer passes
  /// such errors on.
  uint64_t perturbation = 0;
  /// How far a sum of n products of 8-bit floats may be off, over n times the
  /// sum of their magnitudes. More than f32's 2^-24 on machines whose matrix
  /// units sum shortly; kernels keep such sums to 128 products.
  double f8Error = 0x1p-24;
  /// Where the results compared come from, a product of bf16 may take subnormal
  /// elements for zero, and sums that become subnormal: a sum of n products may
  /// be off by n * 2^-126 more (never by more than the sum of their
  /// magnitudes), and `deriveTolerance` tries what such elements matter.
  bool flushesBf16 = false;
  /// Exact only: products of bf16 do take subnormal elements for zero, and are
  /// NaN where they hang on subnormal sums.
  bool dropsSubnormals = false;
};

/// A tensor of doubles: what the mode *real* computes.
struct RealTensor {
  std::vector<int64_t> shape;
  std::vector<double> values;
};

/// Runs the layer. `inputs` are its arguments in order, a quantized one as
/// codes then scales; so are the results. In the mode *real* each result is
/// rounded once to f32 (`interpretReal` gives the doubles).
///
/// InvalidArgument for inputs that do not fit the signature, Unsupported for
/// an operation without a meaning here, each naming the operand or operation.
Result<std::vector<HostTensor>> interpret(mlir::func::FuncOp layer,
                                          llvm::ArrayRef<HostTensor> inputs,
                                          Mode mode,
                                          const Options &options = {});

/// The same in the mode *real*, with nothing rounded.
Result<std::vector<RealTensor>> interpretReal(mlir::func::FuncOp layer,
                                              llvm::ArrayRef<HostTensor> inputs,
                                              const Options &options = {});

/// The values of the layer's symbols that follow from the inputs' shapes.
Result<std::vector<int64_t>> inferSymbols(mlir::func::FuncOp layer,
                                          llvm::ArrayRef<HostTensor> inputs);

} // namespace quern::reference

#endif // QUERN_REFERENCE_INTERPRETER_H
