//===- ErrorCases.h - Tables of texts and their errors ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A case is a text with a `~` before the place the error must point at, and
// words the rendered message must hold. One mistake must give one error.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_FRONTEND_ERRORCASES_H
#define QUERN_TESTS_FRONTEND_ERRORCASES_H

#include "tests/frontend/Support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quern::test {

struct Case {
  const char *name;
  std::string text;
  std::vector<std::string> words;
};

/// A statement among values of every kind.
inline std::string body(const std::string &statement) {
  return "layer f(x: f16[M, 64], h: bf16[M, 64], y: f32[M, 32],\n"
         "        z: f32[64, N], i: i32[M], c: i8[M, 64], k: f32[M, 1],\n"
         "        v: f16[64], t: f16[4, M, 64], p: f8e4m3[M, 64],\n"
         "        weight w: i8[128, 64] * f32[128, 1],\n"
         "        weight e: i8[128, 64] * f32[128, 64],\n"
         "        weight g: i8[128, 64] * f32[128, 64/24],\n"
         "        weight d: f8e4m3[128, 64] * f32[128, 1]) -> f16[M, 64] {\n"
         "  q = quantize(x, i8 per token)\n"
         "  " +
         statement +
         "\n"
         "  return x\n"
         "}\n";
}

/// A layer that returns x, with this header after the name.
inline std::string header(const std::string &text) {
  return "layer f" + text + " {\n  return x\n}\n";
}

/// A layer with one more parameter of that type.
inline std::string type(const std::string &text) {
  return header("(x: f16[M, N], w: " + text + ") -> f16[M, N]");
}

inline void check(const Case &test) {
  SCOPED_TRACE(test.name);
  std::string text = test.text;
  size_t mark = text.find('~');
  ASSERT_NE(mark, std::string::npos);
  text.erase(mark, 1);
  unsigned line = 1 + std::count(text.begin(), text.begin() + mark, '\n');
  size_t lineStart = text.rfind('\n', mark ? mark - 1 : 0);
  if (mark == 0 || lineStart == std::string::npos)
    lineStart = 0;
  else
    ++lineStart;
  unsigned column = mark - lineStart + 1;
  Parsed parsed = parse(text);
  ASSERT_FALSE(parsed.module) << "accepted:\n" << text;
  ASSERT_EQ(parsed.diagnostics.size(), 1u) << parsed.errors();
  const Diagnostic &found = parsed.diagnostics.front();
  EXPECT_EQ(found.line, line) << found.render();
  EXPECT_EQ(found.column, column) << found.render();
  EXPECT_EQ(found.file, "test.qn");
  EXPECT_NE(found.code, Errc::Internal) << found.render();
  size_t end = text.find('\n', lineStart);
  EXPECT_EQ(found.sourceLine, text.substr(lineStart, end - lineStart));
  for (const std::string &word : test.words)
    EXPECT_THAT(found.render(), testing::HasSubstr(word));
}

inline void checkAll(const std::vector<Case> &cases) {
  for (const Case &test : cases)
    check(test);
}

} // namespace quern::test

#endif // QUERN_TESTS_FRONTEND_ERRORCASES_H
