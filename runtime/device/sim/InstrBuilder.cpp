//===- InstrBuilder.cpp - Decoding one instruction ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/InstrBuilder.h"

#include "runtime/device/sim/Decoder.h"
#include "runtime/device/sim/Opcodes.h"

#include <algorithm>
#include <bit>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;
using ptx::Operand;

std::optional<Type> sim::parseType(std::string_view word) {
  using K = Type::Kind;
  static const std::pair<std::string_view, Type> table[] = {
      {"b8", {K::Bits, 1}},
      {"b16", {K::Bits, 2}},
      {"b32", {K::Bits, 4}},
      {"b64", {K::Bits, 8}},
      {"u8", {K::Unsigned, 1}},
      {"u16", {K::Unsigned, 2}},
      {"u32", {K::Unsigned, 4}},
      {"u64", {K::Unsigned, 8}},
      {"s8", {K::Signed, 1}},
      {"s16", {K::Signed, 2}},
      {"s32", {K::Signed, 4}},
      {"s64", {K::Signed, 8}},
      {"f16", {K::Float, 2}},
      {"f16x2", {K::Float, 4, true}},
      {"f32", {K::Float, 4}},
      {"f32x2", {K::Float, 8, true}},
      {"f64", {K::Float, 8}},
      {"bf16", {K::BFloat, 2}},
      {"bf16x2", {K::BFloat, 4, true}},
      {"tf32", {K::TFloat, 4}},
      {"e4m3", {K::E4M3, 1}},
      {"e5m2", {K::E5M2, 1}},
      {"e4m3x2", {K::E4M3, 2, true}},
      {"e5m2x2", {K::E5M2, 2, true}},
      {"e3m2", {K::E3M2, 1}},
      {"e2m3", {K::E2M3, 1}},
      {"e2m1", {K::E2M1, 1}},
      {"e3m2x2", {K::E3M2, 2, true}},
      {"e2m3x2", {K::E2M3, 2, true}},
      {"e2m1x2", {K::E2M1, 1, true}},
      {"ue8m0x2", {K::UE8M0, 2, true}},
      {"pred", {K::Predicate, 1}},
      {"u16x2", {K::Unsigned, 4, true}},
      {"s16x2", {K::Signed, 4, true}},
  };
  for (const auto &[name, type] : table)
    if (name == word)
      return type;
  return std::nullopt;
}

bool InstrBuilder::take(std::string_view modifier) {
  auto it = std::find(modifiers.begin(), modifiers.end(), modifier);
  if (it == modifiers.end())
    return false;
  modifiers.erase(it);
  return true;
}

int InstrBuilder::takeOneOf(std::initializer_list<std::string_view> choices) {
  int index = 0;
  for (std::string_view choice : choices) {
    if (take(choice))
      return index;
    ++index;
  }
  return -1;
}

std::string_view
InstrBuilder::firstOf(std::initializer_list<std::string_view> choices) const {
  for (std::string_view modifier : modifiers)
    if (std::find(choices.begin(), choices.end(), modifier) != choices.end())
      return modifier;
  return {};
}

void InstrBuilder::ignore(std::initializer_list<std::string_view> hints) {
  for (std::string_view hint : hints)
    take(hint);
}

std::optional<Type> InstrBuilder::takeType() {
  for (auto it = modifiers.begin(); it != modifiers.end(); ++it)
    if (std::optional<Type> type = parseType(*it)) {
      modifiers.erase(it);
      return type;
    }
  return std::nullopt;
}

Type InstrBuilder::type() {
  if (std::optional<Type> type = takeType())
    return *type;
  refuse("the instruction has no type");
  return Type();
}

const Operand &InstrBuilder::operand(size_t index) {
  static const Operand none;
  if (index < statement.operands.size())
    return statement.operands[index];
  refuse(fmt::format("operand {} is missing", index + 1));
  return none;
}

void InstrBuilder::expectOperands(size_t least, size_t most) {
  size_t count = operandCount();
  if (count >= least && count <= most)
    return;
  refuse(least == most
             ? fmt::format("{} operands; {} are expected", count, least)
             : fmt::format("{} operands; {} to {} are expected", count, least,
                           most));
}

uint32_t InstrBuilder::bind(uint32_t slot, bool isResult) {
  if (hasFailed)
    return 0;
  if (slot)
    (isResult ? results : sources).push_back(slot);
  if (nextSlot < instr.slots.size())
    instr.slots[nextSlot] = slot;
  ++nextSlot;
  return slot;
}

void InstrBuilder::carryFlag(bool isResult, bool used) {
  bind(used ? decoder.carryFlag() : 0, isResult);
}

static std::string describe(unsigned bytes) {
  return bytes == 1 ? "a predicate" : fmt::format("{} bits wide", bytes * 8);
}

