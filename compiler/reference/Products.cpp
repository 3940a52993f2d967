//===- Products.cpp - matmul and contract ---------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A product is cut along the contracted axis into segments on which both
// scales are constant. Each segment's sum, the part, is made exactly (integer
// codes) or in double (floats); then the scales are applied in the order
// docs/numerics.md writes.
//
// Whether a product counts as one block or as split, and whether a scale goes
// to the parts or to their sum, is decided by the types, not by the extents of
// a run: a block of 128 along a symbolic axis is split also when the axis
// happens to have 100 elements.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Parallel.h"
#include "compiler/reference/ProductOperands.h"

#include <atomic>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <limits>

using namespace mlir;
using namespace quern::ir;

namespace quern::reference {

using namespace product;

//===----------------------------------------------------------------------===//
// The loops
//===----------------------------------------------------------------------===//

/// Scales the parts of one segment into the accumulators. All arrays have
/// `width` columns.
static void finishSegment(const Product &product, const double *part,
                          const std::vector<double> &sa,
                          const std::vector<double> &sb, int64_t rows,
                          int64_t width, std::vector<float> &acc, double *out) {
  if (product.real) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < width; ++j)
        out[i * width + j] += part[i * width + j] * sa[i] * sb[j];
    return;
  }
  std::vector<float> fa(sa.begin(), sa.end()), fb(sb.begin(), sb.end());
  if (product.split) {
    accumulateScaled(part, fa.data(), fb.data(), rows, width, acc.data());
    std::copy(acc.begin(), acc.begin() + rows * width, out);
    return;
  }
  // The factors hold for all of K: pieces are summed first. A single piece is
  // the sum itself, so that a float sum of -0 stays -0.
  bool pieces = product.segments.size() > 1;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < width; ++j) {
      int64_t at = i * width + j;
      float piece = static_cast<float>(part[at]);
      acc[at] = pieces ? acc[at] + piece : piece;
      out[at] = (acc[at] * fa[i]) * fb[j];
    }
}

/// +1 or -1 by a hash (splitmix64's finisher) of a part's place.
static double coin(uint64_t seed, uint64_t place) {
  uint64_t z = seed + place * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return (z >> 63) ? 1.0 : -1.0;
}

static void takeMagnitudes(const double *from, int64_t n, double *to) {
  for (int64_t i = 0; i < n; ++i)
    to[i] = std::fabs(from[i]);
}

/// Elements of bf16 below the smallest normal number become zero.
template <typename T> static void dropSubnormals(T *elements, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    if (std::fabs(elements[i]) < T(0x1p-126))
      elements[i] = std::copysign(T(0), elements[i]);
}

/// A sum of products as a trial may see it: moved by its bound, up or down.
///
/// Where the positive or the negative products alone may leave f32's range, a
/// sum in f32 is a number, an infinity or NaN by its order, unless the whole
/// is beyond the range on the one side that can overflow; what depends on the
/// order becomes NaN here. An infinity or NaN among the operands decides the
/// sum in every order, and stays.
static double moveByBound(double sum, double bound, double magnitudes,
                          double coin) {
  constexpr double largest = std::numeric_limits<float>::max();
  if (!std::isfinite(magnitudes))
    return sum;
  bool up = (magnitudes + sum) / 2 + bound > largest;
  bool down = (magnitudes - sum) / 2 + bound > largest;
  bool determined = (!up && !down) || (up && !down && sum - bound > largest) ||
                    (down && !up && sum + bound < -largest);
  return determined ? sum + coin * bound
                    : std::numeric_limits<double>::quiet_NaN();
}

