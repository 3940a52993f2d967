//===- KernelFunction.cpp - Entering a kernel -----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The prologue of every kernel: void f(const KernelArgs *, i64 begin, i64 end,
// void *scratch), see runtime/device/cpu/KernelAbi.h.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Lowering.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

KernelFunction::KernelFunction(Emitter &e, const std::string &name,
                               tile::KernelOp kernel,
                               llvm::ArrayRef<unsigned> arguments,
                               unsigned extraBuffers)
    : scope{.e = e, .symbols = {}, .buffers = decltype(scope.buffers)()} {
  llvm::IRBuilder<> &b = e.b;
  llvm::Type *pointer = b.getPtrTy();
  auto *type = llvm::FunctionType::get(
      b.getVoidTy(), {pointer, b.getInt64Ty(), b.getInt64Ty(), pointer}, false);
  llvm::Function *function = e.beginFunction(name, type, /*external=*/true);
  begin = function->getArg(1);
  end = function->getArg(2);
  scratch = function->getArg(3);
  function->addParamAttr(
      3, llvm::Attribute::getWithAlignment(e.context, llvm::Align(64)));

  Value *args = function->getArg(0);
  Value *buffers = e.load(pointer, args, Memory::Read, 8);
  Value *symbols = e.load(pointer, e.offset(args, e.i64(8)), Memory::Read, 8);
  for (unsigned i = 0; i < kernel.getSymbols().size(); ++i)
    scope.symbols.push_back(e.load(
        b.getInt64Ty(), e.offset(symbols, e.i64(8 * i)), Memory::Read, 8));

  auto bufferAddress = [&](unsigned number) {
    return e.load(pointer, e.offset(buffers, e.i64(8 * number)), Memory::Read,
                  8);
  };
  mlir::Block &body = kernel.getBody().front();
  for (auto [position, number] : llvm::enumerate(arguments)) {
    mlir::BlockArgument argument = body.getArgument(number);
    auto bufferType = llvm::cast<tile::BufferType>(argument.getType());
    BufferView view;
    view.address = bufferAddress(position);
    view.dtype = *getDType(bufferType.getElementType());
    view.memory = kernel.getWrites()[number] ? Memory::Written : Memory::Read;
    llvm::SmallVector<Value *> shape = scope.sizes(bufferType.getShape());
    view.strides.resize(shape.size());
    Value *stride = e.i64(1);
    for (size_t dim = shape.size(); dim-- > 0;) {
      view.strides[dim] = stride;
      bool isRow = isPacked(view.dtype) && dim + 1 == shape.size();
      stride =
          e.mul(stride, isRow ? e.mul(e.ceilDiv(shape[dim], e.i64(2)), e.i64(2))
                              : shape[dim]);
    }
    scope.buffers[argument] = std::move(view);
  }
  for (unsigned i = 0; i < extraBuffers; ++i)
    extra.push_back(bufferAddress(arguments.size() + i));
}

llvm::SmallVector<Value *>
quern::cpugen::pointOf(Emitter &e, Value *item,
                       llvm::ArrayRef<Value *> extents) {
  llvm::SmallVector<Value *> point(extents.size());
  for (size_t dim = extents.size(); dim-- > 0;) {
    if (dim == 0) {
      point[0] = item;
      break;
    }
    // Item numbers are never negative.
    Value *quotient = e.b.CreateUDiv(item, extents[dim]);
    point[dim] = e.b.CreateSub(item, e.mul(quotient, extents[dim]));
    item = quotient;
  }
  return point;
}

SymExpr quern::cpugen::productOf(mlir::AffineMap map, int64_t unknown) {
  SymExpr product = SymExpr::constant(1);
  for (mlir::AffineExpr expr : map.getResults()) {
    bool pointwise = false;
    for (unsigned dim = 0; dim < map.getNumDims(); ++dim)
      pointwise |= expr.isFunctionOfDim(dim);
    product = product *
              (pointwise ? SymExpr::constant(unknown) : tile::toSymExpr(expr));
  }
  return product;
}
