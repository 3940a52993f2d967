//===- QuernDialect.cpp - The quern dialect, attributes and types ---------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "dialects/quern/IR/Quern.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace quern;
using namespace quern::ir;

#include "dialects/quern/IR/QuernDialect.cpp.inc"
#include "dialects/quern/IR/QuernEnums.cpp.inc"
#include "dialects/quern/IR/QuernInterfaces.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/quern/IR/QuernAttrs.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/quern/IR/QuernTypes.cpp.inc"

void QuernDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/quern/IR/QuernAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/quern/IR/QuernTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/quern/IR/QuernOps.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// Symbolic shapes
//===----------------------------------------------------------------------===//

SmallVector<AffineExpr> ir::getDims(RankedTensorType type) {
  if (auto map = dyn_cast_or_null<AffineMapAttr>(type.getEncoding()))
    return llvm::to_vector(map.getValue().getResults());
  SmallVector<AffineExpr> dims;
  for (int64_t extent : type.getShape())
    dims.push_back(getAffineConstantExpr(extent, type.getContext()));
  return dims;
}

RankedTensorType ir::getTensorType(ArrayRef<AffineExpr> dims, Type elementType,
                                   unsigned numSymbols) {
  SmallVector<int64_t> shape;
  SmallVector<AffineExpr> simplified;
  bool isStatic = true;
  for (AffineExpr dim : dims) {
    AffineExpr expr = simplifyAffineExpr(dim, 0, numSymbols);
    simplified.push_back(expr);
    auto constant = dyn_cast<AffineConstantExpr>(expr);
    shape.push_back(constant ? constant.getValue() : ShapedType::kDynamic);
    isStatic &= bool(constant);
  }
  if (isStatic)
    return RankedTensorType::get(shape, elementType);
  auto map =
      AffineMap::get(0, numSymbols, simplified, elementType.getContext());
  return RankedTensorType::get(shape, elementType, AffineMapAttr::get(map));
}

unsigned ir::getNumSymbols(RankedTensorType type) {
  auto map = dyn_cast_or_null<AffineMapAttr>(type.getEncoding());
  return map ? map.getValue().getNumSymbols() : 0;
}

/// The constant factor of the element count, and the symbolic rests. Nothing
/// when the factor exceeds what any tensor has.
static std::optional<int64_t> factorCount(ArrayRef<AffineExpr> dims,
                                          unsigned numSymbols,
                                          SmallVector<AffineExpr> &rests) {
  __int128 product = 1;
  for (AffineExpr dim : dims) {
    AffineExpr expr = simplifyAffineExpr(dim, 0, numSymbols);
    int64_t factor = 0;
    if (auto constant = dyn_cast<AffineConstantExpr>(expr)) {
      factor = constant.getValue();
    } else {
      factor = expr.getLargestKnownDivisor();
      rests.push_back(simplifyAffineExpr(expr.floorDiv(factor), 0, numSymbols));
    }
    product *= factor;
    if (product < 0 || product > (__int128(1) << 62))
      return std::nullopt;
  }
  return static_cast<int64_t>(product);
}

bool ir::haveSameCount(ArrayRef<AffineExpr> a, ArrayRef<AffineExpr> b,
                       unsigned numSymbols) {
  SmallVector<AffineExpr> restsA, restsB;
  std::optional<int64_t> factorA = factorCount(a, numSymbols, restsA);
  std::optional<int64_t> factorB = factorCount(b, numSymbols, restsB);
  if (!factorA || !factorB || *factorA != *factorB ||
      restsA.size() != restsB.size())
    return false;
  for (AffineExpr rest : restsA) {
    auto it = llvm::find(restsB, rest);
    if (it == restsB.end())
      return false;
    restsB.erase(it);
  }
  return true;
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

LogicalResult SymbolAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 StringRef name, int64_t min, int64_t max,
                                 int64_t multiple) {
  if (name.empty())
    return emitError() << "quern_symbol_c1: a symbol needs a name";
  if (min < 0 || max < min)
    return emitError() << "quern_symbol_c2: the range of " << name << " is "
                       << min << ".." << max << "; expected 0 <= min <= max";
  if (multiple < 1)
    return emitError() << "quern_symbol_c3: " << name
                       << " must be a multiple of at least 1, not " << multiple;
  return success();
}