/// Computes the product with elements of T: float for codes, double for
/// floats. `raw` stores the parts themselves (a product without scales).
/// Returns the largest magnitude stored raw.
template <typename T>
static double multiply(const Product &product, unsigned threads, bool raw,
                       Tensor &result) {
  constexpr int64_t width = panelWidth<T>, panelRows = 126;
  int64_t k = product.k;
  std::vector<T> a(std::min(product.m, panelRows) * k);
  bool perturb = sizeof(T) == 8 && product.perturbation && !product.real;
  bool weigh = perturb || (sizeof(T) == 8 && product.dropsSubnormals);
  std::vector<double> magnitudes(weigh ? a.size() : 0);
  std::atomic<double> largest{0.0};
  for (int64_t batch = 0; batch < product.batches; ++batch)
    for (int64_t row = 0; row < product.m; row += panelRows) {
      int64_t rows = std::min(panelRows, product.m - row);
      parallelFor(threads, rows, 16, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          T *target = a.data() + i * k;
          product.lhs.load(batch * product.m + row + i, 0, k, target);
          if (product.dropsSubnormals)
            dropSubnormals(target, k);
          if constexpr (sizeof(T) == 8)
            if (weigh)
              takeMagnitudes(target, k, magnitudes.data() + i * k);
        }
      });
      int64_t panels = (product.n + width - 1) / width;
      parallelFor(threads, panels, 1, [&](int64_t begin, int64_t end) {
        std::vector<T> b(panelDepth * width), scratch(panelDepth);
        std::vector<T> c(panelRows * width);
        std::vector<double> part(panelRows * width), out(panelRows * width);
        std::vector<float> acc(panelRows * width);
        std::vector<double> sums(weigh ? panelRows * width : 0);
        std::vector<double> sa(rows), sb(width, 0.0);
        double most = 0.0;
        for (int64_t panel = begin; panel < end; ++panel) {
          int64_t column = panel * width;
          int64_t columns = std::min(width, product.n - column);
          std::fill(out.begin(), out.end(), 0.0);
          std::fill(acc.begin(), acc.end(), 0.0f);
          for (auto [from, to] : product.segments) {
            std::fill(part.begin(), part.end(), 0.0);
            std::fill(sums.begin(), sums.end(), 0.0);
            for (int64_t at = from; at < to; at += panelDepth) {
              int64_t depth = std::min(panelDepth, to - at);
              product.packPanel(batch, column, columns, at, depth,
                                scratch.data(), b.data());
              if (product.dropsSubnormals)
                dropSubnormals(b.data(), depth * width);
              multiplyPanel(a.data() + at, k, b.data(), depth, rows, c.data());
              for (int64_t i = 0; i < rows * width; ++i)
                part[i] += c[i];
              if constexpr (sizeof(T) == 8)
                if (weigh) {
                  takeMagnitudes(b.data(), depth * width, b.data());
                  multiplyPanel(magnitudes.data() + at, k, b.data(), depth,
                                rows, c.data());
                  for (int64_t i = 0; i < rows * width; ++i)
                    sums[i] += c[i];
                }
            }
            for (int64_t i = 0; weigh && i < rows; ++i)
              for (int64_t j = 0; j < columns; ++j) {
                uint64_t place =
                    ((batch * product.m + row + i) * product.n + column + j) *
                        (k + 1) +
                    from;
                double magnitude = sums[i * width + j];
                double &sum = part[i * width + j];
                if (perturb)
                  sum =
                      moveByBound(sum, product.boundOf(to - from, magnitude),
                                  magnitude, coin(product.perturbation, place));
                else if (product.hangsOnFlushing(to - from, magnitude))
                  sum = std::numeric_limits<double>::quiet_NaN();
              }
            if (raw && !product.split) {
              std::copy(part.begin(), part.end(), out.begin());
              continue;
            }
            product.lhsFactors(product.lhsScales, batch, row, from, rows,
                               sa.data());
            product.rhsFactors(product.rhsScales, batch, column, from, columns,
                               sb.data());
            finishSegment(product, part.data(), sa, sb, rows, width, acc,
                          out.data());
          }
          if (product.lhsWhole || product.rhsWhole) {
            product.lhsFactors(product.lhsWhole, batch, row, 0, rows,
                               sa.data());
            product.rhsFactors(product.rhsWhole, batch, column, 0, columns,
                               sb.data());
            scaleSums(sa.data(), sb.data(), rows, width, out.data());
          }
          for (int64_t i = 0; i < rows; ++i) {
            for (int64_t j = 0; j < columns; ++j) {
              double &value = out[i * width + j];
              most = std::max(most, std::fabs(value));
              // The caller refuses sums out of range; until then they are
              // kept storable.
              if (result.dtype() == DType::I32 && !product.real)
                value = std::clamp<double>(value, INT32_MIN, INT32_MAX);
            }
            result.store((batch * product.m + row + i) * product.n + column,
                         columns, out.data() + i * width);
          }
        }
        double seen = largest.load();
        while (seen < most && !largest.compare_exchange_weak(seen, most)) {
        }
      });
    }
  return largest;
}

