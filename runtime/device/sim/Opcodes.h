//===- Opcodes.h - The instructions the simulator knows ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// One table for each instruction family, in the file that decodes and executes
// it: to add an instruction, add a row there. Opcodes are keyed by their first
// word; a family tells variants apart by modifiers.
//
// An instruction that no family knows is refused when a module is loaded.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_OPCODES_H
#define QUERN_DEVICE_SIM_OPCODES_H

#include "runtime/device/sim/InstrBuilder.h"

#include <span>

namespace quern {
inline namespace v0 {
namespace sim {

struct Opcode {
  /// Arithmetic on integers and on floats shares names.
  enum class Domain : uint8_t { Any, Integer, Float };
  std::string_view name;
  InstrClass instrClass;
  void (*decode)(InstrBuilder &builder);
  Domain domain = Domain::Any;
};

std::span<const Opcode> integerOpcodes();
std::span<const Opcode> carryOpcodes();
std::span<const Opcode> bitOpcodes();
std::span<const Opcode> floatOpcodes();
std::span<const Opcode> convertOpcodes();
std::span<const Opcode> compareOpcodes();
std::span<const Opcode> moveOpcodes();
std::span<const Opcode> memoryOpcodes();
std::span<const Opcode> atomicOpcodes();
std::span<const Opcode> asyncCopyOpcodes();
std::span<const Opcode> matrixOpcodes();
std::span<const Opcode> wgmmaOpcodes();
std::span<const Opcode> registerCountOpcodes();
std::span<const Opcode> warpOpcodes();
std::span<const Opcode> barrierOpcodes();
std::span<const Opcode> mbarrierOpcodes();
std::span<const Opcode> fenceOpcodes();
std::span<const Opcode> clusterOpcodes();
std::span<const Opcode> tensorMapOpcodes();

/// Null if no family has it.
const Opcode *findOpcode(const ptx::Statement &statement);

/// The execution function that reads special register `name` ("%tid.x") into
/// instr.slots[0], and its width (1: a predicate); null if there is none.
struct SpecialRegister {
  ExecFn exec = nullptr;
  uint8_t bytes = 4;
};
SpecialRegister findSpecialRegister(std::string_view name);

} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_OPCODES_H
