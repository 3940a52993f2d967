//===- StateTest.cpp - What a layer leaves for its next call --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// State in place and out of place, over several calls, on the CPU and the
// simulator; and what docs/numerics.md says of predicted scales, computed here
// once more from its text.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/Nvrtc.h"
#include "tests/ops/LayerCheck.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <random>

using namespace quern;
using namespace quern::test;

namespace {

Layer make(const std::string &target, const std::string &text) {
  LayerRun run{target, "all", 1};
  auto compiled = compileFor(run, text, "state.qn");
  EXPECT_TRUE(compiled) << compiled.error().render();
  auto layer = loadFor(run, *compiled);
  EXPECT_TRUE(layer) << layer.error().render();
  return std::move(*layer);
}

class StateOn : public testing::TestWithParam<const char *> {
protected:
  void SetUp() override {
    if (auto nvrtc = cuda::Nvrtc::get();
        !nvrtc && std::string(GetParam()).starts_with("sim"))
      GTEST_SKIP() << nvrtc.error().message;
  }
};

template <typename T>
TensorView view(DType dtype, Shape shape, std::vector<T> &data,
                const char *name) {
  return TensorView(dtype, shape, data.data(), name);
}

} // namespace

TEST_P(StateOn, ChangesPlacesInPlace) {
  // Each gets what another had before the call, whatever is written first.
  Layer layer = make(GetParam(), "layer f(inout a: f32[4], inout b: f32[4], "
                                 "inout c: f32[4]) -> f32[4] {\n"
                                 "  old = a\n  a = b\n  b = c\n  c = old\n"
                                 "  return old + a\n}\n");
  auto context = layer.makeContext();
  ASSERT_TRUE(context) << context.error().render();
  std::vector<float> a{1, 2, 3, 4}, b{10, 20, 30, 40}, c{5, 6, 7, 8}, y(4);
  std::vector<TensorView> state = {view(DType::F32, {4}, a, "a"),
                                   view(DType::F32, {4}, b, "b"),
                                   view(DType::F32, {4}, c, "c")};
  std::vector<TensorView> outputs = state;
  outputs.push_back(view(DType::F32, {4}, y, "result"));
  auto done = context->run(state, outputs);
  ASSERT_TRUE(done) << done.error().render();
  EXPECT_EQ(a, (std::vector<float>{10, 20, 30, 40}));
  EXPECT_EQ(b, (std::vector<float>{5, 6, 7, 8}));
  EXPECT_EQ(c, (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(y, (std::vector<float>{11, 22, 33, 44}));
}

TEST_P(StateOn, OverlapsItselfAlone) {
  Layer layer = make(GetParam(), "layer f(x: f32[4], inout s: f32[4]) -> "
                                 "f32[4] {\n  s = s + x\n  return x\n}\n");
  auto context = layer.makeContext();
  ASSERT_TRUE(context) << context.error().render();
  std::vector<float> x{1, 2, 3, 4}, s(8), y(4);
  TensorView in = view(DType::F32, {4}, x, "x");
  TensorView out = view(DType::F32, {4}, y, "result");
  TensorView first(DType::F32, {4}, s.data(), "s");
  TensorView shifted(DType::F32, {4}, s.data() + 1, "s");
  TensorView other(DType::F32, {4}, s.data() + 4, "s");
  EXPECT_TRUE(context->run({in, first}, {out, first}));
  EXPECT_TRUE(context->run({in, first}, {out, other}));
  EXPECT_EQ(s, (std::vector<float>{1, 2, 3, 4, 2, 4, 6, 8}));
  auto moved = context->run({in, first}, {out, shifted});
  ASSERT_FALSE(moved);
  EXPECT_NE(moved.error().message.find("output 's' overlaps input 's'"),
            std::string::npos);
  TensorView ontoInput(DType::F32, {4}, x.data(), "s");
  auto onto = context->run({in, first}, {out, ontoInput});
  ASSERT_FALSE(onto);
  EXPECT_NE(onto.error().message.find("overlaps input 'x'"), std::string::npos);
  // A call makes new tensors of both.
  auto called = layer.call({in, first});
  ASSERT_TRUE(called) << called.error().render();
  EXPECT_EQ(called->size(), 2u);
}

/// The formulas of docs/numerics.md, call by call.
TEST_P(StateOn, PredictsScales) {
  constexpr int64_t m = 7, n = 33;
  Layer layer =
      make(GetParam(), "layer f(x: f32[M, 33], inout amax: f32[1, 1], inout "
                       "clipped: i32[1, 1]) -> i8[M, 33] per tensor {\n"
                       "  return quantize(x, i8 per tensor, predicted = amax, "
                       "decay = 0.25, clipped = clipped)\n}\n");
  auto context = layer.makeContext({}, {{"M", m, m}});
  ASSERT_TRUE(context) << context.error().render();
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(m * n), amax{0}, scale(1);
  std::vector<int32_t> clipped{INT32_MAX - 3};
  std::vector<int8_t> codes(m * n);
  float expectedAmax = 0;
  uint32_t expectedClipped = INT32_MAX - 3;
  for (int call = 0; call < 12; ++call) {
    float size = call == 5 ? 20.0f : call == 9 ? 0.0f : 3.0f;
    for (float &value : x)
      value = size * normal(random);
    if (call == 3)
      x[40] = std::numeric_limits<float>::quiet_NaN();
    if (call == 4)
      x[41] = -std::numeric_limits<float>::infinity();
    if (call == 7) // A state that is no history.
      amax[0] = expectedAmax = std::numeric_limits<float>::quiet_NaN();

    bool known = 0 < expectedAmax && expectedAmax < INFINITY;
    float s = std::max((known ? expectedAmax : 127.0f) / 127.0f, 0x1p-126f);
    float current = 0;
    bool finite = true;
    std::vector<int8_t> expectedCodes;
    for (float value : x) {
      finite &= std::isfinite(value);
      current = std::max(current, std::fabs(value));
      float t = value / s;
      t = t == t ? std::nearbyint(t) : 0.0f;
      expectedClipped += t < -127 || t > 127;
      expectedCodes.push_back(
          static_cast<int8_t>(std::clamp(t, -127.0f, 127.0f)));
    }
    if (finite)
      expectedAmax = known ? expectedAmax * 0.75f + current * 0.25f : current;

    auto state = view(DType::F32, {1, 1}, amax, "amax");
    auto count = view(DType::I32, {1, 1}, clipped, "clipped");
    auto done = context->run({view(DType::F32, {m, n}, x, "x"), state, count},
                             {view(DType::I8, {m, n}, codes, "result.codes"),
                              view(DType::F32, {1, 1}, scale, "result.scales"),
                              state, count});
    ASSERT_TRUE(done) << done.error().render();
    SCOPED_TRACE(fmt::format("call {}", call));
    EXPECT_EQ(scale[0], s);
    EXPECT_EQ(codes, expectedCodes);
    EXPECT_EQ(static_cast<uint32_t>(clipped[0]), expectedClipped);
    if (expectedAmax == expectedAmax)
      EXPECT_EQ(amax[0], expectedAmax);
    else
      EXPECT_NE(amax[0], amax[0]);
  }
  // The count wrapped: more than the three that were left were clipped.
  EXPECT_LT(clipped[0], 0);
}

namespace {
/// Layers around one quantization that learns, or does not look at all: the
/// same bits wherever its parts are computed.
void expectSameBits(const std::string &target,
                    const std::vector<std::string> &placements) {
  struct Granularity {
    const char *text, *state;
  };
  int runs = 0;
  for (Granularity blocks : {Granularity{"per tensor", "[1, 1]"},
                             {"per token", "[M, 1]"},
                             {"per tokens(4)", "[M/4, 1]"},
                             {"per group(32)", "[M, 3]"}})
    for (const char *format : {"i8", "f8e4m3"})
      for (const char *way :
           {"predicted = s", "predicted = s, clipped = n",
            "statistic = percentile(90)", "statistic = sampled(8)"}) {
        std::string state;
        if (std::string(way).starts_with("predicted"))
          state = fmt::format(", inout s: f32{}", blocks.state);
        if (std::string(way).ends_with("n"))
          state += fmt::format(", inout n: i32{}", blocks.state);
        std::string text = fmt::format(
            "layer f(x: f16[M, 64], weight a: i8[96, 64] * f32[96, 1], weight "
            "b: {0}[40, 96] * f32[40, 1]{1}) -> f16[M, 40] {{\n"
            "  h  = relu(quantize(x, i8 per token) @ a.T) as f16\n"
            "  hq = quantize(h, {0} {2}, {3})\n  return hq @ b.T\n}}\n",
            format, state, blocks.text, way);
        auto oracle = Oracle::create(text, "state.qn");
        ASSERT_TRUE(oracle) << oracle.error().render();
        for (const std::string &placement : placements) {
          LayerRun run{target, "all", 2};
          run.placement = placement;
          SCOPED_TRACE(fmt::format("{} at {}\n{}", target, placement, text));
          auto compiled = compileFor(run, text, "state.qn");
          if (!compiled && compiled.error().code == Errc::InvalidArgument)
            continue; // Not there.
          ASSERT_TRUE(compiled) << compiled.error().render();
          auto layer = loadFor(run, *compiled);
          ASSERT_TRUE(layer) << layer.error().render();
          ++runs;
          for (int64_t m : {1, 33})
            expectAgreement(*layer, *oracle, {m}, static_cast<uint64_t>(m),
                            m == 33 && runs % 3 == 0 ? Corner::Scattered
                                                     : Corner::None);
        }
      }
  fmt::print("{}: {} layers in {} kinds of places\n", target, runs,
             placements.size());
  EXPECT_GT(runs, 32); // Not in the place of their own alone.
}
} // namespace

TEST(State, IsTheSameInEveryPlaceOnTheCpu) {
  expectSameBits("cpu", {"auto", "separate", "panel", "grid", "tile"});
  expectSameBits("cpu:generic", {"auto", "grid"});
}

TEST(State, IsTheSameInEveryPlaceOnTheSimulator) {
  if (auto nvrtc = cuda::Nvrtc::get(); !nvrtc)
    GTEST_SKIP() << nvrtc.error().message;
  expectSameBits("sim:sm_90a", {"auto", "grid"});
}

namespace {
/// The tile program of a layer whose inner value has a predicted scale.
std::string tileOf(const std::string &target, const std::string &placement) {
  std::string text =
      "layer f(x: i8[M, 64] per token, weight a: i8[96, 64] * f32[96, 1], "
      "weight b: i8[32, 96] * f32[32, 1], inout s: f32[1, 1], inout n: i32[1, "
      "1]) -> f16[M, 32] {\n"
      "  h  = relu(x @ a.T) as f16\n"
      "  hq = quantize(h, i8 per tensor, predicted = s, clipped = n)\n"
      "  return hq @ b.T\n}\n";
  CompileRequest request;
  request.source = text;
  request.target = *Target::parse(target);
  request.settings = {"placement=" + placement};
  request.wanted = {Stage::Tile};
  request.textsOnly = true;
  auto output = compileLayer(request);
  EXPECT_TRUE(output) << output.error().render();
  return output ? output->texts[0].text : std::string();
}
} // namespace

/// What is learned of a value is learned where it is made: it never lies in
/// memory, and the codes wait for nothing but the scale.
TEST(State, APredictedScaleLeavesNoPassOverMemory) {
  using testing::HasSubstr;
  using testing::Not;
  std::string cpu = tileOf("cpu:generic", "grid");
  EXPECT_THAT(cpu, Not(HasSubstr("tile.buffer \"h\" \"values\"")));
  EXPECT_THAT(cpu, HasSubstr("tile.buffer \"h\" \"absmax\" state"));
  EXPECT_THAT(cpu, HasSubstr("tile.buffer \"h\" \"sum\" state"));
  EXPECT_THAT(cpu, HasSubstr("tile.accumulate umax"));
  EXPECT_THAT(cpu, HasSubstr("tile.accumulate addi"));
  for (const char *target : {"cuda:sm_80", "cuda:sm_90a"})
    EXPECT_THAT(tileOf(target, "auto"),
                Not(HasSubstr("tile.buffer \"h\" \"values\"")))
        << target;
}

INSTANTIATE_TEST_SUITE_P(Targets, StateOn,
                         testing::Values("cpu", "cpu:generic", "sim:sm_80",
                                         "sim:sm_90a"),
                         [](const auto &info) {
                           std::string name = info.param;
                           for (char &c : name)
                             c = std::isalnum(c) ? c : '_';
                           return name;
                         });
