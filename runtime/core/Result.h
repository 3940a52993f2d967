//===- Result.h - Diagnostics and the value-or-diagnostic type --*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Quern's libraries print nothing, abort never and throw nowhere. Whatever can
// fail returns `Result<T>`: the value, or one `Diagnostic` that names what was
// wrong, where, and what is accepted instead.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CORE_RESULT_H
#define QUERN_CORE_RESULT_H

#include "runtime/core/Export.h"

#include <cassert>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace quern {
inline namespace v0 {

/// What kind of failure this is; what a host program may branch on. The text
/// is for people.
enum class Errc : uint8_t {
  InvalidArgument, ///< The caller passed something that can never be right.
  InvalidSource,   ///< The layer's text or IR is wrong.
  InvalidFile,     ///< A file is missing, truncated or not what it claims.
  Unsupported,     ///< Well-formed, but this target or build refuses it.
  CompilerMissing, ///< Code must be generated and no compiler is installed.
  NoDevice,        ///< No driver or no such device.
  DeviceError,     ///< The driver reported a failure.
  CheckFailed,     ///< The simulator or a comparison found a fault.
  OutOfMemory,
  Internal, ///< A bug in Quern; please report it.
};

/// One message, with the place it points at. `line` and `column` count from 1;
/// 0 means "no place".
struct QUERN_API Diagnostic {
  Errc code = Errc::Internal;
  std::string message;
  std::string file;
  unsigned line = 0;
  unsigned column = 0;
  /// Further sentences: what is accepted, how to go on.
  std::vector<std::string> notes;
  /// The line of source pointed at, for a caret; empty when there is none.
  std::string sourceLine;
  /// Errors found beside this one, such as further mistakes in one text; these
  /// have none of their own.
  std::vector<Diagnostic> others;

  /// `file:line:column: error: message`, the source line with a caret, then
  /// the notes, one per line; then the other errors in the same way.
  std::string render() const;
};

/// A value of type T or the diagnostic that explains why there is none.
template <typename T> class [[nodiscard]] Result {
public:
  Result(T value) : state(std::in_place_index<0>, std::move(value)) {}
  Result(Diagnostic diagnostic)
      : state(std::in_place_index<1>, std::move(diagnostic)) {}

  explicit operator bool() const { return state.index() == 0; }
  T &operator*() & {
    assert(*this);
    return *std::get_if<0>(&state);
  }
  const T &operator*() const & {
    assert(*this);
    return *std::get_if<0>(&state);
  }
  T &&operator*() && {
    assert(*this);
    return std::move(*std::get_if<0>(&state));
  }
  T *operator->() { return &**this; }
  const T *operator->() const { return &**this; }
  const Diagnostic &error() const {
    assert(!*this);
    return *std::get_if<1>(&state);
  }

private:
  std::variant<T, Diagnostic> state;
};

/// Success, or a diagnostic.
template <> class [[nodiscard]] Result<void> {
public:
  Result() = default;
  Result(Diagnostic diagnostic)
      : failed(true), diagnostic(std::move(diagnostic)) {}
  explicit operator bool() const { return !failed; }
  const Diagnostic &error() const {
    assert(failed);
    return diagnostic;
  }

private:
  bool failed = false;
  Diagnostic diagnostic;
};

/// The first of some errors, with the rest beside it; there is at least one.
inline Diagnostic inOne(std::vector<Diagnostic> errors) {
  Diagnostic first = std::move(errors.front());
  for (size_t i = 1; i < errors.size(); ++i)
    first.others.push_back(std::move(errors[i]));
  return first;
}

/// `return fail(Errc::InvalidFile, "...")` from a function that returns any
/// `Result`.
inline Diagnostic fail(Errc code, std::string message,
                       std::vector<std::string> notes = {}) {
  Diagnostic diagnostic;
  diagnostic.code = code;
  diagnostic.message = std::move(message);
  diagnostic.notes = std::move(notes);
  return diagnostic;
}

} // namespace v0
} // namespace quern

#endif // QUERN_CORE_RESULT_H
