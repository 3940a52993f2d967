//===- ElementBody.cpp - Element bodies as LLVM values --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/ElementBody.h"

#include <numeric>

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;
namespace arith = mlir::arith;
namespace math = mlir::math;

/// Zero is a multiple of everything; this is enough for any lane count.
static constexpr int64_t zeroMultiple = int64_t(1) << 40;

std::optional<int64_t> quern::cpugen::stepOf(const Lane &lane) {
  return lane.step ? constantOf(lane.step) : std::optional<int64_t>(0);
}

static int64_t multipleOf(int64_t value) {
  return value == 0 ? zeroMultiple : std::abs(value);
}

llvm::SmallVector<Value *> KernelScope::sizes(mlir::AffineMap map) {
  ElementBody body(*this, 1, nullptr);
  llvm::SmallVector<Value *> out;
  for (mlir::AffineExpr expr : map.getResults())
    out.push_back(body.affine(expr, {}).value);
  return out;
}

Lane ElementBody::lookup(mlir::Value value) const {
  for (const ElementBody *body = this; body; body = body->outer)
    if (auto it = body->values.find(value); it != body->values.end())
      return it->second;
  return uniform(e.unsupported("a value is used that the body cannot see",
                               e.b.getInt64Ty()));
}

Lane ElementBody::laneIndex(Value *base, int64_t multiple) {
  return {base, lanes == 1 ? nullptr : e.i64(1), multiple};
}

Value *ElementBody::spread(Lane lane) {
  if (lane.isVector() || lanes == 1)
    return lane.value;
  Value *splat = e.splat(lane.value, lanes);
  if (!lane.step)
    return splat;
  return e.b.CreateAdd(splat,
                       e.b.CreateMul(e.splat(lane.step, lanes), e.iota(lanes)));
}

Lane ElementBody::affine(mlir::AffineExpr expr, llvm::ArrayRef<Lane> dims) {
  using mlir::AffineExprKind;
  if (auto constant = llvm::dyn_cast<mlir::AffineConstantExpr>(expr))
    return uniform(e.i64(constant.getValue()), multipleOf(constant.getValue()));
  if (auto symbol = llvm::dyn_cast<mlir::AffineSymbolExpr>(expr)) {
    if (symbol.getPosition() >= scope.symbols.size())
      return uniform(e.unsupported(
          "an affine map uses symbol s" + std::to_string(symbol.getPosition()) +
              ", but the kernel lists " + std::to_string(scope.symbols.size()),
          e.b.getInt64Ty()));
    return uniform(scope.symbols[symbol.getPosition()]);
  }
  if (auto dim = llvm::dyn_cast<mlir::AffineDimExpr>(expr))
    return dims[dim.getPosition()];
  auto binary = llvm::cast<mlir::AffineBinaryOpExpr>(expr);
  Lane x = affine(binary.getLHS(), dims), y = affine(binary.getRHS(), dims);
  bool vector = x.isVector() || y.isVector();
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    if (vector)
      return {e.b.CreateAdd(spread(x), spread(y)), nullptr, 1};
    return {e.add(x.value, y.value),
            !x.step   ? y.step
            : !y.step ? x.step
                      : e.add(x.step, y.step),
            std::gcd(x.multiple, y.multiple)};
  case AffineExprKind::Mul: {
    if (vector || (x.step && y.step))
      return {e.b.CreateMul(spread(x), spread(y)), nullptr, 1};
    if (y.step)
      std::swap(x, y);
    int64_t factor = multipleOf(constantOf(y.value).value_or(1));
    bool fits = factor <= zeroMultiple / x.multiple;
    return {e.mul(x.value, y.value), x.step ? e.mul(x.step, y.value) : nullptr,
            fits ? x.multiple * factor : x.multiple};
  }
  default:
    break;
  }
  // Division and remainder.
  auto apply = [&](Value *a, Value *c) {
    return expr.getKind() == AffineExprKind::Mod       ? e.mod(a, c)
           : expr.getKind() == AffineExprKind::CeilDiv ? e.ceilDiv(a, c)
                                                       : e.floorDiv(a, c);
  };
  if (!vector && !x.step && !y.step)
    return uniform(apply(x.value, y.value));
  std::optional<int64_t> divisor =
      y.step || vector ? std::nullopt : constantOf(y.value);
  if (divisor && *divisor > 0 && stepOf(x) == 1 && *divisor % lanes == 0 &&
      x.multiple % lanes == 0) {
    // All lanes lie in one block of the divisor.
    if (expr.getKind() == AffineExprKind::FloorDiv)
      return uniform(e.floorDiv(x.value, y.value));
    if (expr.getKind() == AffineExprKind::Mod)
      return {e.mod(x.value, y.value), x.step, std::gcd(x.multiple, *divisor)};
  }
  return {apply(spread(x), spread(y)), nullptr, 1};
}

