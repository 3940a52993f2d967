//===- Decoder.h - From the PTX tree to programs ----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Turns a kernel of a parsed module into a `Kernel`: registers and symbols get
// places, instructions are decoded by their families, branches are resolved,
// device functions inlined. An unknown instruction, modifier, register or
// symbol is an error that names it and its PTX line; recursion is refused.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_DECODER_H
#define QUERN_DEVICE_SIM_DECODER_H

#include "runtime/device/sim/InstrBuilder.h"
#include "runtime/device/sim/RegisterSlots.h"

#include <map>
#include <unordered_map>

namespace quern {
inline namespace v0 {
namespace sim {

/// Where a variable lives.
struct Symbol {
  AddressSpace space = AddressSpace::Global;
  uint64_t address = 0;
};
using SymbolTable = std::map<std::string_view, Symbol>;

/// "sm_90a": 90 and 'a'.
struct TargetArch {
  unsigned number = 0;
  char suffix = 0; ///< 'a', 'f' or 0.
};
TargetArch parseTargetArch(std::string_view target);

/// `globals` holds the module's `.global` and `.const` variables.
/// `sharedLimit` is the largest static shared memory accepted.
Result<Kernel> decodeKernel(const ptx::Module &module,
                            const ptx::Function &entry,
                            const SymbolTable &globals);

/// The bytes of one element of a declared type; 0 if the type is unknown.
unsigned elementBytes(std::string_view type);

class Decoder {
public:
  Decoder(const ptx::Module &module, const SymbolTable &globals)
      : target(parseTargetArch(module.target)), module(module),
        globals(globals) {}

  Result<Kernel> run(const ptx::Function &entry);

  // What InstrBuilder asks for.

  std::optional<Register> findRegister(std::string_view name) const;
  std::optional<Symbol> findSymbol(std::string_view name) const;
  /// A register holding `value` in every lane.
  uint32_t constant(uint64_t value, unsigned bytes);
  uint32_t newRegister(unsigned bytes);
  /// CC.CF, a predicate.
  uint32_t carryFlag() {
    if (!carrySlot)
      carrySlot = newRegister(1);
    return carrySlot;
  }
  uint32_t intern(std::string_view spelling);
  void refuse(uint32_t line, std::string message);

  Kernel kernel;
  const TargetArch target;

private:
  struct Scope {
    uint32_t id = 0;
    std::unordered_map<std::string_view, Register> registers;
    /// `%r<n>`: the first register and how many.
    struct Family {
      Register first;
      uint32_t count;
    };
    std::unordered_map<std::string_view, Family> families;
    std::unordered_map<std::string_view, Symbol> symbols;
    /// What .branchtargets declared.
    std::unordered_map<std::string_view, const ptx::Statement *> targetLists;
  };
  struct Fixup {
    /// Index into Kernel::branchTargets, else into Kernel::code.
    bool indexed = false;
    size_t at;
    std::string_view label;
    std::vector<uint32_t> scopes; ///< Innermost last.
    uint32_t line;
  };
  /// One function body being decoded: the kernel's or an inlined callee's.
  struct Frame {
    const ptx::Function *function = nullptr;
    std::vector<Scope> scopes;
    std::map<std::pair<uint32_t, std::string_view>, uint32_t> labels;
    std::vector<Fixup> fixups;
    std::vector<size_t> returns; ///< Branches to the end of the body.
    bool inlined = false;
  };

  void placeSharedVariables(const ptx::Function &entry);
  void placeParameters(const ptx::Function &entry);
  void decodeBody(Frame &frame, unsigned depth);
  void declare(Frame &frame, const ptx::Variable &variable);
  void decodeInstruction(Frame &frame, const ptx::Statement &statement,
                         unsigned depth);
  void decodeBranch(Frame &frame, const ptx::Statement &statement);
  void declareTargets(Frame &frame, const ptx::Statement &statement);
  void decodeIndexedBranch(Frame &frame, const ptx::Statement &statement);
  void resolveBranches(Frame &frame);
  void decodeCall(const ptx::Statement &statement, unsigned depth);
  Symbol allocateLocal(const ptx::Variable &variable);
  Instr controlInstr(const ptx::Statement &statement, Flow flow);

  const ptx::Module &module;
  const SymbolTable &globals;
  std::vector<Frame *> frames;
  std::vector<RegisterPlace> registers;
  std::unordered_map<std::string_view, Symbol> sharedSymbols;
  std::map<std::pair<uint64_t, unsigned>, uint32_t> constants;
  std::unordered_map<std::string_view, uint32_t> spellingIndex;
  uint32_t carrySlot = 0;
  bool failed = false;
  Diagnostic error;

  friend class InstrBuilder;
};

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_DECODER_H
