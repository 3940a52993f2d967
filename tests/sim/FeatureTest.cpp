//===- FeatureTest.cpp - Kernels of other shapes against the CPU ----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/SimHarness.h"

#include <cmath>
#include <gtest/gtest.h>
#include <numeric>
#include <random>

using namespace quern;
using namespace quern::simtest;
namespace status = quern::cuda::status;

namespace {

struct Case {
  sim::SimTarget target;
  bool golden;
};

class Feature : public testing::TestWithParam<Case> {
protected:
  void SetUp() override {
    std::string arch(sim::name(GetParam().target));
    std::string ptx, why;
    if (GetParam().golden) {
      ptx = goldenPtx("features", arch);
      why = "no golden PTX for " + arch;
    } else {
      ptx = ptxOf("features", arch, why);
    }
    if (ptx.empty())
      GTEST_SKIP() << why;
    session.emplace(GetParam().target);
    ASSERT_TRUE(session->load(ptx)) << session->reportText();
  }
  std::optional<Session> session;
};

#define EXPECT_CLEAN(launch)                                                   \
  ASSERT_EQ(launch, status::Success) << session->reportText()

TEST_P(Feature, QuantizesRowsBitForBit) {
  constexpr int rows = 5, n = 333;
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(rows * n);
  for (float &v : x)
    v = normal(random);
  std::fill_n(x.begin() + n, n, 0.0f);
  auto px = session->buffer("x", x, true);
  auto pc = session->buffer("codes", std::vector<int8_t>(x.size(), 99));
  auto ps = session->buffer("scales", std::vector<float>(rows));
  Session::Shape shape;
  shape.grid[0] = rows;
  shape.block[0] = 128;
  EXPECT_CLEAN(session->launch("quantize_rows", shape, px, pc, ps, n));
  auto codes = session->read<int8_t>(pc, x.size());
  auto scales = session->read<float>(ps, rows);
  for (int r = 0; r < rows; ++r) {
    float most = 0;
    for (int i = 0; i < n; ++i)
      most = std::fmax(most, std::fabs(x[size_t(r) * n + i]));
    float scale = std::fmax(most / 127.0f, 1.17549435e-38f);
    ASSERT_EQ(scales[r], scale);
    for (int i = 0; i < n; ++i)
      ASSERT_EQ(codes[size_t(r) * n + i],
                std::clamp(static_cast<int>(
                               std::nearbyint(x[size_t(r) * n + i] / scale)),
                           -127, 127));
  }
}

TEST_P(Feature, FunctionsTablesAndDivergence) {
  constexpr int n = 300;
  std::mt19937 random(4);
  std::vector<int> in(n);
  for (int &v : in)
    v = static_cast<int>(random() % 5000);
  auto pin = session->buffer("in", in, true);
  auto pout = session->buffer("out", std::vector<int>(n));
  auto pf = session->buffer("fout", std::vector<float>(n));
  Session::Shape shape;
  shape.grid[0] = 3;
  shape.block[0] = 128;
  EXPECT_CLEAN(session->launch("mixed", shape, pin, pout, pf, n));
  auto out = session->read<int>(pout, n);
  auto fout = session->read<float>(pf, n);
  const int table[] = {3, 1, 4, 1, 5, 9, 2, 6};
  const float weights[] = {0.5f, 0.25f, 2.0f, -1.0f};
  for (int i = 0; i < n; ++i) {
    int sum = 0;
    for (int k = 0; k < (in[i] & 31); ++k) {
      int at = (k * 7 + i) & 15;
      sum += in[i] + at * at;
    }
    int x = sum & 1023;
    ASSERT_EQ(out[i], x * table[x & 7] + sum) << i;
    ASSERT_EQ(fout[i], static_cast<float>(i) * weights[x & 3]) << i;
  }
}

TEST_P(Feature, WarpFunctions) {
  std::vector<int> in(64);
  for (size_t i = 0; i < in.size(); ++i)
    in[i] = static_cast<int>(i * i % 101);
  auto pin = session->buffer("in", in, true);
  auto pout = session->buffer("out", std::vector<int>(64 * 12));
  Session::Shape shape;
  shape.block[0] = 64;
  EXPECT_CLEAN(session->launch("warp_functions", shape, pin, pout));
  auto out = session->read<int>(pout, 64 * 12);
  for (int t = 0; t < 64; ++t) {
    const int *w = &in[t & ~31], *o = &out[t * 12];
    int lane = t & 31;
    EXPECT_EQ(o[0], w[(lane + 5) & 31]);
    EXPECT_EQ(o[1], w[lane >= 3 ? lane - 3 : lane]);
    EXPECT_EQ(o[2], w[(lane & 15) + 7 < 16 ? lane + 7 : lane]);
    EXPECT_EQ(o[3], w[lane ^ 9]);
    unsigned ballot = 0, same = 0;
    int sum = 0, most = 0, exclusive = 0;
    bool any = false, all = true;
    for (int l = 0; l < 32; ++l) {
      ballot |= unsigned(w[l] & 1) << l;
      same |= unsigned((w[l] & 3) == (w[lane] & 3)) << l;
      sum += w[l];
      most = std::max(most, w[l]);
      exclusive ^= w[l];
      any |= w[l] == 17;
      all &= w[l] < 1000;
    }
    EXPECT_EQ(unsigned(o[4]), ballot);
    EXPECT_EQ(o[5], any * 2 + all);
    EXPECT_EQ(unsigned(o[6]), same);
    EXPECT_EQ(o[7], sum);
    EXPECT_EQ(o[8], most);
    EXPECT_EQ(o[9], exclusive);
    EXPECT_EQ(o[10], lane < 11 ? 0x7ff : w[20]);
    EXPECT_EQ(o[11], 28);
  }
}

TEST_P(Feature, Atomics) {
  constexpr int blocks = 3;
  auto pg = session->buffer("global", std::vector<int>(8));
  auto pf = session->buffer("fglobal", std::vector<float>(1));
  auto po = session->buffer("out", std::vector<int>(blocks * 5));
  Session::Shape shape;
  shape.grid[0] = blocks;
  shape.block[0] = 64;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    sim::SimOptions options;
    options.seed = seed;
    options.quantum = 3;
    session->setOptions(options);
    ASSERT_EQ(session->driver.memsetD32Async(pg, 0, 8, nullptr),
              status::Success);
    ASSERT_EQ(session->driver.memsetD32Async(pf, 0, 1, nullptr),
              status::Success);
    EXPECT_CLEAN(session->launch("atomics", shape, pg, pf, po));
    auto g = session->read<int>(pg, 8);
    auto o = session->read<int>(po, blocks * 5);
    EXPECT_EQ(session->read<float>(pf, 1)[0], blocks * 64.0f);
    EXPECT_EQ(g[0], blocks * 64);
    EXPECT_EQ(g[1], 63 * 3);
    EXPECT_EQ(g[2], -63);
    EXPECT_EQ(g[3], -1);
    EXPECT_EQ(g[4], 0);
    EXPECT_EQ(g[5], blocks * 64 % 10);
    EXPECT_EQ(g[6], blocks * 64 * 2);
    for (int b = 0; b < blocks; ++b) {
      EXPECT_EQ(o[b * 4 + 1], 16 * (1 + 61) / 2);
      EXPECT_GE(o[b * 4 + 2], 5063);
      // 32 odd threads; some thread is 3; all are below 99.
      EXPECT_EQ(o[blocks * 4 + b], 32 * 4 + 2 + 1);
    }
  }
}