//===----------------------------------------------------------------------===//
// Access
//===----------------------------------------------------------------------===//

/// The element's number in its buffer.
Lane ElementBody::element(const BufferView &view, mlir::AffineMap map,
                          mlir::ValueRange indices) {
  llvm::SmallVector<Lane> dims;
  for (mlir::Value index : indices)
    dims.push_back(lookup(index));
  Lane sum = uniform(e.i64(0), zeroMultiple);
  for (auto [expr, stride] : llvm::zip(map.getResults(), view.strides)) {
    Lane term = affine(expr, dims);
    if (sum.isVector() || term.isVector()) {
      Value *scaled = e.b.CreateMul(spread(term), e.splat(stride, lanes));
      sum = {e.b.CreateAdd(spread(sum), scaled), nullptr, 1};
      continue;
    }
    Value *step = term.step ? e.mul(term.step, stride) : nullptr;
    sum.value = e.add(sum.value, e.mul(term.value, stride));
    sum.step = !sum.step ? step : !step ? sum.step : e.add(sum.step, step);
  }
  return sum;
}

static bool isBool(mlir::Type type) { return type.isInteger(1); }

void ElementBody::emitLoad(tile::LoadOp op) {
  auto it = scope.buffers.find(op.getBuffer());
  if (it == scope.buffers.end()) {
    e.unsupported("tile.load reads something that is no buffer of the kernel",
                  e.b.getInt8Ty());
    return;
  }
  const BufferView &view = it->second;
  if (isPacked(view.dtype))
    return bind(op.getResult(), {loadPacked(view, op)});
  Lane index = element(view, op.getMap(), op.getIndices());
  llvm::Type *scalar = e.storageType(view.dtype);
  Value *result;
  auto address = [&](Value *number) {
    return e.b.CreateGEP(scalar, view.address, number);
  };
  if (index.isVector() || stepOf(index) == std::nullopt ||
      (*stepOf(index) != 0 && *stepOf(index) != 1))
    result = e.gather(e.vectorType(scalar, lanes), address(spread(index)), mask,
                      view.memory);
  else if (*stepOf(index) == 0)
    result = e.load(scalar, address(index.value), view.memory,
                    byteWidth(view.dtype));
  else if (mask)
    result = e.loadMasked(e.vectorType(scalar, lanes), address(index.value),
                          mask, view.memory);
  else
    result = e.load(e.vectorType(scalar, lanes), address(index.value),
                    view.memory, byteWidth(view.dtype));
  if (isBool(op.getType()))
    result = e.b.CreateICmpNE(result,
                              llvm::Constant::getNullValue(result->getType()));
  bind(op.getResult(), {result});
}

