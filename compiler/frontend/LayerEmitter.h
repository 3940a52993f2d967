//===- LayerEmitter.h - Checked construction of a layer's IR ----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The one place that knows the rules of the language. The text frontend and
// the C++ builder call the same methods, hence accept the same layers, make
// the same IR and refuse with the same words.
//
// Every method takes the place of the construct it stands for, checks its
// operands completely, and only then creates ops, which always verify. After
// an error the result is a *poison* operand; anything made from poison is
// poison and silent, so that one mistake is one message.
//
// Implicit conversions, all of them: f16 or bf16 beside f32 widens to f32; a
// number takes the element type of the tensor beside it; a returned float
// value is cast to the declared float type.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_FRONTEND_LAYEREMITTER_H
#define QUERN_COMPILER_FRONTEND_LAYEREMITTER_H

#include "compiler/frontend/Symbols.h"
#include "dialects/quern/IR/Quern.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"

namespace quern::frontend {

/// A value of an expression: a tensor, a number that has no element type yet,
/// or poison.
struct Operand {
  enum class Kind { Poison, Value, Number };
  Kind kind = Kind::Poison;
  mlir::Value value;
  double number = 0;
  Place place;
  std::string name; ///< what the text calls it; empty for an expression

  static Operand ofValue(mlir::Value value, Place place, std::string name = {});
  static Operand ofNumber(double number, Place place);
  bool isPoison() const { return kind == Kind::Poison; }
  bool isNumber() const { return kind == Kind::Number; }
};

/// One axis of a slice. Absent bounds are the axis' ends; a negative constant
/// counts from the end.
struct SliceRange {
  Place place;
  mlir::AffineExpr start, stop;
  int64_t step = 1;
};

/// Named settings of quantize; absent ones are Quantizer::defaultFor.
struct QuantizeSettings {
  struct Number {
    double value;
    Place place;
  };
  std::optional<Number> divisor, qmin, qmax, floor;
  std::optional<Rounding> rounding;
  Place roundingPlace;
  std::optional<ScaleRounding> scaleRounding;
  Place scaleRoundingPlace;
  std::optional<Statistic> statistic;
  Place statisticPlace;
  /// Inout parameters: the statistic that earlier calls left, and a count.
  std::optional<Operand> predicted, clipped;
  std::optional<Number> decay;
};

/// A result as declared.
struct DeclaredResult {
  Place place;
  std::string name;
  mlir::Type type; ///< null after an error in it
};

class LayerEmitter {
public:
  using Dims = llvm::ArrayRef<mlir::AffineExpr>;
  using Blocks = llvm::SmallVector<int64_t>;

  /// Starts a function of that name at the end of `module`. `symbols` must be
  /// complete: their number is part of every type.
  LayerEmitter(mlir::ModuleOp module, llvm::StringRef name, Place place,
               SymbolSpace &symbols, Errors &errors);

  //===--- Types (EmitTypes.cpp); null or nothing after an error ----------===//

  /// Of a plain tensor: refuses element types that are codes alone.
  mlir::Type tensorType(Place place, Dims dims, DType element);
  mlir::Type quantizedType(Place place, Dims dims, DType codes, Blocks block,
                           Place scalePlace, DType scale, bool zeros = false);
  /// The block extents of `per <word>(extents...)` for a shape.
  std::optional<Blocks> granularity(Place place, llvm::StringRef word,
                                    llvm::ArrayRef<int64_t> extents, Dims dims);

  //===--- The layer (LayerEmitter.cpp) -----------------------------------===//

  enum class ParameterKind { Input, Weight, Inout };
  Operand addParameter(Place place, llvm::StringRef name, mlir::Type type,
                       ParameterKind kind);
  /// The name is an inout parameter's.
  bool isInout(llvm::StringRef name) const;
  /// Gives an inout parameter the value it holds when the call is over, once.
  /// The operand names it from now on.
  Operand update(Place place, llvm::StringRef name, Operand value);
  /// That value.
  Operand updated(llvm::StringRef name);
  /// Gives the op that made `operand` the name of the value it is bound to.
  Operand bind(Operand operand, llvm::StringRef name);
  /// Checks the values against the declared results, casts, and ends the
  /// function.
  void finish(Place place, llvm::ArrayRef<Operand> values,
              llvm::ArrayRef<DeclaredResult> results);
  /// The function that is being made.
  mlir::func::FuncOp getFunction() { return function; }

  //===--- Quantization and products (EmitProducts.cpp) -------------------===//

  Operand quantize(Place place, Operand x, mlir::Type type, Place typePlace,
                   std::optional<Operand> scale, std::optional<Operand> zero,
                   const QuantizeSettings &settings);
  Operand dequantize(Place place, Operand x);
  Operand matmul(Place place, Operand lhs, Operand rhs, bool transposeRhs);

  //===--- Element-wise operations (EmitElementwise.cpp)
  //--------------------===//

  /// The mnemonics of the dialect's arithmetic on one or two operands, sorted.
  static std::vector<llvm::StringRef> arithmetic(mlir::MLIRContext *context,
                                                 unsigned numOperands);
  /// `mnemonic` is one of them; messages call it by its spelling.
  Operand unary(Place place, llvm::StringRef mnemonic, llvm::StringRef spelling,
                Operand x);
  Operand binary(Place place, llvm::StringRef mnemonic,
                 llvm::StringRef spelling, Operand lhs, Operand rhs);
  Operand compare(Place place, ir::ComparePredicate predicate,
                  llvm::StringRef spelling, Operand lhs, Operand rhs);
  Operand where(Place place, Operand condition, Operand lhs, Operand rhs);
  Operand convertTo(Place place, Operand x, DType type, Place typePlace);

