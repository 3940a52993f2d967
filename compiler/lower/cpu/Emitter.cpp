//===- Emitter.cpp - Building one LLVM function ---------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Emitter.h"

#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/MDBuilder.h"

using namespace quern;
using namespace quern::cpugen;
using llvm::Value;

Emitter::Emitter(llvm::Module &module, const CpuTarget &target)
    : module(module), context(module.getContext()), target(target),
      b(module.getContext()) {
  llvm::MDBuilder md(context);
  llvm::MDNode *domain = md.createAnonymousAliasScopeDomain("quern");
  llvm::MDNode *scope[3];
  for (unsigned i = 0; i < 3; ++i) {
    scope[i] = md.createAnonymousAliasScope(domain);
    scopes[i] = llvm::MDNode::get(context, {scope[i]});
  }
  for (unsigned i = 0; i < 3; ++i)
    noalias[i] =
        llvm::MDNode::get(context, {scope[(i + 1) % 3], scope[(i + 2) % 3]});
}

std::optional<int64_t> quern::cpugen::constantOf(Value *value) {
  if (auto *constant = llvm::dyn_cast<llvm::ConstantInt>(value))
    return constant->getSExtValue();
  return std::nullopt;
}

Value *Emitter::unsupported(std::string message, llvm::Type *type) {
  if (error.empty())
    error = std::move(message);
  return llvm::PoisonValue::get(type);
}

//===----------------------------------------------------------------------===//
// Functions and control flow
//===----------------------------------------------------------------------===//

llvm::Function *Emitter::beginFunction(llvm::StringRef name,
                                       llvm::FunctionType *type,
                                       bool external) {
  auto *function =
      llvm::Function::Create(type,
                             external ? llvm::Function::ExternalLinkage
                                      : llvm::Function::InternalLinkage,
                             name, module);
  function->setDSOLocal(true);
  function->addFnAttr(llvm::Attribute::NoUnwind);
  function->addFnAttr("no-builtins");
  function->addFnAttr("target-cpu", target.cpu);
  function->addFnAttr("tune-cpu", target.tuneCpu);
  std::string features;
  for (const std::string &feature : target.features)
    features += (features.empty() ? "+" : ",+") + feature;
  if (!features.empty())
    function->addFnAttr("target-features", features);
  // LLVM's passes for AArch64 would make tables of addresses of functions, and
  // those need a loader.
  if (target.isAArch64())
    function->addFnAttr("no-jump-tables", "true");
  std::string vectorBits = std::to_string(target.lanes() * 32);
  function->addFnAttr("prefer-vector-width", vectorBits);
  function->addFnAttr("min-legal-vector-width", vectorBits);
  b.SetInsertPoint(llvm::BasicBlock::Create(context, "entry", function));
  return function;
}

Emitter::Values Emitter::loop(
    Value *lo, Value *hi, Value *step, llvm::ArrayRef<Value *> inits,
    llvm::function_ref<Values(Value *, llvm::ArrayRef<Value *>)> body) {
  llvm::Function *function = b.GetInsertBlock()->getParent();
  llvm::BasicBlock *before = b.GetInsertBlock();
  auto *header = llvm::BasicBlock::Create(context, "loop", function);
  auto *exit = llvm::BasicBlock::Create(context, "done", function);
  b.CreateCondBr(b.CreateICmpSLT(lo, hi), header, exit);

  b.SetInsertPoint(header);
  llvm::PHINode *iv = b.CreatePHI(lo->getType(), 2);
  iv->addIncoming(lo, before);
  llvm::SmallVector<llvm::PHINode *> phis;
  Values carried;
  for (Value *init : inits) {
    llvm::PHINode *phi = b.CreatePHI(init->getType(), 2);
    phi->addIncoming(init, before);
    phis.push_back(phi);
    carried.push_back(phi);
  }
  Values results = body(iv, carried);
  llvm::BasicBlock *latch = b.GetInsertBlock();
  Value *next = b.CreateNSWAdd(iv, step);
  iv->addIncoming(next, latch);
  for (auto [phi, result] : llvm::zip(phis, results))
    phi->addIncoming(result, latch);
  b.CreateCondBr(b.CreateICmpSLT(next, hi), header, exit);

  b.SetInsertPoint(exit);
  Values out;
  for (auto [init, result] : llvm::zip(inits, results)) {
    llvm::PHINode *phi = b.CreatePHI(init->getType(), 2);
    phi->addIncoming(init, before);
    phi->addIncoming(result, latch);
    out.push_back(phi);
  }
  return out;
}

void Emitter::loop(Value *lo, Value *hi, Value *step,
                   llvm::function_ref<void(Value *)> body) {
  loop(lo, hi, step, {}, [&](Value *iv, llvm::ArrayRef<Value *>) {
    body(iv);
    return Values();
  });
}