uint32_t InstrBuilder::result(const Operand &operand, unsigned bytes) {
  if (operand.kind == Operand::Kind::Name && operand.name == "_")
    return bind(0, true);
  unsigned width = 0;
  uint32_t slot = wideResult(operand, bytes, width);
  if (!hasFailed && width != bytes)
    refuse(fmt::format("register {} is {}, not {}", operand.name,
                       describe(width), describe(bytes)));
  return slot;
}

uint32_t InstrBuilder::wideResult(const Operand &operand, unsigned bytes,
                                  unsigned &width) {
  width = bytes;
  if (hasFailed)
    return 0;
  if (operand.kind != Operand::Kind::Name || operand.offset ||
      operand.negated) {
    refuse("the result is no register");
    return 0;
  }
  if (operand.name == "_")
    return bind(0, true);
  std::optional<Register> reg = decoder.findRegister(operand.name);
  if (!reg) {
    refuse(fmt::format("unknown register '{}'", operand.name));
    return 0;
  }
  if (reg->bytes < bytes) {
    refuse(fmt::format("register {} is too narrow for {} bits", operand.name,
                       bytes * 8));
    return 0;
  }
  width = reg->bytes;
  return bind(reg->slot, true);
}

uint32_t InstrBuilder::predicateResult(const Operand &operand) {
  if (operand.kind == Operand::Kind::Name && operand.name == "_")
    return bind(0, true);
  std::optional<Register> reg = operand.kind == Operand::Kind::Name
                                    ? decoder.findRegister(operand.name)
                                    : std::nullopt;
  if (!reg || reg->bytes != 1) {
    refuse(fmt::format("'{}' is no predicate", operand.name));
    return 0;
  }
  return bind(reg->slot, true);
}

uint32_t InstrBuilder::constant(const Operand &operand, unsigned bytes) {
  uint64_t value = operand.value;
  if (operand.bits == Operand::Bits::Float32 && bytes == 8)
    value = std::bit_cast<uint64_t>(
        double(std::bit_cast<float>(static_cast<uint32_t>(value))));
  else if (operand.bits == Operand::Bits::Float64 && bytes == 4)
    value = std::bit_cast<uint32_t>(
        static_cast<float>(std::bit_cast<double>(value)));
  else if (operand.bits != Operand::Bits::Integer && bytes < 4)
    refuse("a floating-point literal does not fit the operand");
  if (bytes < 8)
    value &= (uint64_t(1) << (bytes * 8)) - 1;
  return decoder.constant(value, bytes);
}

/// Puts an instruction before this one that reads a special register.
uint32_t InstrBuilder::readSpecial(const SpecialRegister &special) {
  Instr read;
  read.exec = special.exec;
  read.slots[0] = decoder.newRegister(special.bytes);
  read.line = statement.line;
  read.location = statement.location;
  read.spelling = decoder.intern(statement.spelling);
  read.usesBegin = static_cast<uint32_t>(decoder.kernel.slotPool.size());
  read.resultCount = 1;
  decoder.kernel.slotPool.push_back(read.slots[0]);
  decoder.kernel.code.push_back(read);
  return read.slots[0];
}

uint32_t InstrBuilder::source(const Operand &operand, unsigned bytes) {
  unsigned width = bytes;
  uint32_t slot = wideSource(operand, bytes, width);
  if (!hasFailed && width != bytes)
    refuse(fmt::format("register {} is {}, not {}", operand.name,
                       describe(width), describe(bytes)));
  return slot;
}

uint32_t InstrBuilder::wideSource(const Operand &operand, unsigned bytes,
                                  unsigned &width) {
  // Bytes are kept in 16-bit registers at least.
  width = std::max(bytes, 2u);
  if (hasFailed)
    return 0;
  if (operand.kind == Operand::Kind::Immediate)
    return bind(constant(operand, width), false);
  if (operand.kind != Operand::Kind::Name || operand.negated) {
    refuse("an operand is neither a register nor a constant");
    return 0;
  }
  if (std::optional<Register> reg = decoder.findRegister(operand.name)) {
    if (operand.offset || reg->bytes == 1 || reg->bytes < bytes) {
      refuse(fmt::format("register {} is {}, not {}", operand.name,
                         describe(reg->bytes), describe(bytes)));
      return 0;
    }
    width = reg->bytes;
    return bind(reg->slot, false);
  }
  if (SpecialRegister special = findSpecialRegister(operand.name);
      special.exec && special.bytes > 1) {
    if (bytes > special.bytes && !(special.bytes == 4 && bytes == 8)) {
      refuse(fmt::format("{} has {} bits", operand.name, special.bytes * 8));
      return 0;
    }
    uint32_t slot = readSpecial(special);
    width = special.bytes;
    return bind(slot, false);
  }
  if (std::optional<Symbol> symbol = decoder.findSymbol(operand.name)) {
    if (bytes < 4) {
      refuse(fmt::format("the address of '{}' does not fit", operand.name));
      return 0;
    }
    Operand value;
    value.kind = Operand::Kind::Immediate;
    value.value = symbol->address + static_cast<uint64_t>(operand.offset);
    return bind(constant(value, bytes), false);
  }
  refuse(fmt::format("'{}' is not declared{}", operand.name,
                     operand.name.starts_with('%')
                         ? ", nor a special register the simulator has"
                         : ""));
  return 0;
}

