//===- RobustnessTest.cpp - No text crashes the frontend ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Texts far from the language, and thousands of texts near it: the examples
// with random edits. Each must give a module that verifies, or errors with
// places inside the text; an Internal error is a rule the frontend forgot.
//
//===----------------------------------------------------------------------===//

#include "tests/frontend/Support.h"

#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

using namespace quern;
using namespace quern::test;
using testing::HasSubstr;

/// Parses, checks what must always hold, and tells whether it was accepted.
static bool checkSound(mlir::MLIRContext &context, const std::string &text) {
  std::vector<Diagnostic> diagnostics;
  auto module = parseLayers(text, "test.qn", context, diagnostics);
  EXPECT_NE(bool(module), !diagnostics.empty()) << text;
  unsigned lines = 1 + std::count(text.begin(), text.end(), '\n');
  for (const Diagnostic &diagnostic : diagnostics) {
    EXPECT_NE(diagnostic.code, Errc::Internal) << diagnostic.render() << text;
    EXPECT_GE(diagnostic.line, 1u) << diagnostic.render();
    EXPECT_LE(diagnostic.line, lines) << diagnostic.render();
  }
  if (module) {
    EXPECT_TRUE(mlir::succeeded(mlir::verify(*module))) << text;
  }
  return bool(module);
}

static std::vector<std::string> seeds() {
  std::vector<std::string> texts;
  for (const char *name :
       {"hello/hello", "swiglu_small", "fp8_linear", "softmax_head"})
    texts.push_back(
        readFile(std::string(QUERN_SOURCE_DIR "/examples/") + name + ".qn"));
  texts.push_back(
      "layer f(x: f16[B, 2*M, N], m: f32[M], i: i32[B], c: i8[N, 4] * f32[N/2, "
      "1]) -> (y: f16[B, M, N], z: f32[B, 2*M, 1])\n"
      "    with M in 4..64, N % 8 == 0, N in 8..64 {\n"
      "  a = x[:, 0:M, :] * 2 + 1e-3\n"
      "  t = reshape(transpose(a, [0, 2, 1]), [B, M, N])\n"
      "  q = quantize(t, u8 per block(2, 4), rounding = half_away)\n"
      "  e = where(dequantize(q) > 0, t, -inf) as f16\n"
      "  return concat(e, e, axis = 1)[:, ::2, :], mean(x as f32, axis = 2)\n"
      "}\n");
  for (const Block &block : blocksOf("language.md"))
    if (block.kind == "qn")
      texts.push_back(block.text);
  return texts;
}

/// Random texts per test, and the first one's number: QUERN_FUZZ_CASES and
/// QUERN_FUZZ_SEED in the environment make longer and other runs.
static unsigned environment(const char *name, unsigned otherwise) {
  const char *text = std::getenv(name);
  return text ? static_cast<unsigned>(std::strtoul(text, nullptr, 10))
              : otherwise;
}
static unsigned cases() { return environment("QUERN_FUZZ_CASES", 12000); }
static unsigned seed() { return environment("QUERN_FUZZ_SEED", 7); }

TEST(FrontendRobustness, Mutations) {
  std::vector<std::string> texts = seeds();
  const std::vector<std::string> pieces = {"(",
                                           ")",
                                           "[",
                                           "]",
                                           "{",
                                           "}",
                                           ",",
                                           ":",
                                           "=",
                                           "==",
                                           "@",
                                           ".T",
                                           "..",
                                           "-",
                                           "*",
                                           "/",
                                           "%",
                                           "0",
                                           "1",
                                           "2",
                                           "127",
                                           "-1",
                                           "M",
                                           "N",
                                           "x",
                                           "q",
                                           "w",
                                           "f16",
                                           "i8",
                                           "f32",
                                           "bf16",
                                           "per token",
                                           "per",
                                           "as",
                                           "return",
                                           "with",
                                           "in",
                                           "layer",
                                           "weight",
                                           "quantize(",
                                           "silu(",
                                           "reshape(",
                                           "sum(",
                                           "axis = 0",
                                           "scale = ",
                                           "2147483647",
                                           "9223372036854775807",
                                           "1e308",
                                           "inf",
                                           "\n",
                                           " ",
                                           "#",
                                           "\"",
                                           "\xff",
                                           "M/2",
                                           "2*M",
                                           "[:, 1:]",
                                           "[M, 64]",
                                           "i4",
                                           "flat("};
  std::mt19937 random(seed());
  auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  unsigned accepted = 0;
  const unsigned count = cases();
  for (unsigned i = 0; i < count; ++i) {
    std::string text = texts[below(texts.size())];
    for (size_t edits = 1 + below(4); edits > 0; --edits) {
      if (text.empty())
        text = " ";
      size_t at = below(text.size());
      switch (below(5)) {
      case 0:
        text.erase(at, 1 + below(8));
        break;
      case 1:
        text.insert(at, pieces[below(pieces.size())]);
        break;
      case 2:
        text[at] = static_cast<char>(random());
        break;
      case 3: { // a token-sized swap, which stays close to the language
        size_t end = std::min(text.size(), at + 1 + below(6));
        text.replace(at, end - at, pieces[below(pieces.size())]);
        break;
      }
      default: { // a piece of another example
        const std::string &other = texts[below(texts.size())];
        size_t from = below(other.size());
        text.insert(at, other.substr(from, below(40)));
        break;
      }
      }
    }
    accepted += checkSound(context, text);
    if (testing::Test::HasFailure())
      FAIL() << "mutation " << i << ":\n" << text;
  }
  // The search reaches both sides.
  EXPECT_GT(accepted, count / 100);
  EXPECT_LT(accepted, count / 2);
}

