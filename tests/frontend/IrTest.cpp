//===- IrTest.cpp - The IR that the language's constructs make ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/frontend/Support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace quern;
using namespace quern::test;
using testing::HasSubstr;

/// The text parses, and its IR holds these parts in this order.
static void expectParts(llvm::StringRef text,
                        const std::vector<std::string> &parts) {
  Parsed parsed = parse(text);
  ASSERT_TRUE(parsed.module) << parsed.errors() << text.str();
  std::string ir = parsed.ir();
  size_t from = 0;
  for (const std::string &part : parts) {
    size_t at = ir.find(part, from);
    ASSERT_NE(at, std::string::npos)
        << "missing, or out of order:\n  " << part << "\nin\n"
        << ir;
    from = at + part.size();
  }
}

/// A layer with one f16[M, 64] input and one result of that type.
static std::string unaryLayer(const std::string &body) {
  return "layer f(x: f16[M, 64]) -> f16[M, 64] {\n" + body + "\n}\n";
}

//===----------------------------------------------------------------------===//
// Whole layers
//===----------------------------------------------------------------------===//

TEST(FrontendIr, SwiGlu) {
  expectParts(
      readFile(QUERN_SOURCE_DIR "/examples/swiglu_small.qn"),
      {"#map = affine_map<()[s0] -> (s0, 64)>",
       "#map1 = affine_map<()[s0] -> (s0, 176)>",
       "func.func @swiglu_small(%arg0: tensor<?x64xf16, #map> {quern.name = "
       "\"x\"}, %arg1: !quern.qtensor<tensor<176x64xi8>, <block = [1, 0], type "
       "= f32>> {quern.name = \"w_gate\", quern.weight}",
       "-> (tensor<?x64xf16, #map> {quern.name = \"result\"}) attributes "
       "{quern.numerics = \"strict\", quern.symbols = [#quern.symbol<\"M\", 1, "
       "4096, 1>]}",
       "%0 = quern.quantize %arg0 <divisor = 1.270000e+02, range = "
       "-1.270000e+02, 1.270000e+02, rounding = half_even, floor = "
       "1.17549435E-38> : tensor<?x64xf16, #map> -> <tensor<?x64xi8, #map>, "
       "<block = [1, 0], type = f32>>",
       "%1 = quern.matmul %0, %arg1 transpose_rhs",
       "-> tensor<?x176xf32, #map1>", "%2 = quern.silu %1",
       "%3 = quern.matmul %0, %arg2 transpose_rhs", "%4 = quern.mul %2, %3",
       "%5 = quern.cast %4 : tensor<?x176xf32, #map1> -> tensor<?x176xf16, "
       "#map1>",
       "%6 = quern.quantize %5", "%7 = quern.matmul %6, %arg3 transpose_rhs",
       "%8 = quern.cast %7 : tensor<?x64xf32, #map> -> tensor<?x64xf16, #map>",
       "return %8"});
}

TEST(FrontendIr, EveryExampleParses) {
  struct Example {
    const char *file, *layer;
  };
  for (Example example : {Example{"hello/hello", "hello"},
                          {"swiglu_mlp", "swiglu_mlp"},
                          {"swiglu_small", "swiglu_small"},
                          {"fp8_linear", "fp8_linear"},
                          {"softmax_head", "softmax_head"},
                          {"minilm/ffn", "minilm_ffn"}}) {
    Parsed parsed = parse(readFile(std::string(QUERN_SOURCE_DIR "/examples/") +
                                   example.file + ".qn"));
    ASSERT_TRUE(parsed.module) << parsed.errors();
    EXPECT_TRUE(parsed.module->lookupSymbol(example.layer)) << example.file;
    parsed.module->walk([&](mlir::Operation *op) {
      auto place = op->getLoc()->findInstanceOf<mlir::FileLineColLoc>();
      EXPECT_TRUE(place && place.getLine() > 0) << example.file;
    });
  }
}

TEST(FrontendIr, SeveralLayersInOneFile) {
  expectParts("layer a(x: f32[M, 4]) -> f32[M, 4] { return relu(x) }\n"
              "layer b(x: f32[K, 4]) -> f32[K, 4] { return exp(x) }\n",
              {"func.func @a", "#quern.symbol<\"M\"", "quern.relu",
               "func.func @b", "#quern.symbol<\"K\"", "quern.exp"});
}