void Emitter::loopOnceOrMore(Value *lo, Value *hi, Value *step,
                             llvm::function_ref<void(Value *)> body) {
  llvm::BasicBlock *before = b.GetInsertBlock();
  auto *header = llvm::BasicBlock::Create(context, "loop", before->getParent());
  b.CreateBr(header);
  b.SetInsertPoint(header);
  llvm::PHINode *iv = b.CreatePHI(lo->getType(), 2);
  iv->addIncoming(lo, before);
  body(iv);
  llvm::BasicBlock *latch = b.GetInsertBlock();
  auto *exit = llvm::BasicBlock::Create(context, "done", before->getParent());
  Value *next = b.CreateNSWAdd(iv, step);
  iv->addIncoming(next, latch);
  b.CreateCondBr(b.CreateICmpSLT(next, hi), header, exit);
  b.SetInsertPoint(exit);
}

Emitter::Values Emitter::branch(Value *condition,
                                llvm::function_ref<Values()> then,
                                llvm::function_ref<Values()> otherwise) {
  if (auto *constant = llvm::dyn_cast<llvm::ConstantInt>(condition))
    return constant->isOne() ? then() : otherwise();
  llvm::Function *function = b.GetInsertBlock()->getParent();
  auto *yes = llvm::BasicBlock::Create(context, "then", function);
  auto *no = llvm::BasicBlock::Create(context, "else", function);
  auto *join = llvm::BasicBlock::Create(context, "join", function);
  b.CreateCondBr(condition, yes, no);
  b.SetInsertPoint(yes);
  Values left = then();
  llvm::BasicBlock *leftEnd = b.GetInsertBlock();
  b.CreateBr(join);
  b.SetInsertPoint(no);
  Values right = otherwise();
  llvm::BasicBlock *rightEnd = b.GetInsertBlock();
  b.CreateBr(join);
  b.SetInsertPoint(join);
  Values out;
  for (auto [l, r] : llvm::zip(left, right)) {
    llvm::PHINode *phi = b.CreatePHI(l->getType(), 2);
    phi->addIncoming(l, leftEnd);
    phi->addIncoming(r, rightEnd);
    out.push_back(phi);
  }
  return out;
}

void Emitter::when(Value *condition, llvm::function_ref<void()> then) {
  branch(
      condition,
      [&] {
        then();
        return Values();
      },
      [] { return Values(); });
}

llvm::AllocaInst *Emitter::stack(llvm::Type *type, llvm::Align align) {
  llvm::BasicBlock &entry = b.GetInsertBlock()->getParent()->getEntryBlock();
  llvm::IRBuilder<> at(&entry, entry.begin());
  llvm::AllocaInst *slot = at.CreateAlloca(type);
  slot->setAlignment(align);
  return slot;
}

//===----------------------------------------------------------------------===//
// Integers
//===----------------------------------------------------------------------===//

Value *Emitter::add(Value *x, Value *y) {
  if (constantOf(x) == 0)
    return y;
  if (constantOf(y) == 0)
    return x;
  return b.CreateAdd(x, y);
}

Value *Emitter::mul(Value *x, Value *y) {
  if (constantOf(x) == 1)
    return y;
  if (constantOf(y) == 1)
    return x;
  if (constantOf(x) == 0)
    return x;
  if (constantOf(y) == 0)
    return y;
  return b.CreateMul(x, y);
}

/// The constant a value (or every lane of it) is, where it is a power of two.
static std::optional<unsigned> powerOfTwo(Value *value) {
  auto *constant = llvm::dyn_cast<llvm::Constant>(value);
  if (!constant)
    return std::nullopt;
  if (constant->getType()->isVectorTy())
    constant = constant->getSplatValue();
  auto *integer = llvm::dyn_cast_or_null<llvm::ConstantInt>(constant);
  if (!integer || !integer->getValue().isPowerOf2())
    return std::nullopt;
  return integer->getValue().logBase2();
}

Value *Emitter::floorDiv(Value *x, Value *y) {
  // An arithmetic shift rounds down for negative numbers as well.
  if (auto shift = powerOfTwo(y))
    return *shift == 0 ? x : b.CreateAShr(x, *shift);
  Value *quotient = b.CreateSDiv(x, y);
  Value *rest = b.CreateSub(x, b.CreateMul(quotient, y));
  Value *below =
      b.CreateICmpSLT(rest, llvm::Constant::getNullValue(x->getType()));
  return b.CreateAdd(quotient, b.CreateSExt(below, x->getType()));
}

Value *Emitter::ceilDiv(Value *x, Value *y) {
  Value *one = llvm::ConstantInt::get(x->getType(), 1);
  return floorDiv(b.CreateAdd(x, b.CreateSub(y, one)), y);
}