/// Extents of a product from its operands' shapes.
static Product makeProduct(const Tensor &lhs, const Tensor &rhs,
                           bool transposed) {
  Product product(lhs, rhs);
  ArrayRef<int64_t> l = lhs.shape(), r = rhs.shape();
  for (int64_t extent : l.drop_back(2))
    product.batches *= extent;
  product.m = l[l.size() - 2];
  product.k = l.back();
  product.n = transposed ? r[r.size() - 2] : r.back();
  product.transposed = transposed;
  product.shared = r.size() == 2;
  if (product.shared) { // One tall product instead of many small ones.
    product.m *= product.batches;
    product.batches = 1;
  }
  return product;
}

static uint64_t nextPerturbation(Machine &machine) {
  if (machine.perturbation)
    machine.perturbation = machine.perturbation * 0x5851f42d4c957f2dull + 1;
  return machine.perturbation;
}

/// Cuts [0, k) every `extent` elements (0: not at all) and pieces longer than
/// `limit` further: the whole axis every `limit`, a block by its largest
/// divisor that is not longer.
static void cut(Product &product, int64_t extent, int64_t limit) {
  int64_t k = product.k;
  int64_t step = extent ? extent : k;
  if (step > limit) {
    step = limit;
    while (extent && extent % step != 0)
      --step;
  }
  for (int64_t at = 0; at < k; at += step)
    product.segments.push_back({at, std::min(at + step, k)});
  if (!extent && k == 0)
    product.segments.push_back({0, 0});
}

static int64_t largestMagnitude(DType type, bool zeros) {
  if (isPacked(type))
    return zeros || type == DType::U4 ? 15 : 8;
  return zeros || type == DType::U8 ? 255 : 128;
}

/// The most products of these codes, less zero points where there are any,
/// whose sum stays within 32 bits whatever the codes are.
static int64_t longestSum(DType a, DType b, bool aZeros = false,
                          bool bZeros = false) {
  return INT32_MAX /
         (largestMagnitude(a, aZeros) * largestMagnitude(b, bZeros));
}

static bool isF8(DType type) {
  return type == DType::F8E4M3 || type == DType::F8E5M2;
}

/// What the machine at hand does to products of bf16, for elements of these
/// types as they are multiplied.
static void setFlushing(const Machine &machine, DType l, DType r,
                        Product &product) {
  if (l != DType::BF16 || r != DType::BF16 || machine.real())
    return;
  product.flushes = machine.flushesBf16;
  product.dropsSubnormals = machine.dropsSubnormals;
}

static bool isCode(DType type) {
  return type == DType::I8 || type == DType::U8 || isPacked(type);
}

//===----------------------------------------------------------------------===//
// matmul
//===----------------------------------------------------------------------===//