LogicalResult ScaleAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                ArrayRef<int64_t> block, Type type) {
  if (!type.isF32() && !type.isF16() && !type.isBF16())
    return emitError() << "quern_scale_c1: scales are f32, f16 or bf16, not "
                       << type;
  for (int64_t extent : block)
    if (extent < 0)
      return emitError() << "quern_scale_c2: a block extent is at least 1, or "
                            "0 for the whole axis, not "
                         << extent;
  return success();
}

Attribute ScaleAttr::parse(AsmParser &parser, Type) {
  SmallVector<int64_t> block;
  Type type;
  auto loc = parser.getCurrentLocation();
  if (parser.parseLess() || parser.parseKeyword("block") ||
      parser.parseEqual() ||
      parser.parseCommaSeparatedList(
          AsmParser::Delimiter::Square,
          [&] { return parser.parseInteger(block.emplace_back()); }) ||
      parser.parseComma() || parser.parseKeyword("type") ||
      parser.parseEqual() || parser.parseType(type) || parser.parseGreater())
    return {};
  return getChecked([&] { return parser.emitError(loc); }, parser.getContext(),
                    block, type);
}

void ScaleAttr::print(AsmPrinter &printer) const {
  printer << "<block = [";
  llvm::interleaveComma(getBlock(), printer);
  printer << "], type = " << getType() << ">";
}

LogicalResult
QuantizerAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                      APFloat divisor, APFloat, APFloat, ir::Rounding,
                      APFloat floor, ir::ScaleRounding, StatisticKind statistic,
                      APFloat parameter) {
  for (const auto &[what, value] :
       {std::pair("divisor", &divisor), {"floor", &floor}})
    if (!value->isFinite() || value->isZero() || value->isNegative())
      return emitError() << "quern_quantizer_c1: a " << what << " of "
                         << value->convertToFloat()
                         << "; it is a positive finite f32 number";
  float number = parameter.convertToFloat();
  if (statistic == StatisticKind::Percentile &&
      !(number >= Statistic::leastPercentile &&
        number <= Statistic::mostPercentile))
    return emitError() << "quern_quantizer_c2: a percentile of " << number
                       << "; it is from 50 to 99.9999";
  if (statistic == StatisticKind::Sampled &&
      !(number >= 2 && number <= 65536 && number == std::floor(number)))
    return emitError() << "quern_quantizer_c2: a sample with a stride of "
                       << number
                       << "; it is an integer from 2 to "
                          "65536";
  return success();
}

Attribute QuantizerAttr::parse(AsmParser &parser, Type) {
  double divisor, qmin, qmax, floor;
  StringRef rounding;
  Quantizer quantizer;
  auto loc = parser.getCurrentLocation();
  if (parser.parseLess() || parser.parseKeyword("divisor") ||
      parser.parseEqual() || parser.parseFloat(divisor) ||
      parser.parseComma() || parser.parseKeyword("range") ||
      parser.parseEqual() || parser.parseFloat(qmin) || parser.parseComma() ||
      parser.parseFloat(qmax) || parser.parseComma() ||
      parser.parseKeyword("rounding") || parser.parseEqual() ||
      parser.parseKeyword(&rounding) || parser.parseComma() ||
      parser.parseKeyword("floor") || parser.parseEqual() ||
      parser.parseFloat(floor))
    return {};
  bool more = succeeded(parser.parseOptionalComma());
  if (more && succeeded(parser.parseOptionalKeyword("scale_rounding"))) {
    StringRef word;
    auto place = parser.getCurrentLocation();
    if (parser.parseEqual() || parser.parseKeyword(&word))
      return {};
    std::optional<ScaleRounding> mode = symbolizeScaleRounding(word);
    if (!mode) {
      parser.emitError(place, "scale_rounding is nearest, power_ceil, "
                              "power_floor or power_even");
      return {};
    }
    quantizer.scaleRounding = static_cast<quern::ScaleRounding>(*mode);
    more = succeeded(parser.parseOptionalComma());
  }
  if (more) {
    StringRef word;
    double parameter;
    auto place = parser.getCurrentLocation();
    if (parser.parseKeyword("statistic") || parser.parseEqual() ||
        parser.parseKeyword(&word))
      return {};
    std::optional<StatisticKind> kind = symbolizeStatisticKind(word);
    if (!kind || *kind == StatisticKind::AbsMax) {
      parser.emitError(place, "statistic is percentile(99.9) or sampled(16)");
      return {};
    }
    if (parser.parseLParen() || parser.parseFloat(parameter) ||
        parser.parseRParen())
      return {};
    quantizer.statistic = {static_cast<Statistic::Kind>(*kind),
                           static_cast<float>(parameter)};
  }
  if (parser.parseGreater())
    return {};
  std::optional<Rounding> mode = symbolizeRounding(rounding);
  if (!mode) {
    parser.emitError(loc, "rounding is half_even, half_away or toward_zero");
    return {};
  }
  quantizer.divisor = divisor;
  quantizer.qmin = qmin;
  quantizer.qmax = qmax;
  quantizer.rounding = static_cast<quern::Rounding>(*mode);
  quantizer.floor = floor;
  return QuantizerAttr::getChecked(
      [&] { return parser.emitError(loc); }, parser.getContext(),
      APFloat(quantizer.divisor), APFloat(quantizer.qmin),
      APFloat(quantizer.qmax), *mode, APFloat(quantizer.floor),
      static_cast<ir::ScaleRounding>(quantizer.scaleRounding),
      static_cast<StatisticKind>(quantizer.statistic.kind),
      APFloat(quantizer.statistic.parameter));
}

