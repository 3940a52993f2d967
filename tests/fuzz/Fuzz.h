//===- Fuzz.h - What a fuzz target is ---------------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Each reader of files from outside has a target: one function that takes any
// bytes. It must return; a crash, a sanitizer's report or a broken promise
// (`require`) is a bug.
//
// A target is linked twice: with libFuzzer, which looks for such bytes by
// coverage (`./dev fuzz`, clang only), and with Replay.cpp, which runs the
// seeds, what libFuzzer found (found.tar.xz) and a fixed sequence of changes of
// them in every test run.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_FUZZ_FUZZ_H
#define QUERN_TESTS_FUZZ_FUZZ_H

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

/// libFuzzer's name for it. Returns 0.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

namespace quern::fuzz {

/// Ends the process unless `truth`.
inline void require(bool truth, const char *promise) {
  if (truth)
    return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

} // namespace quern::fuzz

#endif // QUERN_TESTS_FUZZ_FUZZ_H
