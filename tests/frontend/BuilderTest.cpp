//===- BuilderTest.cpp - Layers made from C++ -----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The builder and the text make the same IR, character for character, and
// refuse with the same words.
//
//===----------------------------------------------------------------------===//

#include "compiler/frontend/Builder.h"
#include "tests/frontend/Support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

using namespace quern;
using namespace quern::test;
using testing::HasSubstr;

namespace {

std::string print(mlir::ModuleOp module) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  module.print(stream);
  return text;
}

/// What `build` makes equals what `text` makes.
void expectSame(llvm::StringRef name, llvm::StringRef text,
                llvm::function_ref<void(LayerBuilder &)> build) {
  Parsed parsed = parse(text);
  ASSERT_TRUE(parsed.module) << parsed.errors();
  LayerBuilder b(*parsed.context, name);
  build(b);
  auto module = b.finish();
  ASSERT_TRUE(bool(module)) << module.error().render();
  EXPECT_EQ(print(**module), parsed.ir());
}

/// What `build` makes is refused with these words.
void expectRefused(llvm::function_ref<void(LayerBuilder &)> build,
                   const std::vector<std::string> &words) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  LayerBuilder b(context, "f");
  build(b);
  auto module = b.finish();
  ASSERT_FALSE(bool(module));
  EXPECT_NE(module.error().code, Errc::Internal) << module.error().render();
  for (const std::string &word : words)
    EXPECT_THAT(module.error().render(), HasSubstr(word));
}

} // namespace

TEST(Builder, ZeroPoints) {
  expectSame(
      "f",
      "layer f(x: f16[M, 64], s: f32[1, 1], z: u8[1, 1], weight w: "
      "(i8[32, 64] - i8[32, 1]) * f16[32, 1]) -> f32[M, 32] {\n"
      "  a = quantize(x, (u8[M, 64] - u8[1, 1]) * f32[1, 1], scale = s, "
      "zero = z)\n"
      "  return a @ w.T\n}",
      [](LayerBuilder &b) {
        Dim m = b.symbol("M");
        Tensor x = b.input("x", DType::F16, {m, 64});
        Tensor s = b.input("s", DType::F32, {1, 1});
        Tensor z = b.input("z", DType::U8, {1, 1});
        Tensor w = b.weight("w", DType::I8, {32, 64}, withZeros(perChannel()),
                            DType::F16);
        QuantizeOptions options;
        options.scale = s;
        options.zero = z;
        Tensor a = b.quantize(x, DType::U8, withZeros(perTensor()), options)
                       .named("a");
        b.output(b.matmul(a, w, /*transposeB=*/true), DType::F32, {m, 32});
      });
  expectRefused(
      [](LayerBuilder &b) {
        Tensor x = b.input("x", DType::F16, {4, 64});
        Tensor s = b.input("s", DType::F32, {1, 1});
        QuantizeOptions options;
        options.scale = s;
        b.quantize(x, DType::U8, withZeros(perTensor()), options);
      },
      {"a scale without a zero point", "give both"});
  expectRefused(
      [](LayerBuilder &b) {
        b.input("x", DType::F8E4M3, {4, 64}, withZeros(perToken()));
      },
      {"zero points for f8e4m3 codes"});
}

/// The example of docs/language.md.
TEST(FrontendBuilder, Hello) {
  Parsed parsed = parse(readFile(QUERN_SOURCE_DIR "/examples/hello/hello.qn"));
  mlir::MLIRContext &context = *parsed.context;
  LayerBuilder b(context, "hello");
  Dim m = b.symbol("M", 1, 4096);
  Tensor x = b.input("x", DType::F16, {m, 256});
  Tensor w = b.weight("w", DType::I8, {128, 256}, perChannel());
  Tensor xq = b.quantize(x, DType::I8, perToken());
  b.output(b.matmul(xq, w, /*transposeB=*/true), DType::F16, {m, 128});
  Result<mlir::OwningOpRef<mlir::ModuleOp>> module = b.finish();
  ASSERT_TRUE(bool(module)) << module.error().render();
  EXPECT_EQ(print(**module), parsed.ir());
}

TEST(FrontendBuilder, SwiGlu) {
  expectSame(
      "swiglu_small", readFile(QUERN_SOURCE_DIR "/examples/swiglu_small.qn"),
      [](LayerBuilder &b) {
        Dim m = b.symbol("M", 1, 4096);
        Tensor x = b.input("x", DType::F16, {m, 64});
        Tensor gate = b.weight("w_gate", DType::I8, {176, 64}, perChannel());
        Tensor up = b.weight("w_up", DType::I8, {176, 64}, perChannel());
        Tensor down = b.weight("w_down", DType::I8, {64, 176}, perChannel());
        Tensor xq = b.quantize(x, DType::I8, perToken());
        // One statement each: C++ leaves the order of operands open.
        Tensor gated = silu(b.matmul(xq, gate, true));
        Tensor h = b.as(gated * b.matmul(xq, up, true), DType::F16);
        Tensor hq = b.quantize(h, DType::I8, perToken());
        b.output(b.matmul(hq, down, true), DType::F16, {m, 64});
      });
}

