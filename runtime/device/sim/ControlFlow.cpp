//===- ControlFlow.cpp - Branches and calls -------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Labels belong to the scope they stand in and are looked for from the
// innermost one outwards, once the whole body is decoded. `brx.idx` reads its
// label from a list that `.branchtargets` declared before; each list is copied
// into Kernel::branchTargets for every branch that names it. Calls are inlined.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/Decoder.h"
#include "runtime/device/sim/Machine.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::sim;
using ptx::Operand;
using ptx::Statement;

static constexpr unsigned maxInlining = 32;
static constexpr size_t maxBranchTargets = size_t(1) << 20;

Instr Decoder::controlInstr(const Statement &statement, Flow flow) {
  Instr instr;
  instr.flow = flow;
  instr.instrClass = InstrClass::Control;
  instr.line = statement.line;
  instr.location = statement.location;
  instr.spelling = intern(statement.spelling);
  if (!statement.guard.empty()) {
    std::optional<Register> guard = findRegister(statement.guard);
    if (!guard || guard->bytes != 1)
      refuse(statement.line,
             fmt::format("guard '{}' is no predicate", statement.guard));
    else
      instr.guard = guard->slot;
    instr.guardNegated = statement.guardNegated;
  }
  return instr;
}

void Decoder::decodeBranch(Frame &frame, const Statement &statement) {
  if (statement.operands.size() != 1 ||
      statement.operands[0].kind != Operand::Kind::Name)
    return refuse(statement.line, "bra: expected one label");
  for (std::string_view modifier : statement.modifiers)
    if (modifier != "uni")
      return refuse(statement.line,
                    fmt::format("bra: unknown modifier '.{}'", modifier));
  Fixup fixup;
  fixup.at = kernel.code.size();
  fixup.label = statement.operands[0].name;
  fixup.line = statement.line;
  for (const Scope &scope : frame.scopes)
    fixup.scopes.push_back(scope.id);
  frame.fixups.push_back(std::move(fixup));
  kernel.code.push_back(controlInstr(statement, Flow::Branch));
}

/// `list: .branchtargets a, b, c;`
void Decoder::declareTargets(Frame &frame, const Statement &statement) {
  for (const Operand &target : statement.operands)
    if (target.kind != Operand::Kind::Name)
      return refuse(statement.line, ".branchtargets: expected labels");
  if (!frame.scopes.back()
           .targetLists.emplace(statement.name, &statement)
           .second)
    refuse(statement.line,
           fmt::format("label '{}' is defined twice", statement.name));
}

void Decoder::decodeIndexedBranch(Frame &frame, const Statement &statement) {
  InstrBuilder builder(*this, statement);
  builder.instr = controlInstr(statement, Flow::IndexedBranch);
  bool indexed = builder.take("idx");
  builder.take("uni");
  builder.expectOperands(2, 2);
  if (builder.failed())
    return;
  if (!indexed || statement.operands[1].kind != Operand::Kind::Name)
    return refuse(statement.line,
                  "brx.idx of an index and a list of labels is expected");
  builder.source(0, 4);
  builder.finish();
  const Statement *list = nullptr;
  for (auto scope = frame.scopes.rbegin();
       scope != frame.scopes.rend() && !list; ++scope)
    if (auto it = scope->targetLists.find(statement.operands[1].name);
        it != scope->targetLists.end())
      list = it->second;
  if (!list)
    return refuse(statement.line,
                  fmt::format("no .branchtargets before this line declares "
                              "'{}'",
                              statement.operands[1].name));
  size_t count = list->operands.size();
  if (kernel.branchTargets.size() + count > maxBranchTargets)
    return refuse(statement.line, "too many branch targets");
  builder.instr.target = static_cast<uint32_t>(kernel.branchTargets.size());
  builder.instr.immediate = count;
  for (const Operand &target : list->operands) {
    Fixup fixup;
    fixup.indexed = true;
    fixup.at = kernel.branchTargets.size();
    fixup.label = target.name;
    fixup.line = list->line;
    for (const Scope &scope : frame.scopes)
      fixup.scopes.push_back(scope.id);
    frame.fixups.push_back(std::move(fixup));
    kernel.branchTargets.push_back(0);
  }
  if (!failed)
    kernel.code.push_back(builder.instr);
}