void QuantizerAttr::print(AsmPrinter &printer) const {
  auto number = [&](const APFloat &value) { printer.printFloat(value); };
  printer << "<divisor = ";
  number(getDivisor());
  printer << ", range = ";
  number(getQmin());
  printer << ", ";
  number(getQmax());
  printer << ", rounding = " << stringifyRounding(getRounding())
          << ", floor = ";
  number(getFloor());
  if (getScaleRounding() != ir::ScaleRounding::Nearest)
    printer << ", scale_rounding = "
            << stringifyScaleRounding(getScaleRounding());
  if (getStatistic() != StatisticKind::AbsMax) {
    printer << ", statistic = " << stringifyStatisticKind(getStatistic())
            << "(";
    number(getStatisticParameter());
    printer << ")";
  }
  printer << ">";
}

Quantizer ir::getQuantizer(QuantizerAttr attr, QTensorType type) {
  Quantizer q;
  q.codeType = *getDType(type.getCodes().getElementType());
  q.scaleType = *getDType(type.getScale().getType());
  q.divisor = attr.getDivisor().convertToFloat();
  q.qmin = attr.getQmin().convertToFloat();
  q.qmax = attr.getQmax().convertToFloat();
  q.rounding = static_cast<quern::Rounding>(attr.getRounding());
  q.floor = attr.getFloor().convertToFloat();
  q.scaleRounding = static_cast<quern::ScaleRounding>(attr.getScaleRounding());
  q.statistic = {static_cast<Statistic::Kind>(attr.getStatistic()),
                 attr.getStatisticParameter().convertToFloat()};
  return q;
}

QuantizerAttr ir::getQuantizerAttr(MLIRContext *context, const Quantizer &q) {
  return QuantizerAttr::get(
      context, APFloat(q.divisor), APFloat(q.qmin), APFloat(q.qmax),
      static_cast<ir::Rounding>(q.rounding), APFloat(q.floor),
      static_cast<ir::ScaleRounding>(q.scaleRounding),
      static_cast<StatisticKind>(q.statistic.kind),
      APFloat(q.statistic.parameter));
}

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

LogicalResult QTensorType::verify(function_ref<InFlightDiagnostic()> emitError,
                                  RankedTensorType codes, ScaleAttr scale,
                                  Type zeros) {
  Type type = codes.getElementType();
  Type read = getWideType(type);
  if (!read.isSignlessInteger(8) && !read.isUnsignedInteger(8) &&
      !isa<Float8E4M3FNType, Float8E5M2Type>(type))
    return emitError() << "quern_qtensor_c1: codes are i8, ui8, i4, ui4, "
                          "f8E4M3FN or f8E5M2, not "
                       << type;
  if (static_cast<int64_t>(scale.getBlock().size()) != codes.getRank())
    return emitError() << "quern_qtensor_c2: a block of "
                       << scale.getBlock().size()
                       << " extents for codes of rank " << codes.getRank();
  if (zeros && (zeros != type || !read.isInteger(8)))
    return emitError() << "quern_qtensor_c3: zeros of " << zeros
                       << " for codes of " << type
                       << "; they are of the codes' type, an integer";
  return success();
}

RankedTensorType QTensorType::getScalesType() {
  return getBlockType(getCodes(), getScale().getBlock(), getScale().getType());
}