TEST(FrontendBuilder, Fp8Linear) {
  expectSame("fp8_linear", readFile(QUERN_SOURCE_DIR "/examples/fp8_linear.qn"),
             [](LayerBuilder &b) {
               Dim m = b.symbol("M", 1, 4096);
               Tensor x = b.input("x", DType::BF16, {m, 512});
               Tensor w = b.weight("w", DType::F8E4M3, {384, 512},
                                   perBlock({128, 128}));
               Tensor xq = b.quantize(x, DType::F8E4M3, perGroup(128));
               b.output(b.matmul(xq, w, true), DType::BF16, {m, 384});
             });
}

TEST(FrontendBuilder, SoftmaxHead) {
  expectSame(
      "softmax_head", readFile(QUERN_SOURCE_DIR "/examples/softmax_head.qn"),
      [](LayerBuilder &b) {
        Dim m = b.symbol("M", 1, 1024);
        Tensor x = b.input("x", DType::F16, {m, 256});
        Tensor g = b.weight("g", DType::F16, {256});
        Tensor w = b.weight("w", DType::I8, {1000, 256}, perChannel());
        Tensor bias = b.weight("b", DType::F32, {1000});
        Tensor xq = b.quantize(b.rmsnorm(x, g, 1e-6), DType::I8, perToken());
        Tensor z = b.matmul(xq, w, true) + bias;
        b.output(z, DType::F32, {m, 1000}, "logits");
        b.output(b.softmax(z), DType::F16, {m, 1000}, "p");
      });
}

TEST(FrontendBuilder, EveryOperation) {
  const char *text = R"(
layer all(x: f16[M, 2*K], s: f32[1, 1], i: i32[M], t: f32[100, 2*K],
          g: f16[2*K], k: f32[K]) ->
    (a: f32[M, 2*K], b: i8[M, 2*K] per tensor * f32, c: f16[M, 4*K],
     d: f16[K, 2, M], e: f32[M, 2*K], h: f16[M, 1]) with K in 16..64 {
  q = quantize(x, i8 per tensor, scale = s, rounding = half_away, qmin = -128)
  u = where(x >= 0, gelu(x, tanh), min(x, -1))
  v = layernorm(max(u / 2, 3 - x), g, g)
  y = reshape(transpose(v, [1, 0]), [K, 2, M])
  z = gather(t, i)[:, 0:2*K] + absmax(x, axis = [0, 1])
  return dequantize(q), q, concat(v, x, axis = 1), y, z, sum(v)
})";
  expectSame("all", text, [](LayerBuilder &b) {
    Dim m = b.symbol("M"), k = b.symbol("K", 16, 64);
    Dim n = 2 * k;
    Tensor x = b.input("x", DType::F16, {m, n});
    Tensor s = b.input("s", DType::F32, {1, 1});
    Tensor i = b.input("i", DType::I32, {m});
    Tensor t = b.input("t", DType::F32, {100, n});
    Tensor g = b.input("g", DType::F16, {n});
    b.input("k", DType::F32, {k});
    QuantizeOptions options;
    options.scale = s;
    options.rounding = Rounding::HalfAway;
    options.qmin = -128;
    Tensor q = b.quantize(x, DType::I8, perTensor(), options);
    Tensor condition = b.compare(x, ">=", 0);
    Tensor curve = geluTanh(x);
    Tensor u = b.where(condition, curve, b.min(x, -1));
    Tensor half = u / 2;
    Tensor v = b.layernorm(b.max(half, 3 - x), g, g);
    Tensor y = b.reshape(b.transpose(v, {1, 0}), {k, 2, m});
    Tensor rows = b.slice(b.gather(t, i), {{}, {Dim(0), n}});
    Tensor z = rows + b.reduce("absmax", x, {0, 1});
    Tensor a = b.dequantize(q);
    Tensor c = b.concat({v, x}, 1);
    Tensor h = b.reduce("sum", v);
    b.output(a, DType::F32, {m, n}, "a");
    b.output(q, DType::I8, {m, n}, perTensor(), DType::F32, "b");
    b.output(c, DType::F16, {m, 4 * k}, "c");
    b.output(y, DType::F16, {k, 2, m}, "d");
    b.output(z, DType::F32, {m, n}, "e");
    b.output(h, DType::F16, {m, 1}, "h");
  });
}

