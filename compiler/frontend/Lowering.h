//===- Lowering.h - From the tree of a layer to its IR ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Resolves names, symbols and types of one layer and calls the LayerEmitter
// for everything with a rule. What belongs to the text alone is decided here:
// scopes, the shapes of written scales, the functions and their arguments.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_FRONTEND_LOWERING_H
#define QUERN_COMPILER_FRONTEND_LOWERING_H

#include "compiler/frontend/Ast.h"
#include "compiler/frontend/LayerEmitter.h"

#include "llvm/ADT/StringMap.h"

#include <memory>
#include <string>
#include <vector>

namespace quern::frontend {

class Lowering {
public:
  Lowering(const Layer &layer, mlir::ModuleOp module, Errors &errors);

  /// Adds the layer's function to the module; what is wrong goes to the
  /// errors, and the module is then of no use.
  void run();

private:
  using Dims = llvm::SmallVector<mlir::AffineExpr>;

  const Layer &layer;
  mlir::ModuleOp module;
  Errors &errors;
  SymbolSpace symbols;
  std::unique_ptr<LayerEmitter> emitter;
  llvm::StringMap<Operand> values;

  // Declarations (LowerTypes.cpp).
  void collectSymbols();
  bool applyRules();
  mlir::AffineExpr resolveDim(const DimExpr &dim);
  std::optional<Dims> resolveDims(const std::vector<DimPtr> &dims);
  /// `implied` is the shape of a type written without one.
  mlir::Type resolveType(const TypeExpr &type, const Dims *implied);
  std::optional<LayerEmitter::Blocks> inferBlocks(const TypeExpr &type,
                                                  const Dims &dims);
  bool checkZeros(const TypeExpr &type, const Dims &dims, DType codes,
                  const LayerEmitter::Blocks &block);
  std::optional<int64_t> inferBlock(const DimExpr &scale, mlir::AffineExpr code,
                                    int axis);

  // Statements and expressions (Lowering.cpp).
  bool declareName(llvm::StringRef name, Place place);
  void lowerStatement(const Statement &statement);
  Operand evaluate(const Expr &expr);
  Operand lookUp(const Expr &name);
  Operand evaluateBinary(const Expr &expr);
  Operand evaluateSlice(const Expr &expr);
  void finish(const Statement *returned);

  // Calls (LowerCalls.cpp).
  using Handler = Operand (Lowering::*)(const Expr &call);
  struct Function {
    llvm::StringRef name;
    unsigned minArguments, maxArguments;
    llvm::ArrayRef<llvm::StringLiteral> options;
    std::string signature;
    Handler handler;
  };
  std::vector<Function> functions;
  static std::vector<Function> makeFunctions(mlir::MLIRContext *context);
  std::vector<llvm::StringRef> functionNames() const;
  Operand call(const Expr &call);
  bool checkArguments(const Expr &call, const Function &function);
  const Argument *option(const Expr &call, llvm::StringRef name);
  Operand operand(const Expr &call, size_t index);
  std::optional<double> number(const Argument &argument);
  std::optional<int64_t> integer(const Argument &argument);
  std::optional<llvm::SmallVector<int64_t>> integers(const Argument &argument);
  bool setting(const Expr &call, llvm::StringRef name,
               std::optional<QuantizeSettings::Number> &result);
  bool statistic(const Expr &call, QuantizeSettings &settings);
  template <typename Word>
  bool word(const Expr &call, llvm::StringRef name,
            llvm::ArrayRef<std::pair<llvm::StringLiteral, Word>> words,
            std::optional<Word> &result, Place &place);

  Operand callUnary(const Expr &call);
  Operand callGelu(const Expr &call);
  Operand callBinary(const Expr &call);
  Operand callQuantize(const Expr &call);
  Operand callDequantize(const Expr &call);
  Operand callReduce(const Expr &call);
  Operand callSoftmax(const Expr &call);
  Operand callRmsNorm(const Expr &call);
  Operand callLayerNorm(const Expr &call);
  Operand callReshape(const Expr &call);
  Operand callTranspose(const Expr &call);
  Operand callConcat(const Expr &call);
  Operand callGather(const Expr &call);
  Operand callWhere(const Expr &call);
};

} // namespace quern::frontend

#endif // QUERN_COMPILER_FRONTEND_LOWERING_H