Result<void> evaluate(Machine &machine, MatmulOp op) {
  const Value &lhs = machine.get(op.getLhs()), &rhs = machine.get(op.getRhs());
  Result<Tensor> result = machine.make(op.getResult().getType());
  if (!result)
    return opError(op, result.error().code, result.error().message);
  Product product = makeProduct(lhs.tensor, rhs.tensor, op.getTransposeRhs());
  product.real = machine.real();
  product.perturbation = nextPerturbation(machine);
  if (isF8(lhs.tensor.dtype()) && isF8(rhs.tensor.dtype()))
    product.error = machine.f8Error;
  std::optional<Factors> lhsScales = factorsOf(lhs, lhs.scales);
  std::optional<Factors> rhsScales = factorsOf(rhs, rhs.scales);
  std::optional<Factors> lhsZeros = factorsOf(lhs, lhs.zeros);
  std::optional<Factors> rhsZeros = factorsOf(rhs, rhs.zeros);
  if (lhsZeros)
    product.lhs.shift(&*lhsZeros);
  if (rhsZeros)
    product.rhs.shift(&*rhsZeros);
  auto finish = [&]() -> Result<void> {
    machine.set(op.getResult(), std::move(*result));
    return {};
  };

  DType l = lhs.tensor.dtype(), r = rhs.tensor.dtype();
  // A quantized operand beside a float one is dequantized to its type.
  bool mixed = lhs.quantized() != rhs.quantized();
  setFlushing(machine, mixed && lhs.quantized() ? r : l,
              mixed && rhs.quantized() ? l : r, product);
  if (machine.real()) {
    if (lhsScales)
      product.lhs.dequantize(&*lhsScales, std::nullopt);
    if (rhsScales)
      product.rhs.dequantize(&*rhsScales, std::nullopt);
    product.segments = {{0, product.k}};
    multiply<double>(product, machine.threads, true, *result);
    return finish();
  }
  bool codes = isCode(l) && isCode(r);
  if (lhs.quantized() != rhs.quantized()) {
    if (!isFloat(lhs.quantized() ? r : l))
      return opError(op, Errc::Unsupported,
                     "a quantized operand is multiplied with a quantized or a "
                     "float one");
    if (lhsScales)
      product.lhs.dequantize(&*lhsScales, r);
    else
      product.rhs.dequantize(&*rhsScales, l);
    product.segments = {{0, product.k}};
    multiply<double>(product, machine.threads, true, *result);
    return finish();
  }
  if (!codes && (!isFloat(l) || !isFloat(r)))
    return opError(op, Errc::Unsupported,
                   fmt::format("products of {} and {} have no meaning; "
                               "operands are floats or codes",
                               name(l), name(r)));

  // Blocks along the contracted axis, as the types tell.
  auto lhsType = dyn_cast<QTensorType>(op.getLhs().getType());
  auto rhsType = dyn_cast<QTensorType>(op.getRhs().getType());
  AffineExpr kExpr =
      getDims(lhsType ? lhsType.getCodes()
                      : cast<RankedTensorType>(op.getLhs().getType()))
          .back();
  auto alongK = [&](QTensorType type, bool last) -> int64_t {
    if (!type)
      return 0;
    ArrayRef<int64_t> block = type.getScale().getBlock();
    int64_t extent = last ? block.back() : block[block.size() - 2];
    auto length = dyn_cast<AffineConstantExpr>(kExpr);
    return length && extent >= length.getValue() && length.getValue() != 0
               ? 0
               : extent;
  };
  int64_t el = alongK(lhsType, true);
  int64_t er = alongK(rhsType, op.getTransposeRhs());
  int64_t extent = el && er ? std::min(el, er) : std::max(el, er);
  product.split = extent != 0;
  // The law cuts at a multiple of 128 (docs/numerics.md).
  cut(product, extent,
      codes ? longestSum(l, r, lhs.zeros.has_value(), rhs.zeros.has_value()) /
                  128 * 128
            : INT64_MAX);
  // A split product's scale goes to the parts only if it varies itself.
  if (lhsScales)
    (product.split && !el ? product.lhsWhole : product.lhsScales) = &*lhsScales;
  if (rhsScales)
    (product.split && !er ? product.rhsWhole : product.rhsScales) = &*rhsScales;
  bool raw = !lhsScales;
  if (codes)
    multiply<float>(product, machine.threads, raw, *result);
  else
    multiply<double>(product, machine.threads, raw, *result);
  return finish();
}