TEST(FrontendIr, NamesAndPlacesOfValues) {
  Parsed parsed = parse("layer f(x: f16[M, 64]) -> f16[M, 64] {\n"
                        "  h = silu(x)\n"
                        "  return h\n"
                        "}\n");
  ASSERT_TRUE(parsed.module) << parsed.errors();
  mlir::Operation *silu = nullptr;
  parsed.module->walk([&](ir::SiluOp op) { silu = op; });
  ASSERT_TRUE(silu);
  auto name = llvm::dyn_cast<mlir::NameLoc>(silu->getLoc());
  ASSERT_TRUE(name);
  EXPECT_EQ(name.getName().str(), "h");
  auto place = llvm::dyn_cast<mlir::FileLineColLoc>(name.getChildLoc());
  ASSERT_TRUE(place);
  EXPECT_EQ(place.getFilename().str(), "test.qn");
  EXPECT_EQ(place.getLine(), 2u);
  EXPECT_EQ(place.getColumn(), 7u);
  auto argument = llvm::dyn_cast<mlir::NameLoc>(silu->getOperand(0).getLoc());
  ASSERT_TRUE(argument);
  EXPECT_EQ(argument.getName().str(), "x");
}

//===----------------------------------------------------------------------===//
// Symbols, types and granularity
//===----------------------------------------------------------------------===//

TEST(FrontendIr, SymbolsHaveRangesAndDivisors) {
  expectParts("layer f(x: f32[B, M, K]) -> f32[B, M, K]\n"
              "    with M in 1..4096, K % 64 == 0, K in 64..8192 {\n"
              "  return abs(x)\n}\n",
              {"affine_map<()[s0, s1, s2] -> (s0, s1, s2)>",
               "quern.symbols = [#quern.symbol<\"B\", 0, 2147483647, 1>, "
               "#quern.symbol<\"M\", 1, 4096, 1>, #quern.symbol<\"K\", 64, "
               "8192, 64>]"});
}

TEST(FrontendIr, ExtentsAreExpressions) {
  expectParts("layer f(k: f32[K], x: f32[2*K + 1, (K + 3)/4]) -> f32[2*K + 1, "
              "(K + 3)/4] { return -x }\n",
              {"affine_map<()[s0] -> (s0 * 2 + 1, (s0 + 3) ceildiv 4)>"});
}

/// The block of the scales of `type`, by parsing it as a parameter.
static std::string blockOf(const std::string &type) {
  Parsed parsed = parse("layer f(x: f32[M, N, K], q: " + type +
                        ") -> f32[M, N, K] { return -x }\n");
  if (!parsed.module)
    return parsed.errors();
  auto function = *parsed.module->getOps<mlir::func::FuncOp>().begin();
  auto quantized =
      llvm::dyn_cast<ir::QTensorType>(function.getArgument(1).getType());
  if (!quantized)
    return "plain";
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << quantized.getScale();
  return text;
}

TEST(FrontendIr, GranularityIsTheShapeOfTheScales) {
  const std::pair<const char *, const char *> cases[] = {
      {"i8[N, K] * f32[N, 1]", "[1, 0], type = f32"},
      {"i8[N, K] * f32[1, 1]", "[0, 0], type = f32"},
      {"i8[N, K] * f16[1, K]", "[0, 1], type = f16"},
      {"i8[N, K] * bf16[N, K]", "[1, 1], type = bf16"},
      {"i8[N, K] * f32[N, K/128]", "[1, 128], type = f32"},
      {"u8[N, K] * f32[N/64, K/32]", "[64, 32], type = f32"},
      {"i8[N, 2*K] * f32[N, 2*K/128]", "[1, 128], type = f32"},
      {"i8[384, 512] * f32[3, 4]", "[128, 128], type = f32"},
      {"i8[384, 512] * f32[384, 512/100]", "[1, 100], type = f32"},
      {"i8[1, 512] * f32[1, 1]", "[1, 0], type = f32"},
      {"i8[4, 64] * f32[4, 64/128]", "[1, 0], type = f32"},
      {"i8[M, K] per token", "[1, 0], type = f32"},
      {"i8[M, N, K] per token * f16", "[1, 1, 0], type = f16"},
      {"i8[M, K] per channel", "[1, 0], type = f32"},
      {"i8[M, K] per tensor", "[0, 0], type = f32"},
      {"i8[1, K] per tensor", "[1, 0], type = f32"},
      {"f8e4m3[M, K] per group(128)", "[1, 128], type = f32"},
      {"f8e5m2[M, N, K] per block(64, 32)", "[1, 64, 32], type = f32"},
      {"i8[M, N, K] per block(2, 64, 32)", "[2, 64, 32], type = f32"},
  };
  for (auto [type, block] : cases)
    EXPECT_THAT(blockOf(type), HasSubstr(block)) << type;
}

