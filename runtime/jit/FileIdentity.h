//===- FileIdentity.h - Which build of a library a file is ------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Opening the compiler or NVRTC costs tens of milliseconds, so that the cache
// tells their builds apart by their files: by the build id the linker put in,
// or by size and time of a file without one.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_JIT_FILEIDENTITY_H
#define QUERN_JIT_FILEIDENTITY_H

#include <cstdint>
#include <string>

namespace quern {
inline namespace v0 {
namespace detail {

/// The identity of the library at that path; 0 if there is no such file.
uint64_t fileIdentity(const std::string &path);

} // namespace detail
} // namespace v0
} // namespace quern

#endif // QUERN_JIT_FILEIDENTITY_H
