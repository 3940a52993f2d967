//===- Opcodes.cpp - The instructions the simulator knows -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Opcodes.h"

#include <unordered_map>

using namespace quern;
using namespace quern::sim;

using OpcodeMap = std::unordered_multimap<std::string_view, const Opcode *>;

static const OpcodeMap &opcodeMap() {
  static const OpcodeMap map = [] {
    OpcodeMap all;
    for (std::span<const Opcode> family :
         {integerOpcodes(), carryOpcodes(), bitOpcodes(), floatOpcodes(),
          convertOpcodes(), compareOpcodes(), moveOpcodes(), memoryOpcodes(),
          atomicOpcodes(), asyncCopyOpcodes(), matrixOpcodes(), wgmmaOpcodes(),
          registerCountOpcodes(), warpOpcodes(), barrierOpcodes(),
          mbarrierOpcodes(), fenceOpcodes(), clusterOpcodes(),
          tensorMapOpcodes()})
      for (const Opcode &opcode : family)
        all.emplace(opcode.name, &opcode);
    return all;
  }();
  return map;
}

const Opcode *sim::findOpcode(const ptx::Statement &statement) {
  bool isFloat = false;
  for (std::string_view modifier : statement.modifiers)
    if (std::optional<Type> type = parseType(modifier))
      isFloat =
          type->kind == Type::Kind::Float || type->kind == Type::Kind::BFloat;
  auto [begin, end] = opcodeMap().equal_range(statement.name);
  for (auto it = begin; it != end; ++it) {
    const Opcode *opcode = it->second;
    if (opcode->domain == Opcode::Domain::Any ||
        (opcode->domain == Opcode::Domain::Float) == isFloat)
      return opcode;
  }
  return nullptr;
}
