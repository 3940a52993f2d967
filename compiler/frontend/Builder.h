//===- Builder.h - Layers made from C++ -------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The same layers as the text, for programs that know their shapes only at
// run time:
//
//     LayerBuilder b(context, "hello");
//     Dim m = b.symbol("M", 1, 4096);
//     Tensor x = b.input("x", DType::F16, {m, 256});
//     Tensor w = b.weight("w", DType::I8, {128, 256}, perChannel());
//     Tensor xq = b.quantize(x, DType::I8, perToken());
//     b.output(b.matmul(xq, w, /*transposeB=*/true), DType::F16, {m, 128});
//     Result<mlir::OwningOpRef<mlir::ModuleOp>> module = b.finish();
//
// Both ways share one emitter (LayerEmitter.h), so the IR is the same and so
// are the rules, the implicit conversions and the words of every refusal.
//
// Errors do not interrupt: a tensor made from something wrong is void, what is
// made from a void tensor is void, and `finish` returns the first error with
// the others as its notes. Symbols are declared before the first input.
//
// A Tensor or a Dim belongs to its builder and must not outlive it; mixing
// those of two builders is an error. One thread at a time per builder, and
// per MLIRContext.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_FRONTEND_BUILDER_H
#define QUERN_COMPILER_FRONTEND_BUILDER_H

#include "runtime/core/DType.h"
#include "runtime/core/Quantizer.h"
#include "runtime/core/Result.h"

#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/IR/Value.h"