void ElementBody::prefetch(tile::LoadOp op) {
  const BufferView &view = scope.buffers[op.getBuffer()];
  if (isPacked(view.dtype))
    return;
  Lane index = element(view, op.getMap(), op.getIndices());
  if (index.isVector() || stepOf(index) != 1)
    return;
  Value *address =
      e.b.CreateGEP(e.storageType(view.dtype), view.address, index.value);
  auto flag = [&](int value) { return e.b.getInt32(value); };
  e.b.CreateIntrinsic(llvm::Intrinsic::prefetch, {address->getType()},
                      {address, flag(0 /* to read */),
                       flag(3 /* into every cache */), flag(1 /* data */)});
}

void ElementBody::emitStore(tile::StoreOp op) {
  auto it = scope.buffers.find(op.getBuffer());
  if (it == scope.buffers.end()) {
    e.unsupported("tile.store writes something that is no buffer of the kernel",
                  e.b.getInt8Ty());
    return;
  }
  const BufferView &view = it->second;
  Lane index = element(view, op.getMap(), op.getIndices());
  Lane value = lookup(op.getValue());
  if (isBool(op.getValue().getType()))
    value = {
        e.b.CreateZExt(value.value, e.typeLike(value.value, e.b.getInt8Ty()))};
  llvm::Type *scalar = e.storageType(view.dtype);
  auto address = [&](Value *number) {
    return e.b.CreateGEP(scalar, view.address, number);
  };
  std::optional<int64_t> step = index.isVector() ? std::nullopt : stepOf(index);
  if (step == 0) {
    // One address for all lanes: only legal where a single lane is on.
    Value *first = value.isVector()
                       ? e.b.CreateExtractElement(value.value, uint64_t(0))
                       : value.value;
    e.store(first, address(index.value), view.memory, byteWidth(view.dtype));
    return;
  }
  Value *all = spread(value);
  if (step == 1 && mask)
    e.storeMasked(all, address(index.value), mask, view.memory);
  else if (step == 1)
    e.store(all, address(index.value), view.memory, byteWidth(view.dtype));
  else
    e.scatter(all, address(spread(index)), mask, view.memory);
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

llvm::Type *ElementBody::typeOf(mlir::Type type, Value *like) {
  if (type.isF32())
    return e.typeLike(like, e.b.getFloatTy());
  if (type.isIndex())
    return e.typeLike(like, e.b.getInt64Ty());
  if (type.isIntOrFloat())
    return e.typeLike(like, e.b.getIntNTy(type.getIntOrFloatBitWidth()));
  return nullptr;
}

Lane ElementBody::constant(arith::ConstantOp op) {
  if (auto integer = llvm::dyn_cast<mlir::IntegerAttr>(op.getValue())) {
    int64_t value = integer.getValue().getSExtValue();
    if (op.getType().isIndex())
      return uniform(e.i64(value), multipleOf(value));
    return {llvm::ConstantInt::get(e.context, integer.getValue())};
  }
  if (auto number = llvm::dyn_cast<mlir::FloatAttr>(op.getValue())) {
    if (op.getType().isF32())
      return {llvm::ConstantFP::get(e.context, number.getValue())};
    if (op.getType().getIntOrFloatBitWidth() <= 16)
      return {llvm::ConstantInt::get(e.context,
                                     number.getValue().bitcastToAPInt())};
  }
  return {e.unsupported("constants are i1, i8, i32, index or floats up to f32",
                        e.b.getFloatTy())};
}

void ElementBody::emit(mlir::Block &block) {
  for (mlir::Operation &op : block.without_terminator())
    emit(op);
}

void ElementBody::emit(mlir::Operation &op) {
  if (auto load = llvm::dyn_cast<tile::LoadOp>(op))
    return emitLoad(load);
  if (auto store = llvm::dyn_cast<tile::StoreOp>(op))
    return emitStore(store);
  if (auto accumulate = llvm::dyn_cast<tile::AccumulateOp>(op))
    return emitAccumulate(accumulate);
  if (auto quotient = llvm::dyn_cast<arith::DivFOp>(op);
      quotient && isCodeQuotient(quotient))
    return emitCodeQuotient(quotient);
  if (auto code = llvm::dyn_cast<arith::FPToSIOp>(op);
      code && emitIntegerCode(code))
    return;
  if (auto code = llvm::dyn_cast<arith::TruncFOp>(op);
      code && emitFloatCode(code))
    return;
  if (auto index = llvm::dyn_cast<tile::IndexOp>(op)) {
    llvm::SmallVector<Lane> dims;
    for (mlir::Value operand : index.getIndices())
      dims.push_back(lookup(operand));
    return bind(index.getResult(), affine(index.getMap().getResult(0), dims));
  }
  if (auto constantOp = llvm::dyn_cast<arith::ConstantOp>(op))
    return bind(constantOp.getResult(), constant(constantOp));
  if (op.getNumResults() != 1 || op.getNumRegions() != 0) {
    e.unsupported("the CPU target does not know '" +
                      op.getName().getStringRef().str() +
                      "' in an element body",
                  e.b.getInt8Ty());
    return;
  }
  if (llvm::isa<arith::AddIOp, arith::SubIOp, arith::MulIOp>(op) &&
      op.getResult(0).getType().isIndex())
    return emitIndexArithmetic(op);

  llvm::SmallVector<Lane> lanesIn;
  bool vector = false;
  for (mlir::Value operand : op.getOperands()) {
    lanesIn.push_back(lookup(operand));
    vector |= lanesIn.back().isVector() || lanesIn.back().step;
  }
  llvm::SmallVector<Value *> in;
  for (Lane lane : lanesIn)
    in.push_back(vector ? spread(lane) : lane.value);
  Value *result = in.size() == 1 ? emitConversion(op, in[0]) : nullptr;
  if (!result)
    result = emitArithmetic(op, in);
  bind(op.getResult(0), {result});
}

/// Index sums and products keep their step.
void ElementBody::emitIndexArithmetic(mlir::Operation &op) {
  Lane x = lookup(op.getOperand(0)), y = lookup(op.getOperand(1));
  mlir::MLIRContext *context = op.getContext();
  mlir::AffineExpr d0 = mlir::getAffineDimExpr(0, context);
  mlir::AffineExpr d1 = mlir::getAffineDimExpr(1, context);
  if (llvm::isa<arith::MulIOp>(op)) {
    Lane pair[2] = {x, y};
    if (x.isVector() || y.isVector() || (x.step && y.step))
      return bind(op.getResult(0),
                  {e.b.CreateMul(spread(x), spread(y)), nullptr, 1});
    if (y.step)
      std::swap(pair[0], pair[1]);
    return bind(op.getResult(0),
                {e.mul(pair[0].value, pair[1].value),
                 pair[0].step ? e.mul(pair[0].step, pair[1].value) : nullptr,
                 1});
  }
  mlir::AffineExpr sum = llvm::isa<arith::AddIOp>(op) ? d0 + d1 : d0 - d1;
  bind(op.getResult(0), affine(sum, {x, y}));
}

static llvm::CmpInst::Predicate predicate(arith::CmpFPredicate kind) {
  using P = llvm::CmpInst;
  switch (kind) {
  case arith::CmpFPredicate::AlwaysFalse:
    return P::FCMP_FALSE;
  case arith::CmpFPredicate::OEQ:
    return P::FCMP_OEQ;
  case arith::CmpFPredicate::OGT:
    return P::FCMP_OGT;
  case arith::CmpFPredicate::OGE:
    return P::FCMP_OGE;
  case arith::CmpFPredicate::OLT:
    return P::FCMP_OLT;
  case arith::CmpFPredicate::OLE:
    return P::FCMP_OLE;
  case arith::CmpFPredicate::ONE:
    return P::FCMP_ONE;
  case arith::CmpFPredicate::ORD:
    return P::FCMP_ORD;
  case arith::CmpFPredicate::UEQ:
    return P::FCMP_UEQ;
  case arith::CmpFPredicate::UGT:
    return P::FCMP_UGT;
  case arith::CmpFPredicate::UGE:
    return P::FCMP_UGE;
  case arith::CmpFPredicate::ULT:
    return P::FCMP_ULT;
  case arith::CmpFPredicate::ULE:
    return P::FCMP_ULE;
  case arith::CmpFPredicate::UNE:
    return P::FCMP_UNE;
  case arith::CmpFPredicate::UNO:
    return P::FCMP_UNO;
  case arith::CmpFPredicate::AlwaysTrue:
    return P::FCMP_TRUE;
  }
  return P::FCMP_FALSE;
}

static llvm::CmpInst::Predicate predicate(arith::CmpIPredicate kind) {
  using P = llvm::CmpInst;
  switch (kind) {
  case arith::CmpIPredicate::eq:
    return P::ICMP_EQ;
  case arith::CmpIPredicate::ne:
    return P::ICMP_NE;
  case arith::CmpIPredicate::slt:
    return P::ICMP_SLT;
  case arith::CmpIPredicate::sle:
    return P::ICMP_SLE;
  case arith::CmpIPredicate::sgt:
    return P::ICMP_SGT;
  case arith::CmpIPredicate::sge:
    return P::ICMP_SGE;
  case arith::CmpIPredicate::ult:
    return P::ICMP_ULT;
  case arith::CmpIPredicate::ule:
    return P::ICMP_ULE;
  case arith::CmpIPredicate::ugt:
    return P::ICMP_UGT;
  case arith::CmpIPredicate::uge:
    return P::ICMP_UGE;
  }
  return P::ICMP_EQ;
}

/// Ops of one operand; null where the op is none of them.
Value *ElementBody::emitConversion(mlir::Operation &op, Value *in) {
  llvm::IRBuilder<> &b = e.b;
  mlir::Type from = op.getOperand(0).getType(), to = op.getResult(0).getType();
  llvm::Type *type = typeOf(to, in);
  std::optional<DType> fromType = getDType(from), toType = getDType(to);
  if (llvm::isa<arith::ExtFOp>(op) && to.isF32() && fromType)
    return e.decode(in, *fromType);
  if (llvm::isa<arith::TruncFOp>(op) && from.isF32() && toType)
    return e.encode(in, *toType);
  if (llvm::isa<arith::ExtSIOp, arith::IndexCastOp>(op))
    return b.CreateSExtOrTrunc(in, type);
  if (llvm::isa<arith::ExtUIOp, arith::IndexCastUIOp>(op))
    return b.CreateZExtOrTrunc(in, type);
  if (llvm::isa<arith::TruncIOp>(op))
    return b.CreateTrunc(in, type);
  if (llvm::isa<arith::BitcastOp>(op))
    return b.CreateBitCast(in, type);
  if (llvm::isa<arith::SIToFPOp>(op) && to.isF32())
    return b.CreateSIToFP(in, type);
  if (llvm::isa<arith::UIToFPOp>(op) && to.isF32())
    return b.CreateUIToFP(in, type);
  if (llvm::isa<arith::FPToSIOp, arith::FPToUIOp>(op) && from.isF32()) {
    if (to.isInteger(32))
      return llvm::isa<arith::FPToSIOp>(op) ? b.CreateFPToSI(in, type)
                                            : b.CreateFPToUI(in, type);
    // Narrower codes go through i32: the value is in range already.
    return b.CreateTrunc(b.CreateFPToSI(in, e.typeLike(in, b.getInt32Ty())),
                         type);
  }
  if (!to.isF32())
    return nullptr;
  if (llvm::isa<arith::NegFOp>(op))
    return b.CreateFNeg(in);
  if (llvm::isa<math::AbsFOp>(op))
    return e.abs(in);
  if (llvm::isa<math::SqrtOp>(op))
    return e.sqrt(in);
  if (llvm::isa<math::RoundEvenOp>(op))
    return e.roundEven(in);
  if (llvm::isa<math::ExpOp>(op))
    return e.exp(in);
  if (llvm::isa<math::TanhOp>(op))
    return e.tanh(in);
  if (llvm::isa<math::ErfOp>(op))
    return e.erf(in);
  return nullptr;
}

Value *ElementBody::emitArithmetic(mlir::Operation &op,
                                   llvm::ArrayRef<Value *> in) {
  using namespace llvm::Intrinsic;
  llvm::IRBuilder<> &b = e.b;
  if (auto compare = llvm::dyn_cast<arith::CmpFOp>(op))
    if (op.getOperand(0).getType().isF32())
      return b.CreateFCmp(predicate(compare.getPredicate()), in[0], in[1]);
  if (auto compare = llvm::dyn_cast<arith::CmpIOp>(op))
    return b.CreateICmp(predicate(compare.getPredicate()), in[0], in[1]);
  if (llvm::isa<arith::SelectOp>(op))
    return b.CreateSelect(in[0], in[1], in[2]);
  mlir::Type type = op.getResult(0).getType();
  if (type.isF32()) {
    if (llvm::isa<arith::AddFOp>(op))
      return b.CreateFAdd(in[0], in[1]);
    if (llvm::isa<arith::SubFOp>(op))
      return b.CreateFSub(in[0], in[1]);
    if (llvm::isa<arith::MulFOp>(op))
      return b.CreateFMul(in[0], in[1]);
    if (llvm::isa<arith::DivFOp>(op))
      return b.CreateFDiv(in[0], in[1]);
    if (llvm::isa<arith::MaximumFOp>(op))
      return e.maximum(in[0], in[1]);
    if (llvm::isa<arith::MinimumFOp>(op))
      return e.minimum(in[0], in[1]);
    if (llvm::isa<math::FmaOp>(op))
      return e.fma(in[0], in[1], in[2]);
    if (llvm::isa<math::CopySignOp>(op))
      return b.CreateBinaryIntrinsic(llvm::Intrinsic::copysign, in[0], in[1]);
  }
  if (type.isIntOrIndex()) {
    if (llvm::isa<arith::AddIOp>(op))
      return b.CreateAdd(in[0], in[1]);
    if (llvm::isa<arith::SubIOp>(op))
      return b.CreateSub(in[0], in[1]);
    if (llvm::isa<arith::MulIOp>(op))
      return b.CreateMul(in[0], in[1]);
    if (llvm::isa<arith::AndIOp>(op))
      return b.CreateAnd(in[0], in[1]);
    if (llvm::isa<arith::OrIOp>(op))
      return b.CreateOr(in[0], in[1]);
    if (llvm::isa<arith::XOrIOp>(op))
      return b.CreateXor(in[0], in[1]);
    if (llvm::isa<arith::ShLIOp>(op))
      return b.CreateShl(in[0], in[1]);
    if (llvm::isa<arith::ShRUIOp>(op))
      return b.CreateLShr(in[0], in[1]);
    if (llvm::isa<arith::ShRSIOp>(op))
      return b.CreateAShr(in[0], in[1]);
    if (llvm::isa<arith::MaxUIOp>(op))
      return b.CreateBinaryIntrinsic(umax, in[0], in[1]);
    if (llvm::isa<arith::MinUIOp>(op))
      return b.CreateBinaryIntrinsic(umin, in[0], in[1]);
    if (llvm::isa<arith::MaxSIOp>(op))
      return b.CreateBinaryIntrinsic(smax, in[0], in[1]);
    if (llvm::isa<arith::MinSIOp>(op))
      return b.CreateBinaryIntrinsic(smin, in[0], in[1]);
  }
  llvm::Type *result = typeOf(type, in.empty() ? e.i64(0) : in[0]);
  return e.unsupported("the CPU target does not know '" +
                           op.getName().getStringRef().str() +
                           "' on these types in an element body",
                       result ? result : b.getInt32Ty());
}
