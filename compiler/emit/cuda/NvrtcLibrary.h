//===- NvrtcLibrary.h - CUDA C++ to PTX and cubin ---------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// NVRTC, opened on first use and never linked: Quern builds and runs without
// it. One call compiles a unit for a real architecture and returns both the
// PTX and the machine code assembled from that very PTX. Neither a GPU nor a
// driver is needed. Thread-safe.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_NVRTCLIBRARY_H
#define QUERN_COMPILER_EMIT_CUDA_NVRTCLIBRARY_H

#include "runtime/core/Result.h"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quern::emit {

struct NvrtcOutput {
  bool succeeded = false;
  std::string ptx;
  std::vector<std::byte> cubin;
  std::string log; ///< Warnings, errors, and what ptxas says with -v.
};

class NvrtcLibrary {
public:
  /// The library, loaded once; CompilerMissing with what was tried otherwise.
  static Result<const NvrtcLibrary *> get();

  /// Compiles `source`, which calls itself `name`; `headers` are pairs of the
  /// path `#include` names and text. A unit with errors is an output that did
  /// not succeed; a Diagnostic means NVRTC itself failed.
  Result<NvrtcOutput>
  compile(const std::string &source, const std::string &name,
          std::span<const std::pair<std::string, std::string>> headers,
          std::span<const std::string> options) const;

  /// "NVRTC 13.0"
  std::string version() const;

private:
  struct Functions;
  const Functions *functions = nullptr;
};

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_NVRTCLIBRARY_H