/// Numbers and words of the examples exchanged for others, so that nearly
/// every text is well formed and the rules are what is tested.
TEST(FrontendRobustness, ExchangedWords) {
  std::vector<std::string> texts = seeds();
  const std::vector<std::string> words = {
      "0",      "1",     "2",          "3",       "8",     "64",   "128",
      "4096",   "M",     "N",          "B",       "x",     "q",    "t",
      "w",      "f16",   "bf16",       "f32",     "i8",    "u8",   "i32",
      "f8e4m3", "token", "tensor",     "softmax", "relu",  "mean", "amax",
      "max",    "gelu",  "dequantize", "concat",  "gather"};
  std::mt19937 random(seed() + 1);
  auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  auto isWord = [](char c) { return isalnum(c) || c == '_'; };
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  unsigned accepted = 0;
  for (unsigned i = 0; i < cases(); ++i) {
    std::string text = texts[below(texts.size())];
    for (size_t edits = 1 + below(3); edits > 0; --edits) {
      size_t at = below(text.size());
      while (at < text.size() && !isWord(text[at]))
        ++at;
      size_t start = at;
      while (start > 0 && isWord(text[start - 1]))
        --start;
      while (at < text.size() && isWord(text[at]))
        ++at;
      text.replace(start, at - start, words[below(words.size())]);
    }
    accepted += checkSound(context, text);
    if (testing::Test::HasFailure())
      FAIL() << "mutation " << i << ":\n" << text;
  }
  EXPECT_GT(accepted, 100u);
}

TEST(FrontendRobustness, EveryPrefix) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  for (const std::string &text : seeds())
    for (size_t length = 0; length < text.size(); length += 3)
      checkSound(context, text.substr(0, length));
}

TEST(FrontendRobustness, Depth) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  auto layer = [](const std::string &value, const std::string &extent = "64") {
    return "layer f(x: f16[M, " + extent + "]) -> f16[M, 64] {\n  return " +
           value + "\n}\n";
  };
  auto repeat = [](const std::string &piece, size_t n) {
    std::string text;
    for (size_t i = 0; i < n; ++i)
      text += piece;
    return text;
  };
  constexpr size_t many = 100000;
  for (const std::string &text : {
           layer(repeat("(", many)),
           layer(repeat("(", many) + "x" + repeat(")", many)),
           layer(repeat("-", many) + "x"),
           layer("x" + repeat(" + x", many)),
           layer("x" + repeat(" @ x", many)),
           layer("x" + repeat(".T", many)),
           layer("x" + repeat("[:]", many)),
           layer("x" + repeat(" as f32", many)),
           layer(repeat("silu(", many) + "x" + repeat(")", many)),
           layer("max(" + repeat("x, ", many) + "x)"),
           layer("x", repeat("(", many) + "64" + repeat(")", many)),
           layer("x", repeat("-", many) + "64"),
           layer("x", "64" + repeat(" + 0", many)),
           layer("x", "64" + repeat(" / 1", many)),
           layer("reshape(x, [" + repeat("1, ", many) + "64])"),
           layer("x", repeat("1, ", many) + "64"),
           repeat("layer f(", many),
           repeat("{", many),
           repeat("$", many),
           std::string(many, '7'),
           std::string(many, 'a'),
           std::string("\0\0\0", 3),
       })
    EXPECT_FALSE(checkSound(context, text)) << text.substr(0, 100);
  // Deep, but within what is promised.
  EXPECT_TRUE(
      checkSound(context, layer(repeat("(", 100) + "x" + repeat(")", 100))));
  EXPECT_TRUE(checkSound(context, layer("x" + repeat(" + x", 200))));
}

TEST(FrontendRobustness, ManyStatements) {
  std::string text = "layer f(x: f16[M, 64]) -> f16[M, 64] {\n  v0 = x\n";
  for (int i = 1; i <= 5000; ++i)
    text +=
        "  v" + std::to_string(i) + " = v" + std::to_string(i - 1) + " + 1\n";
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  EXPECT_TRUE(checkSound(context, text + "  return v5000\n}\n"));
}

/// What is printed parses again, to the same.
TEST(FrontendRobustness, IrRoundTrips) {
  for (const std::string &text : seeds()) {
    Parsed parsed = parse(text);
    ASSERT_TRUE(parsed.module) << parsed.errors();
    std::string printed = parsed.ir();
    auto again =
        mlir::parseSourceString<mlir::ModuleOp>(printed, parsed.context.get());
    ASSERT_TRUE(again) << printed;
    std::string twice;
    llvm::raw_string_ostream stream(twice);
    again->print(stream);
    EXPECT_EQ(twice, printed);
  }
}

TEST(FrontendRobustness, LineEnds) {
  std::string text = readFile(QUERN_SOURCE_DIR "/examples/hello/hello.qn");
  std::string windows;
  for (char c : text)
    windows += c == '\n' ? std::string("\r\n") : std::string(1, c);
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  EXPECT_TRUE(checkSound(context, windows));
}
