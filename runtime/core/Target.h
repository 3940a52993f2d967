//===- Target.h - What a layer is compiled for ------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A target as people write it:
//
//     cpu               the machine this runs on, every feature it has
//     cpu:LEVEL         a named level, such as generic or avx512-bf16
//     cuda              device 0, code for exactly that device
//     cuda:sm_90a       code for that architecture
//     sim:sm_80         the same CUDA code, executed by the simulator
//
// The levels of the CPU are the compiler's to define; here a level is a word
// of letters, digits, '-', '_' and '.'. Architectures are "sm_" and digits,
// with an optional final 'a' or 'f'.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CORE_TARGET_H
#define QUERN_CORE_TARGET_H

#include "runtime/core/Result.h"

#include <string>
#include <string_view>

namespace quern {
inline namespace v0 {

struct QUERN_API Target {
  enum class Kind : uint8_t { Cpu, Cuda, Sim };

  Kind kind = Kind::Cpu;
  /// The part after the colon; empty for "whatever is here".
  std::string arch;

  static Result<Target> parse(std::string_view text);
  /// The spelling that `parse` accepts.
  std::string print() const;
  /// The target whose code this one runs: a simulator runs CUDA code, so that
  /// "sim:sm_80" gives "cuda:sm_80".
  std::string codeTarget() const;

  bool operator==(const Target &) const = default;
};

} // namespace v0
} // namespace quern

#endif // QUERN_CORE_TARGET_H