  //===--- Rows (EmitRows.cpp) --------------------------------------------===//

  Operand reduce(Place place, ir::ReduceKind kind, llvm::StringRef spelling,
                 Operand x, llvm::ArrayRef<int64_t> axes, Place axesPlace);
  Operand softmax(Place place, Operand x);
  Operand rmsnorm(Place place, Operand x, Operand weight, double eps,
                  Place epsPlace);
  Operand layernorm(Place place, Operand x, Operand weight, Operand bias,
                    double eps, Place epsPlace);

  //===--- Shapes (EmitShapes.cpp) ----------------------------------------===//

  Operand reshape(Place place, Operand x, Dims dims, Place dimsPlace);
  Operand transpose(Place place, Operand x, llvm::ArrayRef<int64_t> permutation,
                    Place listPlace);
  /// `x.T`: the last two axes exchanged.
  Operand transposeLast(Place place, Operand x);
  Operand slice(Place place, Operand x, llvm::ArrayRef<SliceRange> ranges);
  Operand concat(Place place, llvm::ArrayRef<Operand> inputs, int64_t axis,
                 Place axisPlace);
  Operand gather(Place place, Operand table, Operand indices);

  SymbolSpace &getSymbols() { return symbols; }
  Errors &getErrors() { return errors; }
  /// `'xq', which is i8[M, 64] * f32[M, 1]`: an operand in a message.
  std::string show(const Operand &operand) const;

private:
  void checkName(Place place, llvm::StringRef name);
  mlir::MLIRContext *context;
  SymbolSpace &symbols;
  Errors &errors;
  mlir::OpBuilder builder;
  mlir::func::FuncOp function;
  llvm::SmallVector<mlir::DictionaryAttr> argumentAttrs;
  llvm::SmallVector<std::string> parameterNames;
  struct Inout {
    std::string name;
    Place place;
    mlir::Type type;
    Operand updated; ///< Poison until it is.
    Place updatePlace;
    bool isUpdated = false;
  };
  llvm::SmallVector<Inout> inouts;
  Inout *findInout(llvm::StringRef name);
  void refuseSecondUpdate(Place place, const Inout &inout);

  mlir::Location loc(Place place) const;
  Operand error(Place place, std::string message,
                std::vector<std::string> notes = {});
  /// Where to point at an operand: its own place, or the construct's when the
  /// operand has none.
  static Place at(const Operand &operand, Place fallback) {
    return operand.place.line ? operand.place : fallback;
  }

  /// The operand's tensor type when it is a plain tensor; else reports, with
  /// `what` as the subject, and gives null.
  mlir::RankedTensorType plain(Place place, llvm::StringRef what,
                               const Operand &operand);
  /// The same for f16, bf16 and f32 tensors.
  mlir::RankedTensorType plainFloat(Place place, llvm::StringRef what,
                                    const Operand &operand);
  mlir::RankedTensorType type(Dims dims, mlir::Type element) const {
    return ir::getTensorType(dims, element, symbols.size());
  }
  bool checkRank(Place place, size_t rank);
  /// A tensor type of any element type; null after an error.
  mlir::RankedTensorType shapedType(Place place, Dims dims, DType element);
  /// The common element type of float operands, numbers aside.
  mlir::Type commonElement(Place place, llvm::StringRef what,
                           llvm::ArrayRef<Operand> operands);
  /// The operand as a tensor of that element type: widened, or a constant.
  mlir::Value convert(Place place, const Operand &operand, mlir::Type element);
  std::optional<llvm::SmallVector<mlir::AffineExpr>>
  broadcast(Place place, llvm::StringRef what,
            llvm::ArrayRef<Operand> operands);
  /// Float operands brought to one element type, and the shape that `shaped`
  /// broadcast to: what element-wise operations have in common. Reports and
  /// gives nothing where there is none.
  struct Alike {
    mlir::Type element;
    llvm::SmallVector<mlir::AffineExpr> dims;
    llvm::SmallVector<mlir::Value> values;
  };
  std::optional<Alike> alike(Place place, llvm::StringRef what,
                             llvm::ArrayRef<Operand> numbers,
                             llvm::ArrayRef<Operand> shaped);
  bool checkScales(Place place, const Operand &lhs, const Operand &rhs,
                   bool transposeRhs);
  bool checkProductShapes(Place place, const Operand &lhs, const Operand &rhs,
                          bool transposeRhs);
  bool checkLastAxisVector(Place place, llvm::StringRef function,
                           llvm::StringRef role, mlir::RankedTensorType x,
                           const Operand &vector);
  /// The scale or zero point given to a static quantization; null after an
  /// error.
  mlir::Value given(Place place, llvm::StringRef what, const Operand &operand,
                    mlir::RankedTensorType wanted);
  /// The inout parameter of a setting, of that type and not updated before;
  /// null after an error.
  mlir::Value state(Place place, llvm::StringRef setting,
                    const Operand &operand, mlir::RankedTensorType wanted);
  Operand quantizePredicted(Place place, const Operand &x,
                            ir::QTensorType quantized,
                            const Quantizer &quantizer,
                            const QuantizeSettings &settings);
  bool checkStatistic(Place place, ir::QTensorType type, bool isStatic,
                      const QuantizeSettings &settings);
  std::optional<Quantizer> recipe(Place place, ir::QTensorType type,
                                  bool isStatic,
                                  const QuantizeSettings &settings);
  /// An axis of a tensor of that rank, counted from the end when negative.
  std::optional<int64_t> axisIndex(Place place, int64_t axis, int64_t rank);
  mlir::Value result(Place place, const Operand &value,
                     const DeclaredResult &declared);
};

} // namespace quern::frontend

#endif // QUERN_COMPILER_FRONTEND_LAYEREMITTER_H