TEST(FrontendIr, ElementTypes) {
  expectParts("layer f(x: f32[M], a: bf16[M], b: u8[M], c: f8e4m3[M], d: "
              "f8e5m2[M], e: i32[M], g: f32[]) -> f32[M] { return x * g }\n",
              {"tensor<?xf32", "tensor<?xbf16", "tensor<?xui8",
               "tensor<?xf8E4M3FN", "tensor<?xf8E5M2", "tensor<?xi32",
               "tensor<f32>", "quern.mul %arg0, %arg6"});
}

//===----------------------------------------------------------------------===//
// Expressions
//===----------------------------------------------------------------------===//

TEST(FrontendIr, PrecedenceAsIsLoosest) {
  expectParts("layer f(x: f32[M], y: f32[M]) -> f16[M] {\n"
              "  return -x + y * x as f16\n}\n",
              {"%0 = quern.neg %arg0", "%1 = quern.mul %arg1, %arg0",
               "%2 = quern.add %0, %1", "%3 = quern.cast %2", "return %3"});
}

TEST(FrontendIr, ProductsShareOneLevel) {
  expectParts("layer f(x: f32[M, M]) -> f32[M, M] { return x / x @ x }\n",
              {"%0 = quern.div", "%1 = quern.matmul %0, %arg0 :"});
}

TEST(FrontendIr, NumbersTakeTheTypeBeside) {
  expectParts(unaryLayer("return 2 * 3 * x + 0.5"),
              {"quern.constant 6.000000e+00 : f16", "quern.mul",
               "quern.constant 5.000000e-01 : f16", "quern.add"});
  expectParts(unaryLayer("return where(x > 0, x, -inf)"),
              {"0.000000e+00 : f16", "quern.compare gt %arg0", "0xFC00 : f16",
               "quern.select"});
}

TEST(FrontendIr, HalfWidensBesideSingle) {
  expectParts("layer f(x: f16[M, 64], b: f32[64]) -> f32[M, 64] {\n"
              "  return x + b\n}\n",
              {"%0 = quern.cast %arg0 : tensor<?x64xf16, #map> -> "
               "tensor<?x64xf32, #map>",
               "quern.add %0, %arg1"});
}

TEST(FrontendIr, Broadcasting) {
  expectParts(
      "layer f(x: f32[M, 1], y: f32[B, 1, N]) -> f32[B, M, N] {\n"
      "  return max(x, y)\n}\n",
      {"affine_map<()[s0, s1, s2] -> (s1, s0, s2)>", "quern.max %arg0, %arg1"});
}

TEST(FrontendIr, Comparisons) {
  const std::pair<const char *, const char *> cases[] = {
      {"<", "lt"},  {"<=", "le"}, {">", "gt"},
      {">=", "ge"}, {"==", "eq"}, {"!=", "ne"}};
  for (auto [text, name] : cases)
    expectParts(unaryLayer(std::string("return where(x ") + text + " 0, x, 1)"),
                {std::string("quern.compare ") + name, "xi1"});
}

TEST(FrontendIr, ElementwiseFunctions) {
  const std::pair<const char *, const char *> cases[] = {
      {"silu(x)", "silu"},
      {"gelu(x)", "gelu_erf"},
      {"gelu(x, erf)", "gelu_erf"},
      {"gelu(x, tanh)", "gelu_tanh"},
      {"relu(x)", "relu"},
      {"sigmoid(x)", "sigmoid"},
      {"exp(x)", "exp"},
      {"tanh(x)", "tanh"},
      {"erf(x)", "erf"},
      {"sqrt(x)", "sqrt"},
      {"abs(x)", "abs"},
      {"-x", "neg"},
      {"min(x, x)", "min"},
      {"x - x", "sub"},
      {"softmax(x)", "softmax"}};
  for (auto [text, name] : cases)
    expectParts(unaryLayer(std::string("return ") + text),
                {std::string("quern.") + name + " %arg0"});
}

TEST(FrontendIr, TransposesOfProducts) {
  expectParts("layer f(a: f32[K, M], b: f32[N, K]) -> f32[M, N] {\n"
              "  return a.T @ b.T\n}\n",
              {"%0 = quern.transpose %arg0 [1, 0]",
               "%1 = quern.matmul %0, %arg1 transpose_rhs"});
  expectParts("layer f(a: f16[B, H, M, K], b: f16[B, H, M, K]) -> "
              "f32[B, H, M, M] {\n  return a @ b.T\n}\n",
              {"quern.matmul %arg0, %arg1 transpose_rhs"});
  expectParts("layer f(a: f16[B, M, K], weight w: i8[K, N] * f32[1, N]) -> "
              "f32[B, M, N] {\n  return a @ w\n}\n",
              {"quern.matmul %arg0, %arg1 : "});
}