uint32_t InstrBuilder::predicateSource(const Operand &operand, bool &negated) {
  negated = operand.negated;
  if (hasFailed)
    return 0;
  if (operand.kind == Operand::Kind::Immediate)
    return bind(decoder.constant(operand.value ? 1 : 0, 1), false);
  std::optional<Register> reg = operand.kind == Operand::Kind::Name
                                    ? decoder.findRegister(operand.name)
                                    : std::nullopt;
  if (operand.kind == Operand::Kind::Name && !reg)
    if (SpecialRegister special = findSpecialRegister(operand.name);
        special.exec && special.bytes == 1)
      return bind(readSpecial(special), false);
  if (!reg || reg->bytes != 1) {
    refuse(fmt::format("'{}' is no predicate", operand.name));
    return 0;
  }
  return bind(reg->slot, false);
}

std::vector<const Operand *> InstrBuilder::elements(size_t index) {
  std::vector<const Operand *> list;
  const Operand &whole = operand(index);
  if (whole.kind == Operand::Kind::Vector)
    for (const Operand &element : whole.elements)
      list.push_back(&element);
  else
    list.push_back(&whole);
  return list;
}

Address InstrBuilder::address(const Operand &operand) {
  Address result;
  if (hasFailed)
    return result;
  if (operand.kind != Operand::Kind::Address || operand.elements.size() != 1) {
    refuse("expected an address in brackets");
    return result;
  }
  const Operand &base = operand.elements[0];
  result.offset = base.offset;
  // Addresses wrap.
  auto move = [&](uint64_t by) {
    result.offset =
        static_cast<int64_t>(static_cast<uint64_t>(result.offset) + by);
  };
  if (base.kind == Operand::Kind::Immediate) {
    move(base.value);
    return result;
  }
  if (base.kind != Operand::Kind::Name || base.negated) {
    refuse("the address has no base");
    return result;
  }
  if (std::optional<Register> reg = decoder.findRegister(base.name)) {
    if (reg->bytes < 4) {
      refuse(fmt::format("register {} cannot hold an address", base.name));
      return result;
    }
    result.slot = reg->slot;
    result.wide = reg->bytes == 8;
    if (reg->slot)
      sources.push_back(reg->slot);
    return result;
  }
  if (std::optional<Symbol> symbol = decoder.findSymbol(base.name)) {
    move(symbol->address);
    return result;
  }
  refuse(fmt::format("'{}' is not declared", base.name));
  return result;
}

uint64_t InstrBuilder::immediate(size_t index) {
  const Operand &value = operand(index);
  if (value.kind == Operand::Kind::Immediate &&
      value.bits == Operand::Bits::Integer)
    return value.value;
  refuse(fmt::format("operand {} must be a constant", index + 1));
  return 0;
}

void InstrBuilder::refuse(std::string message) {
  if (hasFailed)
    return;
  hasFailed = true;
  decoder.refuse(statement.line,
                 fmt::format("{}: {}", statement.spelling, message));
}

void InstrBuilder::requireTarget(unsigned number, std::string_view what) {
  if (decoder.target.number < number)
    refuse(fmt::format("{} needs .target sm_{} or higher; the module's is {}",
                       what, number, decoder.module.target));
}

void InstrBuilder::requireTargets(
    std::initializer_list<std::string_view> targets, std::string_view what) {
  std::string list;
  for (std::string_view target : targets) {
    TargetArch arch = parseTargetArch(target);
    if (decoder.target.number == arch.number &&
        decoder.target.suffix == arch.suffix)
      return;
    list += fmt::format("{}{}", list.empty() ? "" : " or ", target);
  }
  refuse(fmt::format("{} needs .target {}; the module's is {}", what, list,
                     decoder.module.target));
}

void InstrBuilder::finish() {
  if (!modifiers.empty())
    refuse(fmt::format("the simulator does not know modifier '.{}' here",
                       modifiers.front()));
  if (!hasFailed && (results.size() > 255 || sources.size() > 255))
    refuse("too many operands");
  if (hasFailed)
    return;
  std::vector<uint32_t> &pool = decoder.kernel.slotPool;
  instr.vectorBegin = static_cast<uint32_t>(pool.size());
  instr.vectorCount = static_cast<uint16_t>(vector.size());
  pool.insert(pool.end(), vector.begin(), vector.end());
  instr.usesBegin = static_cast<uint32_t>(pool.size());
  instr.sourceCount = static_cast<uint8_t>(sources.size());
  instr.resultCount = static_cast<uint8_t>(results.size());
  pool.insert(pool.end(), sources.begin(), sources.end());
  pool.insert(pool.end(), results.begin(), results.end());
}
