//===- SyntaxErrorTest.cpp - Texts that cannot be read --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/frontend/ErrorCases.h"

using namespace quern;
using namespace quern::test;
using testing::HasSubstr;

TEST(FrontendSyntaxErrors, Tokens) {
  checkAll({
      {"character", body("a = x ~$ y"), {"unexpected character '$'"}},
      {"dash", body("a = x ~\xe2\x88\x92 1"), {"byte 0xe2", "ASCII"}},
      {"comment", body("a = x ~// note"), {"'//'", "'#'"}},
      {"semicolon", body("a = x~;"), {"';'", "no separator"}},
      {"number", body("a = x * ~64abc"), {"'64abc'", "neither a number"}},
      {"large", body("a = x * ~1e400"), {"'1e400' is beyond the range of f64"}},
      {"not", body("a = ~!x"), {"unexpected character '!'"}},
  });
}

TEST(FrontendSyntaxErrors, Form) {
  checkAll({
      {"empty", "~", {"no layer", "layer NAME"}},
      {"comment only", "# nothing\n~", {"no layer"}},
      {"not a layer", "~func f()\n", {"expected 'layer'", "'func'"}},
      {"no name",
       "layer ~(x: f16[M]) -> f16[M] { return x }\n",
       {"the layer's name"}},
      {"no parameters",
       "layer f(~) -> f16[M] { return x }\n",
       {"no parameters"}},
      {"no colon", header("(x ~f16[M]) -> f16[M]"), {"':'", "'f16'"}},
      {"no type", header("(x: ~) -> f16[M]"), {"expected a type", "')'"}},
      {"no arrow",
       "layer f(x: f16[M]) ~{\n  return x\n}\n",
       {"'->'", "the types of the results", "'{'"}},
      {"no result", header("(x: f16[M]) -> (~)"), {"at least one result"}},
      {"no body",
       "layer f(x: f16[M]) -> f16[M]\n~",
       {"'{'", "end of the file"}},
      {"no end",
       "layer f(x: f16[M]) -> f16[M] {\n  return x\n~",
       {"'}'", "layer 'f'", "end of the file"}},
      {"comma",
       header("(x: f16[M] ~y: f16[M]) -> f16[M]"),
       {"',' or ')'", "'y'"}},
      {"no statement", body("~42"), {"a statement", "'42'"}},
      {"no assign", body("a ~x"), {"'=' after 'a'", "'x'"}},
      {"no operator", body("a = x ~x"), {"an operator", "'x'"}},
      {"no operand", body("a = x + ~)"), {"an expression", "')'"}},
      {"unary plus", body("a = ~+x"), {"no unary '+'"}},
      {"unclosed",
       "layer f(x: f16[M]) -> f16[M] {\n  a = (x + 1\n  ~return "
       "x\n}\n",
       {"')'", "'return'"}},
      {"chain", body("a = where(0 < x ~< 1, x, x)"), {"do not chain"}},
      {"property", body("a = x.~t"), {"'T' after '.'", "x.T"}},
      {"as nothing", body("a = x as ~+"), {"element type after 'as'"}},
      {"as shape", body("a = x as f16~[M]"), {"a shape after 'as'", "reshape"}},
      {"as granularity",
       body("a = x as i8 ~per token"),
       {"a granularity after 'as'", "quantize"}},
      {"slice form", body("a = x[~, 0:3]"), {"a range such as 0:64"}},
      {"shape form", header("(x: f16[M, ~]) -> f16[M]"), {"an extent"}},
      {"two layers",
       "layer f(x: f16[M]) -> f16[M] { return x }\n"
       "layer ~f(x: f16[M]) -> f16[M] { return x }\n",
       {"layer 'f' is defined twice", "line 1"}},
  });
}

//===----------------------------------------------------------------------===//
// Recovery
//===----------------------------------------------------------------------===//

TEST(FrontendSyntaxErrors, SeveralPerRun) {
  Parsed parsed = parse("layer a(x: f16[M], y: q[M], z: f16[) -> f16[M] {\n"
                        "  return x +\n"
                        "}\n"
                        "layer b(x: f16[M]) -> f16[M] {\n"
                        "  u = x $ 1\n"
                        "  v = foo(u)\n"
                        "  w = v + u\n"
                        "  t = bar\n"
                        "  return w\n"
                        "}\n"
                        "layer c(x: f16[M]) f16[M] { return x }\n"
                        "layer d(x: f16[M]) -> f16[K] { return x }\n");
  EXPECT_FALSE(parsed.module);
  std::vector<unsigned> lines;
  for (const Diagnostic &diagnostic : parsed.diagnostics)
    lines.push_back(diagnostic.line);
  // In the order of the text; `u`, `v` and `w` are known to be wrong and cause
  // no more.
  EXPECT_EQ(lines, (std::vector<unsigned>{1, 3, 5, 6, 8, 11, 12}))
      << parsed.errors();
}

TEST(FrontendSyntaxErrors, StopAtAReasonableNumber) {
  std::string text = "layer f(x: f16[M]) -> f16[M] {\n";
  for (int i = 0; i < 1000; ++i)
    text += "  v" + std::to_string(i) + " = foo\n";
  Parsed parsed = parse(text + "  return x\n}\n");
  EXPECT_EQ(parsed.diagnostics.size(), 51u);
  EXPECT_THAT(parsed.diagnostics.back().message, HasSubstr("too many errors"));
}
