//===- Elementwise.h - Element-wise ops on scalars --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_CONVERSION_ELEMENTWISE_H
#define QUERN_COMPILER_CONVERSION_ELEMENTWISE_H

#include "dialects/quern/IR/Quern.h"

#include "mlir/IR/Builders.h"

namespace quern::conversion {

/// The f32 value of `op` on f32 operands, as docs/numerics.md writes it; null
/// for an op that has no row.
mlir::Value emitArithmetic(mlir::OpBuilder &b, ir::ArithmeticInterface op,
                           mlir::ValueRange operands);

/// i1 from f32 operands.
mlir::Value emitCompare(mlir::OpBuilder &b, ir::CompareOp op, mlir::Value lhs,
                        mlir::Value rhs);

/// An f32 constant.
mlir::Value emitFloat(mlir::OpBuilder &b, mlir::Location loc, float value);

/// From and to how a value of that element type is stored (i8 for ui8).
/// Conversion to integers rounds half to even, saturates, and takes NaN to 0.
mlir::Value toF32(mlir::OpBuilder &b, mlir::Location loc, mlir::Value stored,
                  mlir::Type elementType);
mlir::Value fromF32(mlir::OpBuilder &b, mlir::Location loc, mlir::Value value,
                    mlir::Type elementType);

/// i32: 1 where the code of f32 `x`, before it is clamped, lies outside of the
/// quantizer's range, else 0.
mlir::Value emitIsClipped(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x,
                          mlir::Value scale, ir::QuantizerAttr quantizer,
                          bool floatCodes);

/// The power of two an f32 is rounded to.
mlir::Value emitPowerOfTwo(mlir::OpBuilder &b, ir::PowerOfTwoOp op,
                           mlir::Value x);

/// The code of f32 `x` under f32 `scale` and, unless null, i32 `zero`, stored
/// as `codeType`; `within` as in quern.encode, or null.
mlir::Value emitCode(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x,
                     mlir::Value scale, mlir::Value zero,
                     ir::QuantizerAttr quantizer, mlir::FloatAttr within,
                     mlir::Type codeType);

} // namespace quern::conversion

#endif // QUERN_COMPILER_CONVERSION_ELEMENTWISE_H
