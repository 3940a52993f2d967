//===- CompilerLibrary.h - Finding and opening the compiler -----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Where libquern_compiler.so is looked for, in this order: the path given, then
// $QUERN_COMPILER (either must then be right), the folder of this library (or
// of the executable it is part of), ../lib beside the executable's folder, and
// the dynamic loader's search path.
//
// Its identity, which the cache needs, is read from the file (FileIdentity.h).
//
// A library stays open for the life of the process: code it registered with
// LLVM's global tables does not survive being closed.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_JIT_COMPILERLIBRARY_H
#define QUERN_JIT_COMPILERLIBRARY_H

#include "quern/quern.h"

#include <optional>

namespace quern {
inline namespace v0 {

class CompilerLibrary {
public:
  /// CompilerMissing, saying where was looked.
  static Result<CompilerLibrary> find(const std::string &path);

  const std::string &path() const { return file; }
  /// Differs between builds of the compiler; never 0.
  uint64_t identity() const { return id; }

  struct Request {
    std::string_view source;
    std::string name;
    std::string target;
    std::string features;
    std::vector<std::string> settings;
  };
  /// The module's bytes, opening the library if need be.
  Result<std::vector<std::byte>> compile(const Request &request) const;
  /// What the compiler calls itself.
  Result<std::string> buildId() const;

private:
  std::string file;
  uint64_t id = 0;
};

} // namespace v0
} // namespace quern

#endif // QUERN_JIT_COMPILERLIBRARY_H