RankedTensorType QTensorType::getZerosType() {
  return getBlockType(getCodes(), getScale().getBlock(), getZeros());
}

static RankedTensorType readAs(RankedTensorType type) {
  return type.clone(getWideType(type.getElementType()));
}

RankedTensorType QTensorType::getReadCodesType() { return readAs(getCodes()); }

RankedTensorType QTensorType::getReadZerosType() {
  return readAs(getZerosType());
}

RankedTensorType QTensorType::getValueType() {
  return getCodes().clone(Float32Type::get(getContext()));
}

bool ir::coversAxis(int64_t extent, AffineExpr length) {
  // An axis of length 0 has no blocks, hence no scale to apply.
  auto constant = dyn_cast<AffineConstantExpr>(length);
  return extent == 0 || (constant && constant.getValue() >= 1 &&
                         extent >= constant.getValue());
}

/// Blocks of blocks are blocks: equal shapes are equal types.
static AffineExpr divideUp(AffineExpr length, int64_t extent) {
  auto division = dyn_cast<AffineBinaryOpExpr>(length);
  auto inner = division && division.getKind() == AffineExprKind::CeilDiv
                   ? dyn_cast<AffineConstantExpr>(division.getRHS())
                   : AffineConstantExpr();
  int64_t both = 0;
  if (inner && inner.getValue() > 0 &&
      !__builtin_mul_overflow(inner.getValue(), extent, &both))
    return division.getLHS().ceilDiv(both);
  return length.ceilDiv(extent);
}

RankedTensorType ir::getBlockType(RankedTensorType type,
                                  ArrayRef<int64_t> block, Type elementType) {
  SmallVector<AffineExpr> dims;
  for (auto [dim, extent] : llvm::zip_equal(getDims(type), block))
    dims.push_back(extent == 0 ? getAffineConstantExpr(1, type.getContext())
                               : divideUp(dim, extent));
  return getTensorType(dims, elementType, getNumSymbols(type));
}

bool ir::splitLeadingAxes(RankedTensorType type, ArrayRef<int64_t> block,
                          SmallVectorImpl<int64_t> &rows,
                          SmallVectorImpl<int64_t> &rest) {
  rows.assign(block.begin(), block.end());
  rest.assign(block.size(), 1);
  bool twoSteps = false;
  AffineExpr one = getAffineConstantExpr(1, type.getContext());
  for (size_t d = 0; d + 1 < block.size(); ++d) {
    if (block[d] != 0 || getDims(type)[d] == one)
      continue;
    rows[d] = 1;
    rest[d] = 0;
    twoSteps = true;
  }
  return twoSteps;
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

int64_t ir::getExactSumBlock(QTensorType lhs, QTensorType rhs) {
  auto magnitude = [](QTensorType type) -> int64_t {
    auto code = dyn_cast<IntegerType>(type.getCodes().getElementType());
    if (!code)
      return 0;
    int64_t signedMost = int64_t{1} << (code.getWidth() - 1);
    return type.hasZeros() || code.isUnsigned() ? 2 * signedMost - 1
                                                : signedMost;
  };
  if (!magnitude(lhs) || !magnitude(rhs))
    return 0;
  int64_t limit = INT32_MAX / (magnitude(lhs) * magnitude(rhs));
  return limit / 128 * 128;
}

ProductSplit ir::getProductSplit(QTensorType lhs, QTensorType rhs,
                                 unsigned rhsK, int64_t maxK) {
  unsigned lhsK = lhs.getRank() - 1;
  AffineExpr length = getDims(lhs.getCodes())[lhsK];
  auto varying = [&](QTensorType type, unsigned dim) -> int64_t {
    int64_t extent = type.getScale().getBlock()[dim];
    return coversAxis(extent, length) ? 0 : extent;
  };
  int64_t l = varying(lhs, lhsK), r = varying(rhs, rhsK);
  // One is a multiple of the other (quern_matmul_c7), so the smaller serves.
  int64_t block = l == 0 ? r : r == 0 ? l : std::min(l, r);
  int64_t limit = getExactSumBlock(lhs, rhs);
  if (block == 0)
    return {limit != 0 && maxK > limit ? limit : 0};
  int64_t split = block;
  if (limit != 0 && block > limit)
    for (split = limit; block % split != 0;)
      --split;
  return {split, l != 0, r != 0};
}