TEST(FrontendIr, QuantizerSettings) {
  expectParts(unaryLayer("q = quantize(x, i8 per token, rounding = half_away, "
                         "divisor = 128, qmin = -128)\n"
                         "return dequantize(q)"),
              {"<divisor = 1.280000e+02, range = -1.280000e+02, 1.270000e+02, "
               "rounding = half_away",
               "quern.dequantize", "quern.cast"});
  expectParts(unaryLayer("q = quantize(x, i8 per tensor * f16, floor = 1e-3, "
                         "rounding = toward_zero)\nreturn dequantize(q)"),
              {"rounding = toward_zero, floor = 1.000000e-03",
               "block = [0, 0], type = f16"});
}

TEST(FrontendIr, PowersOfTwoAsScales) {
  expectParts(unaryLayer("q = quantize(x, f8e4m3 per group(32), "
                         "scale_rounding = power_floor)\n"
                         "return dequantize(q)"),
              {", scale_rounding = power_floor>"});
  // The default is not written.
  expectParts(unaryLayer("q = quantize(x, i8 per token, scale_rounding = "
                         "nearest)\nreturn dequantize(q)"),
              {"floor = 1.17549435E-38> :"});
}

TEST(FrontendIr, Statistics) {
  expectParts(unaryLayer("q = quantize(x, i8 per token, statistic = "
                         "percentile(99.5))\nreturn dequantize(q)"),
              {", statistic = percentile(9.950000e+01)>"});
  expectParts(unaryLayer("q = quantize(x, i8 per token, scale_rounding = "
                         "power_even, statistic = sampled(2 * 4))\n"
                         "return dequantize(q)"),
              {", scale_rounding = power_even, statistic = "
               "sampled(8.000000e+00)>"});
  expectParts(unaryLayer("q = quantize(x, i8 per token, statistic = absmax)\n"
                         "return dequantize(q)"),
              {"floor = 1.17549435E-38> :"});
}

TEST(FrontendIr, State) {
  expectParts("layer f(x: f32[M, 64], inout s: f32[1, 64], inout: f32[64]) -> "
              "f32[M, 64] {\n"
              "  y = x - s\n  s = s * 0.5 as f16\n  return y * s + inout\n}\n",
              {"%arg1: tensor<1x64xf32> {quern.inout, quern.name = \"s\"}",
               "%arg2: tensor<64xf32> {quern.name = \"inout\"}",
               "tensor<1x64xf32> {quern.inout, quern.name = \"s\"})"});
}

TEST(FrontendIr, PredictedScalesWaitForNoReduction) {
  // The scale is made of the state alone.
  expectParts("layer f(x: f16[M, 64], inout s: f32[1, 1], inout n: i32[1, 1]) "
              "-> f16[M, 64] {\n"
              "  q = quantize(x, i8 per tensor, predicted = s, decay = 0.25, "
              "clipped = n)\n  return dequantize(q)\n}\n",
              {"quern.constant 1.270000e+02", "quern.compare lt", "quern.div",
               "quern.max", "quern.quantize %arg0 scale",
               "quern.reduce absmax %arg0 block [1, 0]", "quern.reduce absmax",
               "block [0, 1]", "7.500000e-01", "2.500000e-01",
               "quern.count_clipped %arg0", "after %arg2"});
}

TEST(FrontendIr, OneScaleForSomeTokens) {
  // In words, as a shape, and as a block of the same extents.
  for (const char *type :
       {"i8 per tokens(4)", "i8[M, 64] * f32[M/4, 1]", "i8 per block(4, 64)"})
    expectParts("layer f(x: f16[M, 64]) -> i8[M, 64] * f32[M/4, 1] {\n"
                "  return quantize(x, " +
                    std::string(type) + ")\n}\n",
                {"block = [4, 0], type = f32"});
  expectParts("layer f(x: f16[B, M, K]) -> i8[B, M, K] per tokens(2) {\n"
              "  return quantize(x, i8 per tokens(2))\n}\n",
              {"block = [1, 2, 0], type = f32"});
}