void Decoder::resolveBranches(Frame &frame) {
  for (const Fixup &fixup : frame.fixups) {
    auto found = frame.labels.end();
    for (auto scope = fixup.scopes.rbegin();
         scope != fixup.scopes.rend() && found == frame.labels.end(); ++scope)
      found = frame.labels.find({*scope, fixup.label});
    if (found == frame.labels.end())
      return refuse(fixup.line,
                    fmt::format("label '{}' does not exist", fixup.label));
    (fixup.indexed ? kernel.branchTargets[fixup.at]
                   : kernel.code[fixup.at].target) = found->second;
  }
}

void Decoder::decodeCall(const Statement &statement, unsigned depth) {
  const std::vector<Operand> &operands = statement.operands;
  size_t at = 0;
  const Operand *results = nullptr, *arguments = nullptr;
  if (at < operands.size() && operands[at].kind == Operand::Kind::List)
    results = &operands[at++];
  if (at >= operands.size() || operands[at].kind != Operand::Kind::Name)
    return refuse(statement.line, "call: expected a function's name");
  std::string_view callee = operands[at++].name;
  if (at < operands.size() && operands[at].kind == Operand::Kind::List)
    arguments = &operands[at++];
  if (at != operands.size() || findRegister(callee))
    return refuse(statement.line, "call: indirect calls are not supported");
  if (depth >= maxInlining)
    return refuse(statement.line,
                  fmt::format("call: '{}' is recursive or nested too deeply; "
                              "at most {} levels are supported",
                              callee, maxInlining));
  const ptx::Function *function = nullptr;
  for (const ptx::Function &candidate : module.functions)
    if (candidate.name == callee && candidate.hasBody && !candidate.isEntry)
      function = &candidate;
  // What assert() becomes.
  if (!function && callee == "__assertfail") {
    Instr failing = controlInstr(statement, Flow::Next);
    failing.exec = [](Warp &warp, const Instr &instr) {
      warp.block->fault(&warp, &instr, FaultKind::InvalidOperation,
                        __builtin_ctz(warp.mask), "an assertion fails here");
      warp.block->stopped = true;
    };
    kernel.code.push_back(failing);
    return;
  }
  if (!function)
    return refuse(
        statement.line,
        fmt::format("call: function '{}' has no body in this module", callee));

  Frame inner;
  inner.function = function;
  inner.inlined = true;
  inner.scopes.emplace_back();
  // Formal parameters are other names of the caller's.
  auto bindList = [&](const std::vector<ptx::Variable> &formals,
                      const Operand *actuals) {
    size_t count = actuals ? actuals->elements.size() : 0;
    if (count != formals.size())
      return refuse(statement.line,
                    fmt::format("call: {} operands for {} parameters of '{}'",
                                count, formals.size(), callee));
    for (size_t i = 0; i < count; ++i) {
      std::optional<Symbol> symbol = findSymbol(actuals->elements[i].name);
      if (!symbol || symbol->space != AddressSpace::Local ||
          formals[i].space != ptx::Space::Param)
        return refuse(statement.line,
                      "call: only .param variables can be passed");
      inner.scopes.back().symbols[formals[i].name] = *symbol;
    }
  };
  bindList(function->results, results);
  bindList(function->parameters, arguments);
  if (failed)
    return;

  // A guarded call is a branch around the inlined body.
  std::optional<size_t> skip;
  if (!statement.guard.empty()) {
    Instr branch = controlInstr(statement, Flow::Branch);
    branch.guardNegated = !branch.guardNegated;
    skip = kernel.code.size();
    kernel.code.push_back(branch);
  }
  frames.push_back(&inner);
  decodeBody(inner, depth + 1);
  frames.pop_back();
  uint32_t end = static_cast<uint32_t>(kernel.code.size());
  for (size_t instr : inner.returns)
    kernel.code[instr].target = end;
  if (skip)
    kernel.code[*skip].target = end;
}