#include <concepts>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace quern {
inline namespace v0 {

class LayerBuilder;
class Dim;

Dim operator+(const Dim &a, const Dim &b);
Dim operator-(const Dim &a, const Dim &b);
/// A symbol is multiplied by numbers only.
Dim operator*(int64_t factor, const Dim &a);
/// ceil(a / divisor), as `K/128` in the text.
Dim ceilDiv(const Dim &a, int64_t divisor);

/// An extent: a number, a symbol, or an expression of them.
class Dim {
public:
  template <std::integral I>
  Dim(I value)
      : number(static_cast<int64_t>(value)),
        magnitude(value < 0 ? -static_cast<double>(value)
                            : static_cast<double>(value)) {}

  friend Dim operator+(const Dim &a, const Dim &b);
  friend Dim operator-(const Dim &a, const Dim &b);
  friend Dim operator*(int64_t factor, const Dim &a);
  friend Dim ceilDiv(const Dim &a, int64_t divisor);

private:
  friend class LayerBuilder;
  Dim() = default;
  mlir::AffineExpr in(mlir::MLIRContext *context) const;
  static Dim combine(mlir::AffineExprKind kind, const Dim &a, const Dim &b);

  mlir::AffineExpr expr; ///< null for a number
  int64_t number = 0;
  /// A bound of the magnitude of every coefficient; what exceeds 2^60 is
  /// refused where it is used, and never computed with.
  double magnitude = 0;
  bool valid = true;
  const LayerBuilder *owner = nullptr; ///< null for a number
};

/// `per <word>(extents)`: how many elements share a scale, and whether they
/// share a zero point too.
struct Granularity {
  std::string word;
  std::vector<int64_t> extents;
  bool zeros = false;
};
/// `(u8 - u8) per token` from `u8 per token`.
inline Granularity withZeros(Granularity granularity) {
  granularity.zeros = true;
  return granularity;
}
inline Granularity perTensor() { return {"tensor", {}, false}; }
inline Granularity perToken() { return {"token", {}, false}; }
/// One scale for each `count` consecutive tokens, the last of which may be
/// fewer.
inline Granularity perTokens(int64_t count) {
  return {"tokens", {count}, false};
}
inline Granularity perChannel() { return {"channel", {}, false}; }
inline Granularity perGroup(int64_t group) { return {"group", {group}, false}; }
/// Extents for the last dimensions; those before have one scale per index.
inline Granularity perBlock(std::vector<int64_t> extents) {
  return {"block", std::move(extents), false};
}

/// A value of a layer. Copying it copies a reference.
class Tensor {
public:
  /// True unless something it was made from was wrong.
  explicit operator bool() const { return bool(value); }
  /// Names the value in locations and messages, as `h = ...` does.
  Tensor named(llvm::StringRef name) const;
  /// The builder it was made by; null for a tensor that was never made.
  LayerBuilder *getBuilder() const { return builder; }

private:
  friend class LayerBuilder;
  LayerBuilder *builder = nullptr;
  mlir::Value value;
  std::string name;
};

/// An operand of an operation: a tensor, or a number that takes the element
/// type of the tensor beside it.
class Arg {
public:
  Arg(const Tensor &tensor) : tensor(tensor) {}
  template <typename N>
    requires std::is_arithmetic_v<N>
  Arg(N number) : number(static_cast<double>(number)) {}

private:
  friend class LayerBuilder;
  std::optional<Tensor> tensor;
  double number = 0;
};

/// What `quantize` may be told beyond the codes and the granularity.
struct QuantizeOptions {
  DType scaleType = DType::F32;
  /// Given: static quantization with these scales, and these zero points if
  /// the codes have them.
  std::optional<Tensor> scale, zero;
  std::optional<Rounding> rounding;
  std::optional<ScaleRounding> scaleRounding;
  std::optional<double> divisor, qmin, qmax, floor;
  std::optional<Statistic> statistic;
  /// Inout parameters: the absolute maximum that earlier calls predict, which
  /// this call updates, and a count of the codes that had to be clamped.
  std::optional<Tensor> predicted, clipped;
  std::optional<double> decay;
};

/// One axis of a slice; absent bounds are the ends of the axis.
struct Range {
  std::optional<Dim> start, stop;
  int64_t step = 1;
};

class LayerBuilder {
public:
  LayerBuilder(mlir::MLIRContext &context, llvm::StringRef name);
  ~LayerBuilder();
  LayerBuilder(const LayerBuilder &) = delete;
  LayerBuilder &operator=(const LayerBuilder &) = delete;

  using Shape = std::vector<Dim>;

  //===--- Declarations
  //------------------------------------------------------===//

  Dim symbol(llvm::StringRef name, int64_t min = 0, int64_t max = 2147483647,
             int64_t multiple = 1);
  Tensor input(llvm::StringRef name, DType element, const Shape &shape);
  Tensor input(llvm::StringRef name, DType codes, const Shape &shape,
               const Granularity &granularity, DType scale = DType::F32);
  /// Constant between calls.
  Tensor weight(llvm::StringRef name, DType element, const Shape &shape);
  Tensor weight(llvm::StringRef name, DType codes, const Shape &shape,
                const Granularity &granularity, DType scale = DType::F32);
  /// State: what the layer updates it to is what the next call starts from. The
  /// tensor is its value before the call.
  Tensor inout(llvm::StringRef name, DType element, const Shape &shape);
  /// What an inout parameter holds after the call, once for each.
  void update(const Tensor &parameter, const Tensor &value);
  /// Declares a result, in order; a float value is cast to its type.
  void output(const Tensor &value, DType element, const Shape &shape,
              llvm::StringRef name = {});
  void output(const Tensor &value, DType codes, const Shape &shape,
              const Granularity &granularity, DType scale = DType::F32,
              llvm::StringRef name = {});

  /// The module, once. The builder and its tensors are of no use afterwards.
  Result<mlir::OwningOpRef<mlir::ModuleOp>> finish();

  //===--- Operations
  //----------------------------------------------------------===//

  Tensor quantize(const Tensor &x, DType codes, const Granularity &granularity,
                  const QuantizeOptions &options = {});
  Tensor dequantize(const Tensor &x);
  /// `a @ b`, or `a @ b.T`.
  Tensor matmul(const Tensor &a, const Tensor &b, bool transposeB = false);

  Tensor add(const Arg &a, const Arg &b);
  Tensor sub(const Arg &a, const Arg &b);
  Tensor mul(const Arg &a, const Arg &b);
  Tensor div(const Arg &a, const Arg &b);
  Tensor max(const Arg &a, const Arg &b);
  Tensor min(const Arg &a, const Arg &b);
  /// `op` is one of < <= > >= == !=.
  Tensor compare(const Arg &a, llvm::StringRef op, const Arg &b);
  Tensor where(const Tensor &condition, const Arg &a, const Arg &b);
  /// Any unary arithmetic op of the dialect by its mnemonic (neg, silu, ...);
  /// gelu is gelu_erf.
  Tensor unary(llvm::StringRef function, const Tensor &x);
  Tensor as(const Tensor &x, DType element);

  /// `kind` is sum, mean, amax or absmax; reduced axes keep the extent 1.
  Tensor reduce(llvm::StringRef kind, const Tensor &x,
                const std::vector<int64_t> &axes = {-1});
  Tensor softmax(const Tensor &x);
  Tensor rmsnorm(const Tensor &x, const Tensor &weight, double eps = 1e-5);
  Tensor layernorm(const Tensor &x, const Tensor &weight, const Tensor &bias,
                   double eps = 1e-5);

  Tensor reshape(const Tensor &x, const Shape &shape);
  Tensor transpose(const Tensor &x, const std::vector<int64_t> &permutation);
  Tensor slice(const Tensor &x, const std::vector<Range> &ranges);
  Tensor concat(const std::vector<Tensor> &inputs, int64_t axis);
  Tensor gather(const Tensor &table, const Tensor &indices);

private:
  friend class Tensor;
  struct State;
  std::unique_ptr<State> state;
};

//===----------------------------------------------------------------------===//
// Operators and functions, for expressions that read as the text does
//===----------------------------------------------------------------------===//

Tensor operator+(const Tensor &a, const Arg &b);
Tensor operator-(const Tensor &a, const Arg &b);
Tensor operator*(const Tensor &a, const Arg &b);
Tensor operator/(const Tensor &a, const Arg &b);
Tensor operator+(double a, const Tensor &b);
Tensor operator-(double a, const Tensor &b);
Tensor operator*(double a, const Tensor &b);
Tensor operator/(double a, const Tensor &b);
Tensor operator-(const Tensor &a);

Tensor abs(const Tensor &x);
Tensor relu(const Tensor &x);
Tensor sqrt(const Tensor &x);
Tensor exp(const Tensor &x);
Tensor tanh(const Tensor &x);
Tensor erf(const Tensor &x);
Tensor sigmoid(const Tensor &x);
Tensor silu(const Tensor &x);
Tensor gelu(const Tensor &x);
Tensor geluTanh(const Tensor &x);

} // namespace v0
} // namespace quern

#endif // QUERN_COMPILER_FRONTEND_BUILDER_H
