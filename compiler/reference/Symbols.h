//===- Symbols.h - From input shapes to symbol values -----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A layer's signature names its dimensions by expressions over symbols; the
// inputs have numbers. A symbol takes the value of the first dimension that
// determines it: one that is the symbol, or else one that is linear in it once
// the other symbols are known. Then every dimension of every input is checked.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_REFERENCE_SYMBOLS_H
#define QUERN_REFERENCE_SYMBOLS_H

#include "compiler/reference/HostTensor.h"
#include "runtime/core/Result.h"

#include "dialects/quern/IR/Quern.h"

namespace quern::reference {

/// True for the element types a buffer can have (runtime/core/DType.h).
bool isElementType(mlir::Type type);
/// A type as its IR text.
std::string toText(mlir::Type type);

/// One tensor of the signature: an argument, or the codes or the scales of a
/// quantized one.
struct SignatureTensor {
  std::string name; ///< As messages call it: `x`, `w (codes)`.
  mlir::RankedTensorType type;
};

/// The tensors of the arguments in order. InvalidSource when an argument is
/// neither a tensor nor a quantized tensor.
Result<std::vector<SignatureTensor>> inputsOf(mlir::func::FuncOp layer);

/// The declared symbols, in index order.
Result<std::vector<ir::SymbolAttr>> symbolsOf(mlir::func::FuncOp layer);

} // namespace quern::reference

#endif // QUERN_REFERENCE_SYMBOLS_H