TEST(FrontendBuilder, Statistics) {
  const char *text = R"(
layer f(x: f16[M, 64]) -> (a: i8[M, 64] per token, b: i8[M, 64] per group(32)) {
  return quantize(x, i8 per token, statistic = percentile(99.9)),
         quantize(x, i8 per group(32), statistic = sampled(4))
})";
  expectSame("f", text, [](LayerBuilder &b) {
    Dim m = b.symbol("M");
    Tensor x = b.input("x", DType::F16, {m, 64});
    QuantizeOptions options;
    options.statistic = Statistic{Statistic::Kind::Percentile, 99.9f};
    Tensor a = b.quantize(x, DType::I8, perToken(), options);
    options.statistic = Statistic{Statistic::Kind::Sampled, 4};
    Tensor c = b.quantize(x, DType::I8, perGroup(32), options);
    b.output(a, DType::I8, {m, 64}, perToken(), DType::F32, "a");
    b.output(c, DType::I8, {m, 64}, perGroup(32), DType::F32, "b");
  });
}

TEST(FrontendBuilder, State) {
  const char *text = R"(
layer f(x: f16[M, 64], inout amax: f32[1, 1], inout n: i32[1, 1],
        inout calls: f32[1]) -> i8[M, 64] per tensor {
  calls = calls + 1
  return quantize(x, i8 per tensor, predicted = amax, decay = 0.5, clipped = n)
})";
  expectSame("f", text, [](LayerBuilder &b) {
    Dim m = b.symbol("M");
    Tensor x = b.input("x", DType::F16, {m, 64});
    QuantizeOptions options;
    options.predicted = b.inout("amax", DType::F32, {1, 1});
    options.clipped = b.inout("n", DType::I32, {1, 1});
    options.decay = 0.5;
    Tensor calls = b.inout("calls", DType::F32, {1});
    b.update(calls, calls + 1);
    b.output(b.quantize(x, DType::I8, perTensor(), options), DType::I8, {m, 64},
             perTensor());
  });
}

TEST(FrontendBuilder, StateIsUpdatedOnce) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  LayerBuilder b(context, "f");
  Tensor x = b.input("x", DType::F32, {4});
  Tensor s = b.inout("s", DType::F32, {4});
  b.update(s, x);
  b.update(s, x);
  b.update(x, s);
  b.output(x, DType::F32, {4});
  auto module = b.finish();
  ASSERT_FALSE(module);
  EXPECT_NE(module.error().render().find("'s' is updated twice"),
            std::string::npos);
  EXPECT_NE(module.error().render().find("'x' is no inout parameter"),
            std::string::npos);
}

TEST(FrontendBuilder, PowersOfTwoForSomeTokens) {
  const char *text = R"(
layer f(x: f16[M, K]) -> f8e5m2[M, K] per tokens(4) {
  return quantize(x, f8e5m2 per tokens(4), scale_rounding = power_even)
})";
  expectSame("f", text, [](LayerBuilder &b) {
    Dim m = b.symbol("M"), k = b.symbol("K");
    Tensor x = b.input("x", DType::F16, {m, k});
    QuantizeOptions options;
    options.scaleRounding = ScaleRounding::PowerEven;
    b.output(b.quantize(x, DType::F8E5M2, perTokens(4), options), DType::F8E5M2,
             {m, k}, perTokens(4));
  });
}

/// What the dialect defines needs no list in the language: every arithmetic op
/// is a function of the builder, and of the text unless it is an operator.
TEST(FrontendBuilder, ArithmeticIsFoundByMnemonic) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<mlir::func::FuncDialect, ir::QuernDialect>();
  const std::set<std::string> otherwise = {"add", "sub",      "mul",      "div",
                                           "neg", "gelu_erf", "gelu_tanh"};
  int found = 0;
  for (mlir::RegisteredOperationName op :
       context.getRegisteredOperationsByDialect("quern")) {
    if (!op.hasInterface<ir::ArithmeticInterface>())
      continue;
    ++found;
    std::string name = op.stripDialect().str();
    SCOPED_TRACE(name);
    bool isUnary = op.hasTrait<mlir::OpTrait::OneOperand>();
    Parsed parsed = parse("layer f(x: f32[4]) -> f32[4] { return " + name +
                          (isUnary ? "(x) }" : "(x, x) }"));
    EXPECT_EQ(bool(parsed.module), !otherwise.contains(name));
    if (!isUnary)
      continue;
    LayerBuilder b(context, "f");
    b.output(b.unary(name, b.input("x", DType::F32, {4})), DType::F32, {4});
    auto module = b.finish();
    ASSERT_TRUE(bool(module)) << module.error().render();
    EXPECT_THAT(print(**module), HasSubstr("quern." + name + " %arg0"));
  }
  EXPECT_GE(found, 17);
}

