//===- Decoder.cpp - From the PTX tree to programs ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Decoder.h"

#include "runtime/device/sim/Opcodes.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;
using ptx::Operand;
using ptx::Statement;

static constexpr uint32_t maxRegisterBytes = 64u << 20;
static constexpr uint32_t maxLocalBytes = 512 << 10;
static constexpr uint32_t maxSharedBytes = 256 << 10;
static constexpr uint32_t maxParameterBytes = 32764;
static constexpr size_t maxInstructions = size_t(1) << 21;

unsigned sim::elementBytes(std::string_view type) {
  std::optional<Type> parsed = parseType(type);
  return parsed ? parsed->bytes : 0;
}

TargetArch sim::parseTargetArch(std::string_view target) {
  TargetArch arch;
  size_t at = target.find("sm_");
  if (at == std::string_view::npos)
    return arch;
  for (at += 3; at < target.size() && target[at] >= '0' && target[at] <= '9' &&
                arch.number < 1000;
       ++at)
    arch.number = arch.number * 10 + static_cast<unsigned>(target[at] - '0');
  if (at < target.size() && (target[at] == 'a' || target[at] == 'f'))
    arch.suffix = target[at];
  return arch;
}

static uint64_t alignTo(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

//===----------------------------------------------------------------------===//
// Lookups
//===----------------------------------------------------------------------===//

std::optional<Register> Decoder::findRegister(std::string_view name) const {
  const Frame &frame = *frames.back();
  size_t digits = name.size();
  while (digits && name[digits - 1] >= '0' && name[digits - 1] <= '9')
    --digits;
  std::string_view prefix = name.substr(0, digits);
  std::string_view number = name.substr(digits);
  // A member of a family is written without leading zeros.
  bool member = !number.empty() && number.size() <= 7 &&
                (number.size() == 1 || number[0] != '0');
  uint32_t index = 0;
  for (char c : number.substr(0, member ? number.size() : 0))
    index = index * 10 + static_cast<uint32_t>(c - '0');
  for (auto scope = frame.scopes.rbegin(); scope != frame.scopes.rend();
       ++scope) {
    if (auto it = scope->registers.find(name); it != scope->registers.end())
      return it->second;
    if (!member)
      continue;
    auto family = scope->families.find(prefix);
    if (family == scope->families.end() || index >= family->second.count)
      continue;
    Register reg = family->second.first;
    reg.slot += index * (reg.bytes == 1 ? 64 : reg.bytes * 32);
    return reg;
  }
  return std::nullopt;
}

std::optional<Symbol> Decoder::findSymbol(std::string_view name) const {
  const Frame &frame = *frames.back();
  for (auto scope = frame.scopes.rbegin(); scope != frame.scopes.rend();
       ++scope)
    if (auto it = scope->symbols.find(name); it != scope->symbols.end())
      return it->second;
  if (auto it = sharedSymbols.find(name); it != sharedSymbols.end())
    return it->second;
  if (auto it = globals.find(name); it != globals.end())
    return it->second;
  return std::nullopt;
}

uint32_t Decoder::newRegister(unsigned bytes) {
  uint32_t size = bytes == 1 ? 64 : bytes * 32;
  uint32_t slot = kernel.registerBytes;
  if (slot > maxRegisterBytes - size) {
    refuse(0, "the kernel declares too many registers");
    return 64;
  }
  kernel.registerBytes += size;
  registers.push_back({slot, size});
  return slot;
}

uint32_t Decoder::constant(uint64_t value, unsigned bytes) {
  auto [it, fresh] = constants.try_emplace({value, bytes}, 0);
  if (fresh) {
    it->second = newRegister(bytes);
    kernel.constants.push_back(
        {it->second, static_cast<uint8_t>(bytes), value});
  }
  return it->second;
}

uint32_t Decoder::intern(std::string_view spelling) {
  auto [it, fresh] = spellingIndex.try_emplace(
      spelling, static_cast<uint32_t>(kernel.spellings.size()));
  if (fresh)
    kernel.spellings.emplace_back(spelling);
  return it->second;
}

void Decoder::refuse(uint32_t line, std::string message) {
  if (failed)
    return;
  failed = true;
  error = fail(Errc::Unsupported,
               fmt::format("kernel {}: {}", kernel.name, message));
  error.file = "PTX";
  error.line = line;
}

//===----------------------------------------------------------------------===//
// Storage
//===----------------------------------------------------------------------===//

/// The size of a variable, 0 and an error if it makes no sense.
static uint64_t variableBytes(const ptx::Variable &variable) {
  return elementBytes(variable.type) * variable.elements;
}

static uint32_t variableAlign(const ptx::Variable &variable) {
  return std::max(variable.align, elementBytes(variable.type));
}

/// Static shared variables of the module and of every function come first,
/// dynamic shared memory behind them.
void Decoder::placeSharedVariables(const ptx::Function &entry) {
  uint64_t offset = 0;
  uint32_t dynamicAlign = 16;
  std::vector<std::string_view> dynamic;
  // Module-level variables count only in kernels that name them.
  std::unordered_map<std::string_view, bool> named;
  auto scan = [&](const ptx::Function &function) {
    std::vector<const Operand *> work;
    for (const Statement &statement : function.body)
      for (const Operand &operand : statement.operands)
        work.push_back(&operand);
    while (!work.empty()) {
      const Operand *operand = work.back();
      work.pop_back();
      if (!operand->name.empty())
        named[operand->name] = true;
      for (const Operand &element : operand->elements)
        work.push_back(&element);
    }
  };
  auto place = [&](const ptx::Variable &variable) {
    uint32_t align = variableAlign(variable);
    if (!align)
      return refuse(variable.line, fmt::format("'{}' has unknown type .{}",
                                               variable.name, variable.type));
    if (variable.isExtern || variable.elements == 0) {
      dynamic.push_back(variable.name);
      dynamicAlign = std::max(dynamicAlign, align);
      return;
    }
    offset = alignTo(offset, align);
    sharedSymbols[variable.name] = {AddressSpace::Shared, offset};
    offset += variableBytes(variable);
    if (offset > maxSharedBytes)
      refuse(variable.line,
             fmt::format("{} bytes of static shared memory", offset));
  };
  scan(entry);
  for (const ptx::Function &function : module.functions)
    if (!function.isEntry)
      scan(function);
  for (const ptx::Variable &variable : module.variables)
    if (variable.space == ptx::Space::Shared && named.count(variable.name))
      place(variable);
  for (const ptx::Function &function : module.functions)
    if (&function == &entry || !function.isEntry)
      for (const Statement &statement : function.body)
        if (statement.kind == Statement::Kind::Declaration &&
            statement.variable.space == ptx::Space::Shared && !failed)
          place(statement.variable);
  kernel.staticSharedBytes = static_cast<uint32_t>(offset);
  kernel.dynamicSharedOffset =
      static_cast<uint32_t>(alignTo(offset, dynamicAlign));
  for (std::string_view name : dynamic)
    sharedSymbols[name] = {AddressSpace::Shared, kernel.dynamicSharedOffset};
}

void Decoder::placeParameters(const ptx::Function &entry) {
  uint64_t offset = 0;
  for (const ptx::Variable &parameter : entry.parameters) {
    uint32_t align = variableAlign(parameter);
    uint64_t bytes = variableBytes(parameter);
    if (!align || !bytes)
      return refuse(parameter.line,
                    fmt::format("parameter '{}' has no size", parameter.name));
    offset = alignTo(offset, align);
    if (bytes > maxParameterBytes || offset > maxParameterBytes - bytes)
      return refuse(
          parameter.line,
          fmt::format("more than {} bytes of parameters", maxParameterBytes));
    kernel.parameters.push_back({std::string(parameter.name),
                                 static_cast<uint32_t>(offset),
                                 static_cast<uint32_t>(bytes)});
    frames.back()->scopes.back().symbols[parameter.name] = {AddressSpace::Param,
                                                            offset};
    offset += bytes;
  }
  kernel.parameterBytes = static_cast<uint32_t>(offset);
}

Symbol Decoder::allocateLocal(const ptx::Variable &variable) {
  uint32_t align = variableAlign(variable);
  uint64_t bytes = variableBytes(variable);
  if (!align || bytes > maxLocalBytes) {
    refuse(variable.line, fmt::format("'{}' needs {} bytes of local memory; at "
                                      "most {} are supported",
                                      variable.name, bytes, maxLocalBytes));
    return {};
  }
  uint64_t offset = alignTo(kernel.localBytes, align);
  if (offset + bytes > maxLocalBytes) {
    refuse(variable.line, "too much local memory");
    return {};
  }
  kernel.localBytes = static_cast<uint32_t>(alignTo(offset + bytes, 16));
  return {AddressSpace::Local, offset};
}

void Decoder::declare(Frame &frame, const ptx::Variable &variable) {
  Scope &scope = frame.scopes.back();
  switch (variable.space) {
  case ptx::Space::Reg: {
    std::optional<Type> type = parseType(variable.type);
    if (!type)
      return refuse(variable.line,
                    fmt::format("registers of type .{} are not supported",
                                variable.type));
    if (variable.elements != 1)
      return refuse(variable.line, "vector registers are not supported");
    // Bytes live in 16-bit registers; only predicates are 1 wide here.
    uint8_t bytes = type->kind == Type::Kind::Predicate
                        ? uint8_t(1)
                        : std::max(type->bytes, uint8_t(2));
    uint32_t count = variable.count ? variable.count : 1;
    Register first{newRegister(bytes), bytes};
    for (uint32_t i = 1; i < count && !failed; ++i)
      newRegister(bytes);
    if (variable.count)
      scope.families[variable.name] = {first, variable.count};
    else
      scope.registers[variable.name] = first;
    kernel.virtualRegisters += count * (bytes == 8 ? 2 : bytes == 1 ? 0 : 1);
    return;
  }
  case ptx::Space::Local:
  case ptx::Space::Param:
    scope.symbols[variable.name] = allocateLocal(variable);
    return;
  case ptx::Space::Shared:
    return; // Placed before.
  case ptx::Space::Global:
  case ptx::Space::Const:
    return refuse(variable.line,
                  fmt::format("'{}': global variables must be declared outside "
                              "functions",
                              variable.name));
  }
}

//===----------------------------------------------------------------------===//
// Bodies
//===----------------------------------------------------------------------===//

void Decoder::decodeInstruction(Frame &frame, const Statement &statement,
                                unsigned depth) {
  std::string_view name = statement.name;
  if (kernel.code.size() > maxInstructions)
    return refuse(statement.line, "the kernel is too large");
  if (name == "bra")
    return decodeBranch(frame, statement);
  if (name == "brx")
    return decodeIndexedBranch(frame, statement);
  if (name == "call")
    return decodeCall(statement, depth);
  if (name == "exit" || (name == "ret" && !frame.inlined)) {
    kernel.code.push_back(controlInstr(statement, Flow::Exit));
    return;
  }
  if (name == "ret") {
    frame.returns.push_back(kernel.code.size());
    kernel.code.push_back(controlInstr(statement, Flow::Branch));
    return;
  }
  const Opcode *opcode = findOpcode(statement);
  if (!opcode)
    return refuse(statement.line,
                  fmt::format("the simulator does not know instruction '{}'",
                              statement.spelling));
  InstrBuilder builder(*this, statement);
  builder.instr = controlInstr(statement, Flow::Next);
  builder.instr.instrClass = opcode->instrClass;
  builder.instr.collective = opcode->instrClass == InstrClass::Matrix ||
                             opcode->instrClass == InstrClass::Warp ||
                             opcode->instrClass == InstrClass::Barrier;
  opcode->decode(builder);
  if (!builder.failed() && !builder.instr.exec)
    builder.refuse("this form is not supported");
  builder.finish();
  // Fences alone carry no message.
  const Instr &done = builder.instr;
  bool isAccess = done.instrClass == InstrClass::Memory ||
                  done.instrClass == InstrClass::Atomic;
  bool maybeGlobal = isAccess && (done.space == AddressSpace::Generic ||
                                  done.space == AddressSpace::Global);
  // Asynchronous reductions are atomics, too.
  bool reduces = std::count(statement.modifiers.begin(),
                            statement.modifiers.end(), "reduce") > 0;
  if ((maybeGlobal && done.order != Order::Weak) || reduces)
    kernel.communicates = true;
  if (!failed)
    kernel.code.push_back(builder.instr);
}

void Decoder::decodeBody(Frame &frame, unsigned depth) {
  uint32_t scopeIds = 0;
  for (const Statement &statement : frame.function->body) {
    if (failed)
      return;
    switch (statement.kind) {
    case Statement::Kind::Instruction:
      decodeInstruction(frame, statement, depth);
      break;
    case Statement::Kind::Label: {
      auto [it, fresh] =
          frame.labels.try_emplace({frame.scopes.back().id, statement.name},
                                   static_cast<uint32_t>(kernel.code.size()));
      if (!fresh)
        refuse(statement.line,
               fmt::format("label '{}' is defined twice", statement.name));
      break;
    }
    case Statement::Kind::BranchTargets:
      declareTargets(frame, statement);
      break;
    case Statement::Kind::ScopeBegin:
      frame.scopes.emplace_back();
      frame.scopes.back().id = ++scopeIds;
      break;
    case Statement::Kind::ScopeEnd:
      if (frame.scopes.size() > 1)
        frame.scopes.pop_back();
      break;
    case Statement::Kind::Declaration:
      declare(frame, statement.variable);
      break;
    }
  }
  resolveBranches(frame);
}

/// Marks what writes registers that some wgmma uses.
static void markWgmmaOperands(Kernel &kernel) {
  std::vector<bool> used(kernel.registerBytes / 64 + 1);
  bool any = false;
  for (const Instr &instr : kernel.code)
    if (instr.touchesPending)
      for (unsigned i = 0; i < instr.vectorCount; ++i)
        any = used[kernel.slotPool[instr.vectorBegin + i] >> 6] = true;
  if (!any)
    return;
  for (Instr &instr : kernel.code)
    for (unsigned i = 0; i < instr.resultCount && !instr.touchesPending; ++i)
      if (used[kernel.slotPool[instr.usesBegin + instr.sourceCount + i] >> 6])
        instr.writesWgmmaOperand = true;
}

Result<Kernel> Decoder::run(const ptx::Function &entry) {
  kernel.name = entry.name;
  kernel.maxThreads =
      entry.requiredThreads ? entry.requiredThreads : entry.maxThreads;
  kernel.exactThreads = entry.requiredThreads != 0;
  std::copy_n(entry.requiredCluster, 3, kernel.requiredCluster);
  kernel.explicitCluster = entry.explicitCluster;
  kernel.maxClusterRank = entry.maxClusterRank;
  kernel.locations = module.locations;
  for (auto [number, name] : module.files) {
    // NVRTC puts the working directory before relative names.
    std::error_code unknown;
    std::string here = std::filesystem::current_path(unknown).string() + "/";
    if (!unknown && name.substr(0, here.size()) == here)
      name.remove_prefix(here.size());
    kernel.files.emplace_back(number, std::string(name));
  }
  Frame frame;
  frame.function = &entry;
  frame.scopes.emplace_back();
  frames.push_back(&frame);
  placeSharedVariables(entry);
  if (!failed)
    placeParameters(entry);
  if (!failed)
    decodeBody(frame, 0);
  frames.pop_back();
  if (failed)
    return error;
  // Falling off the end exits.
  Statement end;
  end.name = end.spelling = "ret";
  end.line = entry.line;
  kernel.code.push_back(controlInstr(end, Flow::Exit));
  markWgmmaOperands(kernel);
  return std::move(kernel);
}

Result<Kernel> sim::decodeKernel(const ptx::Module &module,
                                 const ptx::Function &entry,
                                 const SymbolTable &globals) {
  return Decoder(module, globals).run(entry);
}
