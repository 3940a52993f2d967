//===- DocsTest.cpp - The documentation says what is true -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Blocks of the pages, by their word after the fence: `qn` parses; `qn-error`
// is refused, with the words of each of its `# error:` lines; `mlir` holds
// lines that the IR of the `qn` block before it has in this order; `cpp` is
// found, line for line, in the builder's tests.
//
//===----------------------------------------------------------------------===//

#include "tests/frontend/Support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::test;
using testing::HasSubstr;

namespace {

std::string trimmed(llvm::StringRef line) { return line.trim().str(); }

void checkPage(const std::string &page) {
  std::vector<Block> blocks = blocksOf(page);
  ASSERT_FALSE(blocks.empty());
  std::string ir;
  unsigned layers = 0;
  for (const Block &block : blocks) {
    SCOPED_TRACE(page + ":" + std::to_string(block.line));
    Parsed parsed = parse(block.text);
    if (block.kind == "qn") {
      EXPECT_TRUE(parsed.module) << parsed.errors();
      ir = parsed.ir();
      ++layers;
    } else if (block.kind == "qn-error") {
      EXPECT_FALSE(parsed.module);
      std::istringstream stream(block.text);
      std::string line;
      const std::string mark = "# error: ";
      unsigned words = 0;
      while (std::getline(stream, line) && line.rfind(mark, 0) == 0) {
        EXPECT_THAT(parsed.errors(), HasSubstr(line.substr(mark.size())));
        ++words;
      }
      EXPECT_GT(words, 0u);
      EXPECT_EQ(parsed.diagnostics.size(), 1u) << parsed.errors();
    } else if (block.kind == "mlir") {
      std::istringstream stream(block.text);
      std::string line;
      size_t from = 0;
      while (std::getline(stream, line)) {
        size_t at = ir.find(trimmed(line), from);
        EXPECT_NE(at, std::string::npos) << line << "\nnot in\n" << ir;
        from = at == std::string::npos ? from : at;
      }
    } else if (block.kind == "cpp") {
      std::string tests =
          readFile(QUERN_SOURCE_DIR "/tests/frontend/BuilderTest.cpp");
      std::istringstream stream(block.text);
      std::string line;
      while (std::getline(stream, line))
        EXPECT_THAT(tests, HasSubstr(trimmed(line)));
    } else {
      EXPECT_EQ(block.kind, "ebnf");
    }
  }
  EXPECT_GT(layers, 3u);
}

} // namespace

TEST(FrontendDocs, Language) { checkPage("language.md"); }
TEST(FrontendDocs, TutorialLinear) { checkPage("tutorial-linear.md"); }

/// The grammar's literals and the lexer agree on what is a word.
TEST(FrontendDocs, WordsOfTheLanguageNameNothing) {
  for (const char *word : {"layer", "weight", "with", "in", "return", "as",
                           "per", "inf", "f16", "i8", "nf4"}) {
    Parsed parsed = parse("layer f(x: f32[M]) -> f32[M] {\n  " +
                          std::string(word) + " = x\n  return x\n}\n");
    EXPECT_FALSE(parsed.module) << word;
  }
}
