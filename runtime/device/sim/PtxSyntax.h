//===- PtxSyntax.h - PTX text as a tree -------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What PtxParser makes of PTX text: variables, functions, and for each function
// a flat list of statements in which scopes are marked by ScopeBegin/ScopeEnd.
// Nothing is interpreted here: opcodes are words, modifiers a list of words,
// registers are names. Meaning is given by the decoder (Decoder.h).
//
// All views point into `Module::text`.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_PTXSYNTAX_H
#define QUERN_DEVICE_SIM_PTXSYNTAX_H

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace quern {
inline namespace v0 {
namespace sim {
namespace ptx {

/// An instruction's or declaration's operand.
struct Operand {
  enum class Kind : uint8_t {
    Name,      ///< A register, symbol, label or special register.
    Immediate, ///< An integer, or a float given by its bits (0f..., 0d...).
    Vector,    ///< {a, b, ...}
    Address,   ///< [base + offset], or a list as in tensor coordinates.
    Pair,      ///< a|b: two results.
    List,      ///< (a, b): arguments of a call.
  };
  enum class Bits : uint8_t { Integer, Float32, Float64 };
  Kind kind = Kind::Name;
  Bits bits = Bits::Integer;
  bool negated = false; ///< `!p`.
  std::string_view name;
  uint64_t value = 0;
  int64_t offset = 0; ///< `name + offset`.
  std::vector<Operand> elements;
};

enum class Space : uint8_t { Reg, Shared, Local, Param, Global, Const };

/// `.reg .b32 %r<10>;`, `.shared .align 16 .b8 tile[4096];`, a parameter, ...
struct Variable {
  Space space = Space::Reg;
  std::string_view name;
  std::string_view type; ///< Without the dot: "b32".
  uint32_t align = 0;    ///< 0: the type's own.
  uint32_t count = 0;    ///< `%r<count>` declares %r0 .. %r(count-1).
  uint64_t elements = 1;
  bool isExtern = false; ///< Dynamic shared memory.
  /// Values of an initialiser, in elements of `type`.
  std::vector<Operand> initializer;
  uint32_t line = 0;
};

struct Statement {
  enum class Kind : uint8_t {
    Instruction,
    Label,
    BranchTargets, ///< `name: .branchtargets operands;`
    ScopeBegin,
    ScopeEnd,
    Declaration,
  };
  Kind kind = Kind::Instruction;
  uint32_t line = 0;
  uint32_t location = 0;     ///< Index into Module::locations.
  std::string_view name;     ///< The opcode's first word, or the label.
  std::string_view spelling; ///< The opcode with its modifiers.
  std::vector<std::string_view> modifiers;
  std::string_view guard; ///< Predicate register, empty if unguarded.
  bool guardNegated = false;
  std::vector<Operand> operands;
  Variable variable; ///< Declaration only.
};

/// A place in CUDA source, from `.loc`.
struct Location {
  uint32_t file = 0; ///< The number given by `.file`; 0 is no place at all.
  uint32_t line = 0;
  uint32_t column = 0;
  /// Where this code was inlined, an index into Module::locations; 0: nowhere.
  uint32_t inlinedAt = 0;
};

struct Function {
  std::string_view name;
  bool isEntry = false;
  bool hasBody = false;
  std::vector<Variable> results;
  std::vector<Variable> parameters;
  std::vector<Statement> body;
  uint32_t maxThreads = 0;          ///< .maxntid, 0 if absent.
  uint32_t requiredThreads = 0;     ///< .reqntid, 0 if absent.
  uint32_t requiredCluster[3] = {}; ///< .reqnctapercluster, 0 if absent.
  bool explicitCluster = false;     ///< .explicitcluster
  uint32_t maxClusterRank = 0;      ///< .maxclusterrank, 0 if absent.
  uint32_t line = 0;
};

struct Module {
  std::unique_ptr<std::string> text;
  std::string_view version; ///< "9.0"
  std::string_view target;  ///< "sm_90a"
  std::vector<std::pair<uint32_t, std::string_view>> files;
  std::vector<Location> locations{1};
  std::vector<Variable> variables;
  std::vector<Function> functions;

  std::string_view fileName(uint32_t number) const {
    for (const auto &[index, name] : files)
      if (index == number)
        return name;
    return {};
  }
};

} // namespace ptx
} // namespace sim
} // namespace v0
} // namespace quern

#endif // QUERN_DEVICE_SIM_PTXSYNTAX_H