TEST_P(Feature, GridBarrierNeedsACooperativeLaunch) {
  constexpr int blocks = 6;
  auto ps = session->buffer("state", std::vector<unsigned>(2));
  auto po = session->buffer("out", std::vector<int>(blocks * 64));
  Session::Shape shape;
  shape.grid[0] = blocks;
  shape.block[0] = 64;
  shape.cooperative = true;
  EXPECT_CLEAN(session->launch("grid_barrier", shape, ps, po));
  for (int v : session->read<int>(po, blocks * 64))
    ASSERT_EQ(v, 21);
  shape.cooperative = false;
  sim::SimOptions options;
  options.watchdog = 5000;
  session->setOptions(options);
  session->driver.memsetD32Async(ps, 0, 2, nullptr);
  EXPECT_EQ(session->launch("grid_barrier", shape, ps, po),
            status::LaunchFailed);
  EXPECT_NE(session->reportText().find("deadlock"), std::string::npos);
}

TEST_P(Feature, CooperativeLaunchMustFit) {
  auto ps = session->buffer("state", std::vector<unsigned>(2));
  Session::Shape shape;
  shape.grid[0] = 100000;
  shape.cooperative = true;
  EXPECT_EQ(session->launch("grid_barrier", shape, ps, ps),
            status::CooperativeLaunchTooLarge);
}