Value *Emitter::mod(Value *x, Value *y) {
  if (powerOfTwo(y))
    return b.CreateAnd(x,
                       b.CreateSub(y, llvm::ConstantInt::get(y->getType(), 1)));
  return b.CreateSub(x, b.CreateMul(floorDiv(x, y), y));
}

Value *Emitter::min(Value *x, Value *y) {
  auto cx = constantOf(x), cy = constantOf(y);
  if (cx && cy)
    return *cx < *cy ? x : y;
  return b.CreateBinaryIntrinsic(llvm::Intrinsic::smin, x, y);
}

Value *Emitter::max(Value *x, Value *y) {
  auto cx = constantOf(x), cy = constantOf(y);
  if (cx && cy)
    return *cx > *cy ? x : y;
  return b.CreateBinaryIntrinsic(llvm::Intrinsic::smax, x, y);
}

//===----------------------------------------------------------------------===//
// Vectors
//===----------------------------------------------------------------------===//

unsigned Emitter::width(Value *value) {
  auto *type = llvm::dyn_cast<llvm::FixedVectorType>(value->getType());
  return type ? type->getNumElements() : 1;
}

llvm::Type *Emitter::vectorType(llvm::Type *scalar, unsigned lanes) {
  if (lanes == 1)
    return scalar;
  return llvm::FixedVectorType::get(scalar, lanes);
}

llvm::Type *Emitter::typeLike(Value *like, llvm::Type *scalar) {
  return vectorType(scalar, width(like));
}

Value *Emitter::splat(Value *scalar, unsigned lanes) {
  if (lanes == 1 || scalar->getType()->isVectorTy())
    return scalar;
  return b.CreateVectorSplat(lanes, scalar);
}

Value *Emitter::iota(unsigned lanes) {
  llvm::SmallVector<uint64_t, 64> numbers;
  for (unsigned i = 0; i < lanes; ++i)
    numbers.push_back(i);
  return llvm::ConstantDataVector::get(context, numbers);
}

Value *Emitter::maskBelow(Value *count, unsigned lanes) {
  // In i32: half the compare width of i64. Counts here are below 2^31.
  llvm::SmallVector<uint32_t, 64> numbers;
  for (unsigned i = 0; i < lanes; ++i)
    numbers.push_back(i);
  Value *bound = min(count, i64(lanes));
  return b.CreateICmpSLT(llvm::ConstantDataVector::get(context, numbers),
                         splat(b.CreateTrunc(bound, b.getInt32Ty()), lanes));
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

llvm::Type *Emitter::storageType(DType type) {
  if (type == DType::F32)
    return b.getFloatTy();
  return b.getIntNTy(8 * byteWidth(type));
}

llvm::Instruction *Emitter::tag(llvm::Instruction *access, Memory memory) {
  unsigned kind = static_cast<unsigned>(memory);
  access->setMetadata(llvm::LLVMContext::MD_alias_scope, scopes[kind]);
  access->setMetadata(llvm::LLVMContext::MD_noalias, noalias[kind]);
  return access;
}

Value *Emitter::load(llvm::Type *type, Value *address, Memory memory,
                     unsigned align) {
  llvm::Instruction *access =
      tag(b.CreateAlignedLoad(type, address, llvm::Align(align)), memory);
  // Buffers that are only read do not change while a kernel runs.
  if (memory == Memory::Read)
    access->setMetadata(llvm::LLVMContext::MD_invariant_load,
                        llvm::MDNode::get(context, {}));
  return access;
}

void Emitter::store(Value *value, Value *address, Memory memory,
                    unsigned align) {
  tag(b.CreateAlignedStore(value, address, llvm::Align(align)), memory);
}

Value *Emitter::loadMasked(llvm::Type *type, Value *address, Value *mask,
                           Memory memory) {
  return tag(b.CreateMaskedLoad(type, address, llvm::Align(1), mask,
                                llvm::Constant::getNullValue(type)),
             memory);
}

void Emitter::storeMasked(Value *value, Value *address, Value *mask,
                          Memory memory) {
  tag(b.CreateMaskedStore(value, address, llvm::Align(1), mask), memory);
}

Value *Emitter::gather(llvm::Type *type, Value *addresses, Value *mask,
                       Memory memory) {
  if (mask) {
    // Without a mask LLVM needs no branches for types the machine cannot
    // gather; lane 0 is always switched on.
    Value *first = b.CreateExtractElement(addresses, uint64_t(0));
    addresses = b.CreateSelect(mask, addresses, splat(first, width(addresses)));
  }
  return tag(b.CreateMaskedGather(type, addresses, llvm::Align(1)), memory);
}

void Emitter::scatter(Value *value, Value *addresses, Value *mask,
                      Memory memory) {
  tag(b.CreateMaskedScatter(value, addresses, llvm::Align(1), mask), memory);
}

Value *Emitter::offset(Value *base, Value *bytes) {
  return b.CreateGEP(b.getInt8Ty(), base, bytes);
}