TEST(FrontendIr, StaticQuantization) {
  expectParts("layer f(x: f16[M, 64], s: f32[1, 1]) -> i8[M, 64] * f32[1, 1] "
              "{\n  return quantize(x, i8 per tensor, scale = s)\n}\n",
              {"quern.quantize %arg0 scale %arg1 : tensor<1x1xf32>",
               "return %0 : !quern.qtensor"});
}

TEST(FrontendIr, QuantizeToAWrittenType) {
  expectParts("layer f(x: f16[M, K]) -> f8e4m3[M, K] per group(32) {\n"
              "  return quantize(x, f8e4m3[M, K] * f32[M, K/32])\n}\n",
              {"block = [1, 32]"});
}

TEST(FrontendIr, SeveralResultsWithNames) {
  expectParts("layer f(x: f16[M, 64]) -> (y: f16[M, 64], q: i8[M, 64] * "
              "f32[M, 1]) {\n  return x * 2, quantize(x, i8 per token)\n}\n",
              {"{quern.name = \"y\"}", "{quern.name = \"q\"}"});
  expectParts("layer f(result0: f16[M]) -> (f16[M], f16[M]) {\n"
              "  return -result0, abs(result0)\n}\n",
              {"{quern.name = \"result0_\"}", "{quern.name = \"result1\"}"});
}

TEST(FrontendIr, Reductions) {
  expectParts("layer f(x: f16[B, M, 64]) -> (f16[B, M, 1], f16[B, 1, 64], "
              "f16[1, 1, 64], f32[B, M, 1]) {\n"
              "  return sum(x), mean(x, axis = 1), amax(x, axis = [0, 1]), "
              "absmax(x, axis = -1)\n}\n",
              {"quern.reduce sum %arg0 block [1, 1, 0]",
               "quern.reduce mean %arg0 block [1, 0, 1]",
               "quern.reduce max %arg0 block [0, 0, 1]",
               "quern.reduce absmax %arg0 block [1, 1, 0]"});
}

TEST(FrontendIr, Normalisations) {
  expectParts("layer f(x: f16[M, 64], g: f32[64], b: f32[64]) -> f16[M, 64] "
              "{\n  return layernorm(rmsnorm(x, g, eps = 1e-6), g, b)\n}\n",
              {"quern.rmsnorm %arg0, %arg1 eps 9.99999997E-7",
               "quern.layernorm %0, %arg1, %arg2 eps 9.99999974E-6"});
}

TEST(FrontendIr, ShapeOperations) {
  expectParts("layer f(x: f16[M, 512], i: i32[M], t: f16[1000, 64]) -> "
              "(f16[8, M, 64], f16[M, 1024], f16[M, 64]) {\n"
              "  h = transpose(reshape(x, [M, 8, 64]), [1, 0, 2])\n"
              "  return h, concat(x, x, axis = -1), gather(t, i)\n}\n",
              {"quern.reshape", "quern.transpose %0 [1, 0, 2]",
               "quern.concat %arg0, %arg0 axis 1",
               "quern.gather %arg2, %arg1"});
}

TEST(FrontendIr, ReshapesOfSymbolicAxes) {
  expectParts("layer f(x: f16[M, 64*H], h: f16[H]) -> (f16[M, H, 64], f16[8*M, "
              "8*H]) {\n"
              "  y = reshape(x, [M, H, 64])\n"
              "  return y, reshape(y, [8*M, 8*H])\n}\n",
              {"quern.reshape %arg0", "quern.reshape %0"});
}

TEST(FrontendIr, Slices) {
  expectParts("layer f(x: f16[M, N]) -> (f16[4, N/2], f16[M, 1])\n"
              "    with M in 8..64, N in 2..4096 {\n"
              "  return x[0:8:2, 0:N/2], x[:, -1:]\n}\n",
              {"affine_map<()[s0, s1] -> (4, s1 ceildiv 2)>",
               "quern.slice %arg0 from #map3 by [2, 1]",
               "quern.slice %arg0 from #map4 by [1, 1]"});
}

TEST(FrontendIr, DivisibilityProvesSlices) {
  // For odd N, N/2 rounds up, and 2*(N/2) is past the end.
  std::string rest = " { return x[0:2*(N/2)] }\n";
  expectParts("layer f(x: f16[N]) -> f16[2*(N/2)] with N % 2 == 0" + rest,
              {"quern.slice"});
  Parsed odd = parse("layer f(x: f16[N]) -> f16[2*(N/2)]" + rest);
  EXPECT_FALSE(odd.module);
  EXPECT_THAT(odd.errors(), HasSubstr("not within the axis of N"));
}