TEST_P(Feature, NamedBarriers) {
  constexpr int rounds = 9;
  std::vector<int> in(rounds * 32);
  std::iota(in.begin(), in.end(), 100);
  auto pin = session->buffer("in", in, true);
  auto pout = session->buffer("out", std::vector<int>(in.size()));
  Session::Shape shape;
  shape.block[0] = 64;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    sim::SimOptions options;
    options.seed = seed;
    options.quantum = 5;
    session->setOptions(options);
    EXPECT_CLEAN(session->launch("named_barriers", shape, pin, pout, rounds));
    auto out = session->read<int>(pout, in.size());
    for (int r = 0; r < rounds; ++r)
      for (int lane = 0; lane < 32; ++lane)
        ASSERT_EQ(out[r * 32 + lane], in[r * 32 + 31 - lane] + r);
  }
}

TEST_P(Feature, CopiesAndTransposedMatrices) {
  std::vector<uint8_t> in(1024);
  for (size_t i = 0; i < in.size(); ++i)
    in[i] = static_cast<uint8_t>(i * 37 + i / 256);
  auto pin = session->buffer("in", in, true);
  auto pout = session->buffer("out", std::vector<uint32_t>(160));
  EXPECT_CLEAN(session->launch("copies", {}, pin, pout));
  auto out = session->read<uint32_t>(pout, 160);
  // Thread t copied only t % 8 of its 8 bytes in the second region.
  for (size_t i = 0; i < 256; ++i)
    if (i % 8 >= (i / 8) % 8)
      in[128 + i] = 0;
  auto half = [&](size_t matrix, size_t row, size_t column) {
    size_t at = matrix * 128 + row * 16 + column * 2;
    return static_cast<uint32_t>(in[at] | in[at + 1] << 8);
  };
  for (size_t lane = 0; lane < 32; ++lane) {
    size_t g = lane / 4, t = lane % 4;
    for (size_t matrix = 0; matrix < 4; ++matrix)
      EXPECT_EQ(out[matrix * 32 + lane],
                half(matrix, 2 * t, g) | half(matrix, 2 * t + 1, g) << 16);
    EXPECT_EQ(out[128 + lane], half(1, g, 2 * t) | half(1, g, 2 * t + 1) << 16);
  }
}

std::vector<Case> cases() {
  using T = sim::SimTarget;
  return {{T::Sm80, false},   {T::Sm89, false},   {T::Sm90a, false},
          {T::Sm100a, false}, {T::Sm120a, false}, {T::Sm80, true},
          {T::Sm120a, true}};
}
INSTANTIATE_TEST_SUITE_P(Targets, Feature, testing::ValuesIn(cases()),
                         [](const auto &info) {
                           return std::string(sim::name(info.param.target)) +
                                  (info.param.golden ? "_golden" : "");
                         });

} // namespace