TEST(FrontendBuilder, NamesReachLocations) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  LayerBuilder b(context, "f");
  Tensor x = b.input("x", DType::F32, {4});
  b.output(relu(x).named("h"), DType::F32, {4});
  auto module = b.finish();
  ASSERT_TRUE(bool(module));
  (*module)->walk([](ir::ReluOp op) {
    auto name = llvm::dyn_cast<mlir::NameLoc>(op.getLoc());
    ASSERT_TRUE(name);
    EXPECT_EQ(name.getName().str(), "h");
  });
}

TEST(FrontendBuilder, RefusalsAreThoseOfTheText) {
  expectRefused(
      [](LayerBuilder &b) {
        Dim m = b.symbol("M");
        Tensor x = b.input("x", DType::F16, {m, 64});
        Tensor q = b.quantize(x, DType::I8, perToken());
        Tensor y = silu(q) + x; // one mistake, one message
        b.output(y, DType::F16, {m, 64});
      },
      {"'silu' needs a plain tensor", "i8[M, 64] * f32[M, 1]"});
  expectRefused(
      [](LayerBuilder &b) {
        Tensor x = b.input("x", DType::F16, {8, 64});
        Tensor w = b.weight("w", DType::I8, {32, 64}, perBlock({1}));
        Tensor q = b.quantize(x, DType::I8, perToken()).named("q");
        b.output(b.matmul(q, w, true), DType::F32, {8, 32});
      },
      {"varies with every element", "'w', which is"});
}

TEST(FrontendBuilder, Misuse) {
  expectRefused([](LayerBuilder &) {}, {"no parameters"});
  expectRefused([](LayerBuilder &b) { b.input("x", DType::F32, {4}); },
                {"returns nothing"});
  expectRefused(
      [](LayerBuilder &b) {
        Dim m = b.symbol("M"), k = b.symbol("K");
        Tensor x = b.input("x", DType::F32, {m + k});
        b.output(-x, DType::F32, {m + k});
      },
      {"'M' is bound by no parameter", "error: the symbol 'K'"});
  expectRefused(
      [](LayerBuilder &b) {
        Tensor x = b.input("x", DType::F32, {4});
        b.symbol("M");
        b.output(-x, DType::F32, {4});
      },
      {"symbol 'M' after the first tensor"});
  expectRefused(
      [](LayerBuilder &b) {
        b.symbol("M");
        b.symbol("M");
      },
      {"declared twice"});
  expectRefused([](LayerBuilder &b) { b.symbol("M", 5, 4); },
                {"range 5..4 of M is empty"});
  expectRefused(
      [](LayerBuilder &b) {
        Tensor x = b.input("x", DType::F32, {0});
        b.output(x, DType::F32, {0});
      },
      {"an extent of 0"});
  expectRefused(
      [](LayerBuilder &b) {
        Dim m = b.symbol("M");
        Dim huge = int64_t(1) << 40;
        b.input("x", DType::F32, {(int64_t(1) << 40) * huge, m});
      },
      {"beyond what can be computed with"});
  expectRefused(
      [](LayerBuilder &b) {
        b.input("x", DType::F32, {ceilDiv(b.symbol("M"), 0)});
      },
      {"divided by less than 1"});
  expectRefused(
      [](LayerBuilder &b) {
        b.input("x", DType::F32, {4});
        b.output(Tensor(), DType::F32, {4});
      },
      {"never made"});
  expectRefused(
      [](LayerBuilder &b) {
        Tensor x = b.input("x", DType::F32, {4});
        b.output(b.unary("sinh", x), DType::F32, {4});
      },
      {"unknown function 'sinh'"});
  expectRefused(
      [](LayerBuilder &b) {
        Tensor x = b.input("x", DType::F32, {4});
        b.output(b.add(1, 2), DType::F32, {4});
      },
      {"an operation on two numbers"});
  expectRefused([](LayerBuilder &b) { b.input("x", DType::Bool, {4}); },
                {"element type bool"});
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  LayerBuilder other(context, "g");
  Tensor foreign = other.input("y", DType::F32, {4});
  expectRefused(
      [&](LayerBuilder &b) {
        Tensor x = b.input("x", DType::F32, {4});
        b.output(x + foreign, DType::F32, {4});
      },
      {"a tensor of another builder: 'y'"});
}

TEST(FrontendBuilder, FinishesOnce) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  LayerBuilder b(context, "f");
  b.output(-b.input("x", DType::F32, {4}), DType::F32, {4});
  EXPECT_TRUE(bool(b.finish()));
  auto again = b.finish();
  ASSERT_FALSE(bool(again));
  EXPECT_THAT(again.error().message, HasSubstr("finished already"));
}