//===----------------------------------------------------------------------===//
// contract
//===----------------------------------------------------------------------===//

Result<void> evaluate(Machine &machine, ContractOp op) {
  const Tensor &lhs = machine.tensor(op.getLhs());
  const Tensor &rhs = machine.tensor(op.getRhs());
  Result<Tensor> result = machine.make(op.getResult().getType());
  if (!result)
    return opError(op, result.error().code, result.error().message);
  Product product = makeProduct(lhs, rhs, op.getTransposeRhs());
  product.real = machine.real();
  product.perturbation = nextPerturbation(machine);
  if (isF8(lhs.dtype()) && isF8(rhs.dtype()))
    product.error = machine.f8Error;
  DType l = lhs.dtype(), r = rhs.dtype();
  setFlushing(machine, l, r, product);
  bool codes = isCode(l) && isCode(r);
  std::optional<Factors> lhsScales, rhsScales;
  auto bind = [&](mlir::Value scales, ArrayRef<int64_t> block,
                  const Tensor &tensor, std::optional<Factors> &factors,
                  int64_t along, const Factors *&bound) -> Result<void> {
    if (!scales)
      return {};
    if (block.size() != tensor.shape().size())
      return opError(op, Errc::InvalidSource,
                     "quern_contract_c4: a block map has one extent per "
                     "dimension of its operand");
    factors.emplace(block, tensor, machine.tensor(scales));
    if (factors->indexer.scaleShape() !=
        ArrayRef(machine.tensor(scales).shape()))
      return opError(
          op, Errc::InvalidArgument,
          fmt::format("quern_contract_c4: scales of shape [{}], the block map "
                      "[{}] needs [{}]",
                      fmt::join(machine.tensor(scales).shape(), ", "),
                      fmt::join(block, ", "),
                      fmt::join(factors->indexer.scaleShape(), ", ")));
    int64_t g = *op.getSplit(), extent = block[along];
    if (extent != 0 && extent < product.k && extent % g != 0)
      return opError(op, Errc::InvalidSource,
                     fmt::format("quern_contract_c4: scale blocks of {} are "
                                 "not whole splits of {}",
                                 extent, g));
    bound = &*factors;
    return {};
  };
  Result<void> done =
      bind(op.getLhsScales(), op.getLhsBlock().value_or(ArrayRef<int64_t>()),
           lhs, lhsScales, lhs.rank() - 1, product.lhsScales);
  if (done)
    done = bind(op.getRhsScales(),
                op.getRhsBlock().value_or(ArrayRef<int64_t>()), rhs, rhsScales,
                rhs.rank() - (op.getTransposeRhs() ? 1 : 2), product.rhsScales);
  if (!done)
    return done;
  if (op.getLhsZeros() || op.getRhsZeros())
    return opError(op, Errc::Unsupported,
                   "the reference has no zero points in quern.contract; it "
                   "interprets layers before their scales are hoisted");
  product.split = op.getSplit().has_value();
  if (product.split && codes &&
      static_cast<int64_t>(*op.getSplit()) > longestSum(l, r) &&
      product.k > longestSum(l, r))
    return opError(op, Errc::InvalidSource,
                   fmt::format("sums of {} products of {} and {} may exceed 32 "
                               "bits; split at most every {}",
                               *op.getSplit(), name(l), name(r),
                               longestSum(l, r)));
  cut(product, op.getSplit().value_or(0), INT64_MAX);
  double largest;
  if (codes && !machine.real())
    largest = multiply<float>(product, machine.threads, true, *result);
  else
    largest = multiply<double>(product, machine.threads, true, *result);
  if (codes && !product.split && !machine.real() && largest > INT32_MAX)
    return opError(op, Errc::InvalidArgument,
                   fmt::format("a sum of {} products of {} and {} leaves 32 "
                               "bits; the product must be split",
                               product.k, name(l), name(r)));
  machine.set(op.getResult(), std::move(*result));
  return {};
}

} // namespace quern::reference
