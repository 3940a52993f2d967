//===- ErrorTest.cpp - Every way to be refused ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A case is a text with a `~` before the place the error must point at, and
// words the rendered message must hold. One mistake must give one error.
//
//===----------------------------------------------------------------------===//

#include "tests/frontend/Support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::test;
using testing::HasSubstr;

namespace {

struct Case {
  const char *name;
  std::string text;
  std::vector<std::string> words;
};

/// A statement among values of every kind.
std::string body(const std::string &statement) {
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
std::string header(const std::string &text) {
  return "layer f" + text + " {\n  return x\n}\n";
}

/// A layer with one more parameter of that type.
std::string type(const std::string &text) {
  return header("(x: f16[M, N], w: " + text + ") -> f16[M, N]");
}

void check(const Case &test) {
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
    EXPECT_THAT(found.render(), HasSubstr(word));
}

void checkAll(const std::vector<Case> &cases) {
  for (const Case &test : cases)
    check(test);
}

} // namespace

TEST(FrontendErrors, Tokens) {
  checkAll({
      {"character", body("a = x ~$ y"), {"unexpected character '$'"}},
      {"dash", body("a = x ~\xe2\x88\x92 1"), {"byte 0xe2", "ASCII"}},
      {"comment", body("a = x ~// note"), {"'//'", "'#'"}},
      {"semicolon", body("a = x~;"), {"';'", "no separator"}},
      {"number", body("a = x * ~64abc"), {"'64abc'", "neither a number"}},
      {"not", body("a = ~!x"), {"unexpected character '!'"}},
  });
}

TEST(FrontendErrors, Form) {
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

TEST(FrontendErrors, Types) {
  checkAll({
      {"unknown", type("~q8[M]"), {"unknown element type 'q8'", "f8e4m3"}},
      {"alias", type("~float16[M]"), {"did you mean 'f16'?"}},
      {"near", type("~f8e4m4[M]"), {"did you mean 'f8e4m3'?"}},
      {"int4",
       type("~i4[M, N] * f32[M, 1]"),
       {"'i4' is not supported yet", "supported element types"}},
      {"nf4", type("~nf4[M, N]"), {"'nf4' is not supported yet"}},
      {"mx",
       type("f8e4m3[M, N] * ~f8e8m0[M, N/32]"),
       {"'f8e8m0' is not supported yet"}},
      {"zero points",
       type("~(u4[M, N] - u4[M, N/128]) * f16[M, N/128]"),
       {"zero points", "not supported yet", "supported are codes * scales"}},
      {"offset",
       type("u8[M, N] * f16[M, 1] ~- f16[M, 1]"),
       {"zero points and offsets", "not supported yet"}},
      {"flat", type("i8[M, N] * ~flat(64)"), {"flat"}},
      {"gather", type("i8[M, N] * ~gather(i)"), {"gathered scales"}},
      {"two levels",
       type("f8e4m3[M, N] * f16[M, N/16] ~* f32[1, 1]"),
       {"two levels", "not supported yet"}},
      {"no shape", type("~f16"), {"no shape", "f16[M, 64]"}},
      {"no scale shape", type("i8[M, N] * ~f32"), {"scales without a shape"}},
      {"both",
       type("i8[M, N] per token * ~f32[M, 1]"),
       {"granularity in words and a shape"}},
      {"codes", type("~f16[M, N] * f32[M, 1]"), {"codes of type f16", "i8"}},
      {"scales", type("i8[M, N] * ~i32[M, 1]"), {"scales of type i32", "bf16"}},
      {"scale rank",
       type("i8[M, N] * ~f32[M]"),
       {"scales of rank 1 for codes of rank 2"}},
      {"scale extent",
       type("i8[M, N] * f32[~N, 1]"),
       {"axis 0 of the scales is N, of the codes M", "M/128"}},
      {"indivisible",
       type("i8[M, 100] * f32[M, ~3]"),
       {"3 scales do not divide an axis of 100", "100/34"}},
      {"too many scales",
       type("i8[M, 10] * f32[M, ~20]"),
       {"axis 1 of the scales is 20, of the codes 10"}},
      {"granularity",
       type("i8[M, N] per ~toke"),
       {"unknown granularity 'toke'", "did you mean 'per token'?"}},
      {"no granularity", type("i8[M, N] per ~4"), {"a granularity"}},
      {"group arity",
       type("i8[M, N] per ~group"),
       {"per group with 0 extents", "per group(128)"}},
      {"token arity",
       type("i8[M, N] per ~token(3)"),
       {"per token with 1 extents", "per token"}},
      {"block rank",
       type("i8[M, N] per ~block(1, 2, 3)"),
       {"3 extents for a tensor of rank 2"}},
      {"block of zero", type("i8[M, N] per group(~0)"), {"extent of 0"}},
      {"token of a scalar", type("i8[] per ~token"), {"rank 0"}},
      {"rank",
       type("~f16[M, 1, 2, 3, 4, 5, 6]"),
       {"rank 7", "at most 6 dimensions"}},
      {"extent zero", type("~f16[M, 0]"), {"an extent of 0"}},
      {"extent large",
       type("f16[M, ~3000000000]"),
       {"3000000000 is too large", "2147483647"}},
      {"overflow",
       type("f16[M, ~99999999999999999999]"),
       {"'99999999999999999999' is too large"}},
      {"product too large",
       type("f16[M, 2000000000 ~* 2000000000]"),
       {"too large to compute with"}},
      {"bilinear", type("f16[M ~* N]"), {"the product of M and N", "linear"}},
      {"division", type("f16[M ~/ 0]"), {"division by 0"}},
      {"division by symbol", type("f16[M ~/ N]"), {"division by N"}},
      {"negative extent",
       type("~f16[M - 5]"),
       {"M - 5 can be negative", "M in 0..2147483647"}},
      {"unbound",
       type("f16[2*~Q + 1]"),
       {"'Q' is bound by no parameter", "x: f16[Q, 64]"}},
      {"result symbol",
       header("(x: f16[Rows, 64]) -> f16[~Row, 64]"),
       {"'Row' is bound by no parameter", "did you mean 'Rows'?"}},
      {"symbol name",
       header("(x: f16[M, ~f32]) -> f16[M]"),
       {"'f32' is an element type"}},
  });
}

TEST(FrontendErrors, Declarations) {
  checkAll({
      {"twice",
       header("(x: f16[M], ~x: f16[M]) -> f16[M]"),
       {"parameter 'x' is declared twice"}},
      {"symbol",
       header("(x: f16[M], ~M: f16[M]) -> f16[M]"),
       {"'M' is both a parameter and a symbol"}},
      {"word",
       header("(x: f16[M], ~inf: f16[M]) -> f16[M]"),
       {"'inf' is a word of the language"}},
      {"result name",
       header("(x: f16[M]) -> (~x: f16[M])"),
       {"the result name 'x' is taken"}},
      {"rule for nothing",
       header("(x: f16[Rows]) -> f16[Rows] with ~Row in "
              "1..4"),
       {"no parameter has the extent 'Row'", "did you mean 'Rows'?"}},
      {"second range",
       header("(x: f16[M]) -> f16[M] with M in 1..4, ~M in "
              "1..8"),
       {"a second range for 'M'"}},
      {"second divisor",
       header("(x: f16[M]) -> f16[M] with M % 2 == 0, ~M % 4 "
              "== 0"),
       {"a second divisor for 'M'"}},
      {"empty range",
       header("(x: f16[M]) -> f16[M] with M in ~8..4"),
       {"range 8..4 of M is empty"}},
      {"no multiple",
       header("(x: f16[M]) -> f16[M] with M in 1..7, M % ~8 == "
              "0"),
       {"no multiple of 8 lies in the range 1..7"}},
      {"zero divisor",
       header("(x: f16[M]) -> f16[M] with M % ~0 == 0"),
       {"multiple of 0"}},
      {"large range",
       header("(x: f16[M]) -> f16[M] with M in ~0..3000000000"),
       {"at most 2147483647"}},
      {"remainder",
       header("(x: f16[M]) -> f16[M] with M % 8 == ~3"),
       {"M % 8 == 3 is not supported"}},
      {"rule form",
       header("(x: f16[M]) -> f16[M] with M ~< 8"),
       {"'in' or '%'", "M in 1..4096"}},
      {"range form",
       header("(x: f16[M]) -> f16[M] with M in 1 ~- 8"),
       {"'..'"}},
      {"range overflow",
       header("(x: f16[M]) -> f16[M] with M in "
              "0..~99999999999999999999"),
       {"too large"}},
  });
}

TEST(FrontendErrors, Names) {
  checkAll({
      {"unknown", body("a = ~foo + 1"), {"unknown name 'foo'"}},
      {"near",
       body("quantized = x\n  a = ~quantised + 1"),
       {"did you mean 'quantized'?"}},
      {"symbol", body("a = x * ~M"), {"unknown name 'M'", "symbol"}},
      {"function", body("a = x * ~silu"), {"write silu(...)"}},
      {"unknown function",
       body("a = ~sillu(x)"),
       {"unknown function 'sillu'", "did you mean 'silu'?"}},
      {"other function",
       body("a = ~layer_norm(x)"),
       {"did you mean 'layernorm'?"}},
      {"cast", body("a = ~cast(x)"), {"x as f16"}},
      {"no function near",
       body("a = ~convolution(x)"),
       {"functions are quantize"}},
      {"twice", body("~q = x"), {"'q' is assigned twice", "line 8"}},
      {"parameter", body("~x = y"), {"'x' is assigned twice", "line 1"}},
      {"symbol assigned", body("~M = y"), {"'M' is a symbol already"}},
      {"type assigned", body("~f16 = y"), {"word of the language"}},
      {"value as extent",
       body("a = reshape(x, [~q, 64])"),
       {"'q' is a value, not an extent"}},
  });
}

TEST(FrontendErrors, Calls) {
  checkAll({
      {"few",
       body("a = ~max(x)"),
       {"'max' takes 2 arguments, found 1", "amax"}},
      {"many", body("a = ~relu(x, x)"), {"'relu' takes 1 argument, found 2"}},
      {"none", body("a = ~concat(axis = 0)"), {"found 0"}},
      {"range", body("a = ~gelu(x, tanh, 1)"), {"takes 1 to 2 arguments"}},
      {"named",
       body("a = sum(x, ~axes = 1)"),
       {"'sum' has no argument named 'axes'", "axis = -1"}},
      {"named twice",
       body("a = sum(x, axis = 1, ~axis = 1)"),
       {"'axis' is given twice"}},
      {"order",
       body("a = sum(axis = 1, ~x)"),
       {"positional argument after a named one"}},
      {"type",
       body("a = relu(~i8 per token)"),
       {"argument 1 of 'relu' must be a value, found a type"}},
      {"list", body("a = relu(~[1, 2])"), {"found a list"}},
      {"gelu form", body("a = gelu(x, ~fast)"), {"erf or tanh"}},
      {"axis type", body("a = sum(x, ~axis = x)"), {"'axis' must be a number"}},
      {"axis fraction",
       body("a = sum(x, ~axis = 0.5)"),
       {"'axis' must be an integer, found 0.5"}},
      {"axis range",
       body("a = sum(x, ~axis = 2)"),
       {"axis 2 of a tensor of rank 2", "0 to 1"}},
      {"axis twice", body("a = sum(x, ~axis = [1, -1])"), {"given twice"}},
      {"no axis", body("a = sum(x, ~axis = [])"), {"no axis to reduce"}},
      {"symbolic axis",
       body("a = transpose(x, [~M, 0])"),
       {"must be an integer, found M"}},
      {"concat axis", body("a = ~concat(x, x)"), {"'concat' needs an axis"}},
      {"reshape list", body("a = reshape(x, ~64)"), {"must be a shape"}},
      {"transpose list", body("a = transpose(x, ~1)"), {"list of axes", "x.T"}},
      {"eps", body("a = rmsnorm(x, v, ~eps = -1)"), {"eps = -1", "0 or more"}},
  });
}

TEST(FrontendErrors, Elementwise) {
  checkAll({
      {"quantized",
       body("a = silu(~q)"),
       {"'silu' needs a plain tensor", "'q', which is i8[M, 64] * f32[M, 1]",
        "dequantize(q)"}},
      {"quantized operator",
       body("a = ~q + x"),
       {"'+' needs a plain tensor", "dequantize(q)"}},
      {"codes",
       body("a = ~c * x"),
       {"'*' needs a float tensor", "'c', which is i8[M, 64]",
        "i8[N, K] * f32[N, 1]"}},
      {"indices", body("a = ~i + 1"), {"float tensor", "x as f32"}},
      {"f8", body("a = exp(~p)"), {"'exp' needs a float tensor", "f8e4m3"}},
      {"number", body("a = exp(~1)"), {"'exp' needs a tensor", "the number 1"}},
      {"mixed halves",
       body("a = x ~+ h"),
       {"mixes f16 and bf16", "'x', which is f16[M, 64]",
        "'h', which is bf16[M, 64]"}},
      {"shapes",
       body("a = x ~- y"),
       {"do not broadcast", "extents 64 and 32 differ"}},
      {"symbols", body("a = x ~- x.T"), {"do not broadcast"}},
      {"range of f16",
       body("a = x * ~65520"),
       {"65520 is beyond the range of f16", "x as f32"}},
      {"numbers", body("a = 1 ~/ 0"), {"1 / 0 is no finite number"}},
      {"compared numbers", body("a = 1 ~< 2"), {"compares two numbers"}},
      {"comparison as number",
       body("a = (x ~> 0) + 1"),
       {"'+' needs a float tensor", "where(condition, a, b)"}},
      {"condition",
       body("a = where(~x, x, x)"),
       {"must be a comparison", "where(x > 0, x, 0)"}},
      {"as integer",
       body("a = x as ~i8"),
       {"a conversion to i8", "quantize(x, i8 per token)"}},
      {"as unknown", body("a = x as ~half"), {"did you mean 'f16'?"}},
      {"as of quantized", body("a = ~q as f32"), {"needs a plain tensor"}},
      {"as of comparison",
       body("a = x ~> 0 as f16"),
       {"where(condition, 1, 0)"}},
  });
}

TEST(FrontendErrors, Quantization) {
  checkAll({
      {"no granularity",
       body("a = quantize(x, ~i8)"),
       {"codes without a granularity", "i8 per token"}},
      {"no type", body("a = quantize(x, ~8)"), {"must be a quantized type"}},
      {"plain type",
       body("a = quantize(x, ~i8[M, 64])"),
       {"quantize to the plain type i8[M, 64]"}},
      {"shape",
       body("a = quantize(x, ~i8[M, 32] per token)"),
       {"quantize to i8[M, 32] * f32[M, 1]", "'x', which is f16[M, 64]"}},
      {"quantized",
       body("a = quantize(~q, i8 per token)"),
       {"'quantize' needs a plain tensor"}},
      {"integers",
       body("a = quantize(~i, i8 per token)"),
       {"'quantize' needs a float tensor"}},
      {"alias",
       body("a = quantize(x, ~int8 per token)"),
       {"did you mean 'i8'?"}},
      {"rounding",
       body("a = quantize(x, i8 per token, ~rounding = up)"),
       {"unknown rounding 'up'", "half_even, half_away and toward_zero"}},
      {"rounding word",
       body("a = quantize(x, i8 per token, ~rounding = 1)"),
       {"must be a word"}},
      {"float rounding",
       body("a = quantize(x, f8e4m3 per token, ~rounding = half_away)"),
       {"f8e4m3 codes", "half_even"}},
      {"divisor",
       body("a = quantize(x, i8 per token, ~divisor = 0)"),
       {"a divisor of 0", "positive"}},
      {"divisor type",
       body("a = quantize(x, i8 per token, ~divisor = x)"),
       {"'divisor' must be a number"}},
      {"qmin",
       body("a = quantize(x, i8 per token, ~qmin = -200)"),
       {"qmin = -200", "-128 to 127"}},
      {"qmax",
       body("a = quantize(x, u8 per token, ~qmax = 3.5)"),
       {"qmax = 3.5", "integers from 0 to 255"}},
      {"empty",
       body("a = quantize(x, i8 per token, ~qmin = 5, qmax = 1)"),
       {"codes from 5 to 1"}},
      {"floor",
       body("a = quantize(x, i8 per token * f16, ~floor = 1e-9)"),
       {"a floor of", "smallest normal number of f16"}},
      {"static divisor",
       body("a = quantize(x, i8 per token, scale = k, ~divisor = 128)"),
       {"divisor beside a given scale"}},
      {"static type",
       body("a = quantize(x, i8 per tensor, scale = ~k)"),
       {"needs a scale of type f32[1, 1]", "'k', which is f32[M, 1]"}},
      {"static number",
       body("a = quantize(x, i8 per tensor, scale = ~0.5)"),
       {"the scale is f32[1, 1], found the number 0.5", "parameter"}},
      {"dequantize",
       body("a = dequantize(~x)"),
       {"'dequantize' needs a quantized value", "'x', which is f16[M, 64]"}},
  });
}

TEST(FrontendErrors, Products) {
  checkAll({
      {"scale along the sum",
       body("a = q @ ~e.T"),
       {"the scale of the right operand varies with every element of the axis "
        "of 64",
        "'e', which is i8[128, 64] * f32[128, 64]",
        "neither applied after the sum nor split off",
        "fold the scale into the other operand"}},
      {"scale of the left",
       body("r = quantize(x, i8[M, 64] * f32[1, 64])\n  a = ~r @ w.T"),
       {"the scale of the left operand varies with every element"}},
      {"blocks",
       body("r = quantize(x, i8 per group(16))\n  a = r ~@ g.T"),
       {"constant over 16 and 24 elements", "a multiple of the other"}},
      {"code kinds", body("a = q ~@ d.T"), {"integer and float codes"}},
      {"plain codes",
       body("a = ~c @ w.T"),
       {"'@' of a plain i8 tensor", "i8[N, K] * f32[N, 1]"}},
      {"number", body("a = x @ ~2"), {"'@' needs tensors", "'*'"}},
      {"rank", body("a = x ~@ v"), {"rank 2 or more", "reshape"}},
      {"transpose missing",
       body("a = q ~@ w"),
       {"contracts 64 elements of the left operand with 128", "w.T"}},
      {"transpose too much",
       body("a = x ~@ z.T"),
       {"contracts 64 elements of the left operand with N", "without .T"}},
      {"extents",
       body("a = y ~@ w.T"),
       {"contracts 32 elements of the left operand with 64"}},
      {"more batches", body("a = x ~@ t.T"), {"more batch dimensions"}},
      {"batches",
       body("r = concat(t, t, axis = 0)\n  a = r ~@ t.T"),
       {"batch dimensions of '@' differ: [8] on the left, [4]"}},
      {"mixed", body("a = x ~@ h.T"), {"'@' mixes f16 and bf16"}},
      {"beside f8",
       body("a = ~p @ w.T"),
       {"'@' with a quantized operand", "float tensor"}},
      {"transpose of quantized",
       body("a = q~.T @ x"),
       {"'.T' of a quantized value", "x @ w.T"}},
      {"transpose of vector", body("a = v~.T"), {"'.T' needs two axes"}},
  });
}

TEST(FrontendErrors, RowsAndShapes) {
  checkAll({
      {"weight",
       body("a = rmsnorm(y, ~v)"),
       {"the weight of 'rmsnorm'", "[32]", "'v', which is f16[64]"}},
      {"bias", body("a = layernorm(x, v, ~k)"), {"the bias of 'layernorm'"}},
      {"count",
       body("a = reshape(x, ~[M, 65])"),
       {"reshape to [M, 65]", "'x', which is f16[M, 64]"}},
      {"symbolic count",
       body("a = reshape(z, ~[64, 2, N/2])"),
       {"does not keep the element count", "64*H"}},
      {"quantized",
       body("a = reshape(~q, [M, 64])"),
       {"'reshape' needs a plain tensor", "dequantize(q)"}},
      {"permutation",
       body("a = transpose(x, ~[0, 0])"),
       {"[0, 0] is no permutation", "from 0 to 1"}},
      {"index", body("a = x[~0]"), {"drop an axis", "3:4"}},
      {"ranges", body("a = x~[:, :, :]"), {"3 ranges"}},
      {"bounds",
       body("a = x[:, ~0:65]"),
       {"the range 0:65 is not within the axis of 64", "65 > 64"}},
      {"before", body("a = x[:, ~-65:]"), {"-1:64"}},
      {"reversed", body("a = x[:, ~5:4]"), {"5 > 4"}},
      {"empty", body("a = x[:, ~5:5]"), {"the range 5:5 is empty"}},
      {"symbolic",
       body("a = x[~0:16, :]"),
       {"16 > M is possible", "M in 0..2147483647"}},
      {"step", body("a = x[:, ~0:8:0]"), {"a step of 0"}},
      {"symbolic step", body("a = x[:, 0:8:~M]"), {"a symbolic step"}},
      {"concat",
       body("a = concat(x, ~y, axis = 0)"),
       {"'concat' along axis 0", "all other extents"}},
      {"concat types", body("a = concat(x, ~h, axis = 0)"), {"element types"}},
      {"concat axis",
       body("a = concat(x, x, ~axis = 2)"),
       {"axis 2 of a tensor of rank 2"}},
      {"indices", body("a = gather(x, ~v)"), {"indices of 'gather' are i32"}},
      {"table", body("a = gather(~q, i)"), {"the table of 'gather'"}},
      {"gathered rank",
       body("r = reshape(t, [4, M, 8, 2, 2, 2])\n  s = reshape(i, [M, 1])\n"
            "  a = ~gather(r, s)"),
       {"rank 7"}},
  });
}

TEST(FrontendErrors, Results) {
  auto layer = [](const std::string &results, const std::string &body) {
    return "layer f(x: f16[M, 64], q: i8[M, 64] * f32[M, 1]) -> " + results +
           " {\n  " + body + "\n}\n";
  };
  checkAll({
      {"none",
       "layer f(x: f16[M]) -> f16[M] {\n  a = x * 2\n~}\n",
       {"layer 'f' returns nothing", "return EXPRESSION"}},
      {"after",
       layer("f16[M, 64]", "return x\n  ~a = x"),
       {"a statement after 'return'"}},
      {"count",
       layer("(f16[M, 64], f16[M, 64])", "~return x"),
       {"1 values are returned, 2 declared"}},
      {"shape",
       layer("f16[M, 32]", "return ~x"),
       {"the result is declared f16[M, 32]", "'x', which is f16[M, 64]"}},
      {"number", layer("f16[M, 64]", "return ~1"), {"found the number 1"}},
      {"quantized",
       layer("(y: f16[M, 64])", "return ~q"),
       {"result 'y' is declared f16[M, 64]", "dequantize"}},
      {"plain",
       layer("i8[M, 64] * f32[M, 1]", "return ~x"),
       {"quantize(h, i8 per token)"}},
      {"granularity",
       layer("i8[M, 64] * f32[1, 1]", "return ~q"),
       {"declared i8[M, 64] * f32[1, 1]",
        "'q', which is i8[M, 64] * f32[M, 1]"}},
      {"integer",
       layer("i32[M, 64]", "return ~x"),
       {"only a float value is converted"}},
  });
}

//===----------------------------------------------------------------------===//
// Recovery
//===----------------------------------------------------------------------===//

TEST(FrontendErrors, SeveralPerRun) {
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

TEST(FrontendErrors, StopAtAReasonableNumber) {
  std::string text = "layer f(x: f16[M]) -> f16[M] {\n";
  for (int i = 0; i < 1000; ++i)
    text += "  v" + std::to_string(i) + " = foo\n";
  Parsed parsed = parse(text + "  return x\n}\n");
  EXPECT_EQ(parsed.diagnostics.size(), 51u);
  EXPECT_THAT(parsed.diagnostics.back().message, HasSubstr("too many errors"));
}
