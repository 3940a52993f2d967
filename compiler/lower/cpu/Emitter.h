//===- Emitter.h - Building one LLVM function -------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The tools every kernel is written with: counted loops with carried values,
// branches, memory accesses that tell LLVM which buffers cannot overlap, and
// f32 primitives that mean the same on every level of instruction set.
//
// Everything works on single values and on vectors alike: the type of the
// operands decides. Small floats (f16, bf16, f8) are held as the integers of
// their bits; only f32 is a floating-point type in generated code.
//
// Strictness: no instruction carries a fast-math flag, `fma` is one correctly
// rounded operation on every level (emulated where the machine has none), and
// nothing here can turn into a call of a library function.
//
// Errors: an operation that cannot be generated records the first message in
// `error` and yields poison; the compiler checks once at the end.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_EMITTER_H
#define QUERN_COMPILER_LOWER_CPU_EMITTER_H

#include "compiler/lower/cpu/CpuTarget.h"
#include "runtime/core/DType.h"

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/Module.h"

namespace quern::cpugen {

/// Which memory an access touches; accesses of different kinds never overlap.
enum class Memory : uint8_t {
  Read,    ///< Buffers the kernel only reads.
  Written, ///< Buffers the kernel writes.
  Scratch, ///< The call's own scratch memory.
};

/// The value of an integer constant, or nothing.
std::optional<int64_t> constantOf(llvm::Value *value);

class Emitter {
public:
  using Value = llvm::Value;
  using Values = llvm::SmallVector<llvm::Value *, 4>;

  Emitter(llvm::Module &module, const CpuTarget &target);

  llvm::Module &module;
  llvm::LLVMContext &context;
  const CpuTarget &target;
  llvm::IRBuilder<> b;
  /// The first thing that could not be generated.
  std::string error;

  Value *unsupported(std::string message, llvm::Type *type);

  //===--- Functions and control flow -------------------------------------===//

  /// Starts a function with this level's attributes; the builder stands in its
  /// entry block.
  llvm::Function *beginFunction(llvm::StringRef name, llvm::FunctionType *type,
                                bool external);
  /// for (iv = lo; iv < hi; iv += step) carried = body(iv, carried).
  Values
  loop(Value *lo, Value *hi, Value *step, llvm::ArrayRef<Value *> inits,
       llvm::function_ref<Values(Value *, llvm::ArrayRef<Value *>)> body);
  void loop(Value *lo, Value *hi, Value *step,
            llvm::function_ref<void(Value *)> body);
  /// The same where lo < hi is known.
  void loopOnceOrMore(Value *lo, Value *hi, Value *step,
                      llvm::function_ref<void(Value *)> body);
  /// Values of the branch taken.
  Values branch(Value *condition, llvm::function_ref<Values()> then,
                llvm::function_ref<Values()> otherwise);
  void when(Value *condition, llvm::function_ref<void()> then);
  /// A stack slot of the function.
  llvm::AllocaInst *stack(llvm::Type *type, llvm::Align align);

  //===--- Integers -------------------------------------------------------===//

  llvm::ConstantInt *i64(int64_t value) { return b.getInt64(value); }
  Value *add(Value *x, Value *y);
  Value *mul(Value *x, Value *y);
  /// Rounding down and up, for a positive divisor.
  Value *floorDiv(Value *x, Value *y);
  Value *ceilDiv(Value *x, Value *y);
  Value *mod(Value *x, Value *y);
  Value *min(Value *x, Value *y);
  Value *max(Value *x, Value *y);

  //===--- Vectors --------------------------------------------------------===//

  static unsigned width(Value *value);
  /// The scalar type, or a vector of it with the width of `like`.
  llvm::Type *typeLike(Value *like, llvm::Type *scalar);
  llvm::Type *vectorType(llvm::Type *scalar, unsigned lanes);
  Value *splat(Value *scalar, unsigned lanes);
  /// <0, 1, 2, ...> of i64.
  Value *iota(unsigned lanes);
  /// Lanes whose number is below `count`.
  Value *maskBelow(Value *count, unsigned lanes);

  /// sum + the products of the four bytes of each lane of x and y, modulo 2^32.
  /// One instruction on levels that have it for these signs, or three where it
  /// is known that the products fit (CpuTarget.h).
  Value *dotBytes(Value *sum, Value *x, bool xUnsigned, Value *y,
                  bool yUnsigned);
  /// Where that takes three (ByteDot::Narrow): the first, the products of two
  /// bytes in lanes of 16 bits, of operands of different sign; and the other
  /// two, sum + the two such lanes of each lane.
  Value *dotByteTwos(Value *x, Value *y, bool yUnsigned);
  /// The sums of the two products of 16 bits in each lane of x and y (pmaddwd).
  Value *dotWords(Value *x, Value *y);
  Value *addTwos(Value *sum, Value *twos);

  //===--- Memory ---------------------------------------------------------===//

  /// The type a stored element has in generated code.
  llvm::Type *storageType(DType type);
  Value *load(llvm::Type *type, Value *address, Memory memory,
              unsigned align = 1);
  void store(Value *value, Value *address, Memory memory, unsigned align = 1);
  Value *loadMasked(llvm::Type *type, Value *address, Value *mask,
                    Memory memory);
  void storeMasked(Value *value, Value *address, Value *mask, Memory memory);
  /// Loads lane by lane; switched-off lanes read where lane 0 does.
  Value *gather(llvm::Type *type, Value *addresses, Value *mask, Memory memory);
  void scatter(Value *value, Value *addresses, Value *mask, Memory memory);
  /// base + bytes (a number or a vector of numbers).
  Value *offset(Value *base, Value *bytes);

  //===--- f32 ------------------------------------------------------------===//

  Value *f32(float value, Value *like);
  Value *i32(int64_t value, Value *like);
  Value *bits(Value *value);  ///< f32 to i32.
  Value *float_(Value *bits); ///< i32 to f32.
  Value *fma(Value *x, Value *y, Value *z);
  Value *roundEven(Value *x);
  Value *sqrt(Value *x);
  Value *abs(Value *x);
  Value *maximum(Value *x, Value *y);
  Value *minimum(Value *x, Value *y);
  /// The polynomials of docs/numerics.md.
  Value *exp(Value *x);
  Value *tanh(Value *x);
  Value *erf(Value *x);

  /// Exact, from the stored bits of a float type.
  Value *decode(Value *stored, DType type);
  /// Rounded half to even; f8 saturates.
  Value *encode(Value *value, DType type);
  /// The same to an 8-bit type, of a finite number that does not saturate.
  /// `near` is the number but for a few units in the last place, and has the
  /// sign that the code gets.
  Value *encodeBounded(Value *value, Value *near, DType type);

private:
  llvm::Instruction *tag(llvm::Instruction *access, Memory memory);
  Value *softFma(Value *x, Value *y, Value *z);

  llvm::MDNode *scopes[3];  ///< alias.scope list of each kind.
  llvm::MDNode *noalias[3]; ///< The other kinds.
};

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_EMITTER_H
