//===- InstrBuilder.h - Decoding one instruction ----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The means by which an instruction family turns a PTX statement into an
// `Instr`. A family is a table of `Opcode`s (see Opcodes.h), each with a decode
// function that takes the statement's modifiers, binds its operands to
// registers and sets `instr.exec`:
//
//     static void decodePopc(InstrBuilder &b) {
//       Type type = b.type();
//       b.result(0, 4);
//       b.source(1, type.bytes);
//       b.instr.exec = type.bytes == 8 ? popc<uint64_t> : popc<uint32_t>;
//     }
//
// Results and sources fill `instr.slots` in the order they are bound. The first
// error is kept and turns the rest into no-ops, so decode functions need not
// check. A modifier that nobody took is an error: no instruction is ever
// executed with part of its meaning ignored.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_INSTRBUILDER_H
#define QUERN_DEVICE_SIM_INSTRBUILDER_H

#include "runtime/core/Result.h"
#include "runtime/device/sim/Program.h"
#include "runtime/device/sim/PtxSyntax.h"

#include <initializer_list>
#include <optional>
#include <string_view>

namespace quern {
inline namespace v0 {
namespace sim {

/// An instruction's type modifier.
struct Type {
  enum class Kind : uint8_t {
    Bits,
    Unsigned,
    Signed,
    Float,
    BFloat,
    TFloat, ///< tf32
    E4M3,
    E5M2,
    E3M2,
    E2M3,
    E2M1,
    UE8M0,
    Predicate,
  };
  Kind kind = Kind::Bits;
  uint8_t bytes = 4; ///< Of the whole register: 4 for f16x2.
  bool packed = false;

  bool isInteger() const {
    return kind == Kind::Bits || kind == Kind::Unsigned || kind == Kind::Signed;
  }
  bool isSigned() const { return kind == Kind::Signed; }
  bool is(Kind k, unsigned width, bool isPacked = false) const {
    return kind == k && bytes == width && packed == isPacked;
  }
};
std::optional<Type> parseType(std::string_view word);

/// A declared register; `bytes` is 1 for predicates.
struct Register {
  uint32_t slot = 0;
  uint8_t bytes = 4;
};

class Decoder;
struct SpecialRegister;

class InstrBuilder {
public:
  InstrBuilder(Decoder &decoder, const ptx::Statement &statement)
      : statement(statement), decoder(decoder), modifiers(statement.modifiers) {
  }

  const ptx::Statement &statement;
  Instr instr;

  // Modifiers.

  /// Takes the modifier if it is there.
  bool take(std::string_view modifier);
  /// Takes the first of `choices` that is there; its index, or -1.
  int takeOneOf(std::initializer_list<std::string_view> choices);
  /// The earliest modifier that is one of `choices`, left in place; empty if
  /// there is none.
  std::string_view
  firstOf(std::initializer_list<std::string_view> choices) const;
  /// Drops modifiers that do not change what the simulator does.
  void ignore(std::initializer_list<std::string_view> hints);
  /// Takes the first type modifier left.
  std::optional<Type> takeType();
  /// The same, an error if there is none.
  Type type();

  // Operands. `index` counts the statement's operands.

  size_t operandCount() const { return statement.operands.size(); }
  const ptx::Operand &operand(size_t index);
  /// An error unless the statement has that many operands.
  void expectOperands(size_t least, size_t most);

  /// A destination of exactly `bytes`; `_` gives slot 0.
  uint32_t result(size_t index, unsigned bytes) {
    return result(operand(index), bytes);
  }
  uint32_t result(const ptx::Operand &operand, unsigned bytes);
  uint32_t predicateResult(const ptx::Operand &operand);
  /// A destination at least as wide as `bytes`; its width goes to `width`.
  uint32_t wideResult(const ptx::Operand &operand, unsigned bytes,
                      unsigned &width);
  /// A register, special register, symbol's address or immediate.
  uint32_t source(size_t index, unsigned bytes) {
    return source(operand(index), bytes);
  }
  uint32_t source(const ptx::Operand &operand, unsigned bytes);
  uint32_t wideSource(const ptx::Operand &operand, unsigned bytes,
                      unsigned &width);
  /// `negated` tells of a leading `!`.
  uint32_t predicateSource(const ptx::Operand &operand, bool &negated);
  /// The elements of {a, b, ...}, or the operand itself.
  std::vector<const ptx::Operand *> elements(size_t index);
  Address address(size_t index) { return address(operand(index)); }
  Address address(const ptx::Operand &operand);
  /// An operand that must be a constant.
  uint64_t immediate(size_t index);

  /// CC.CF as the next result or source, or nothing unless `used`.
  void carryFlag(bool isResult, bool used);

  /// Operands beyond instr.slots: appended to instr's vector list. Results and
  /// sources are told apart by which function bound them.
  void addToVector(uint32_t slot) { vector.push_back(slot); }

  void refuse(std::string message);
  /// An error unless the module's .target is sm_`number` or higher.
  void requireTarget(unsigned number, std::string_view what);
  /// An error unless the module's .target is one of these ("sm_90a").
  void requireTargets(std::initializer_list<std::string_view> targets,
                      std::string_view what);
  bool failed() const { return hasFailed; }
  /// Checks that nothing was left over and hands the operands to the kernel.
  void finish();

  Decoder &decoder;

private:
  uint32_t readSpecial(const SpecialRegister &special);
  uint32_t bind(uint32_t slot, bool isResult);
  uint32_t constant(const ptx::Operand &operand, unsigned bytes);

  std::vector<std::string_view> modifiers;
  std::vector<uint32_t> results;
  std::vector<uint32_t> sources;
  std::vector<uint32_t> vector;
  unsigned nextSlot = 0;
  bool hasFailed = false;
};

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_INSTRBUILDER_H
