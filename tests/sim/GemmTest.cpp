//===- GemmTest.cpp - cp.async, ldmatrix and mma against the CPU ----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/SimHarness.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <gtest/gtest.h>
#include <random>

using namespace quern;
using namespace quern::simtest;
namespace status = quern::cuda::status;

namespace {

constexpr unsigned sharedBytes = 3 * (64 + 64) * 64;

Session::Shape shapeFor(int m, int n) {
  Session::Shape shape;
  shape.grid[0] = static_cast<unsigned>((n + 63) / 64);
  shape.grid[1] = static_cast<unsigned>((m + 63) / 64);
  shape.block[0] = 128;
  shape.dynamicShared = sharedBytes;
  return shape;
}

struct Case {
  sim::SimTarget target;
  bool golden;
};

class Gemm : public testing::TestWithParam<Case> {
protected:
  void SetUp() override {
    std::string arch(sim::name(GetParam().target));
    std::string ptx, why;
    if (GetParam().golden) {
      ptx = goldenPtx("gemm", arch);
      why = "no golden PTX for " + arch;
    } else {
      ptx = ptxOf("gemm", arch, why);
    }
    if (ptx.empty())
      GTEST_SKIP() << why;
    session.emplace(GetParam().target);
    ASSERT_TRUE(session->load(ptx)) << session->reportText();
  }
  std::optional<Session> session;
};

TEST_P(Gemm, Int8MatchesTheCpuUnderManySchedules) {
  for (auto [m, n, k] : {std::array{64, 64, 64}, std::array{70, 88, 208},
                         std::array{1, 130, 1040}}) {
    std::mt19937 random(7);
    std::vector<int8_t> a(size_t(m) * k), b(size_t(n) * k);
    for (int8_t &x : a)
      x = static_cast<int8_t>(random());
    for (int8_t &x : b)
      x = static_cast<int8_t>(random());
    std::vector<int32_t> expected(size_t(m) * n);
    for (int i = 0; i < m; ++i)
      for (int j = 0; j < n; ++j)
        for (int x = 0; x < k; ++x)
          expected[size_t(i) * n + j] +=
              a[size_t(i) * k + x] * b[size_t(j) * k + x];
    auto pa = session->buffer("a", a, true), pb = session->buffer("b", b, true);
    auto pc = session->buffer("c", std::vector<int32_t>(size_t(m) * n, -1));
    for (uint64_t seed = 1; seed <= 6; ++seed) {
      sim::SimOptions options;
      options.seed = seed;
      options.quantum = seed % 2 ? 64 : 7;
      session->setOptions(options);
      ASSERT_EQ(session->launch("gemm_s8", shapeFor(m, n), pa, pb, pc, m, n, k),
                status::Success)
          << session->reportText();
      ASSERT_EQ(session->read<int32_t>(pc, expected.size()), expected);
    }
  }
}

template <typename ToFloat>
void checkHalves(Session &session, const char *kernel, ToFloat toFloat,
                 uint16_t exponentMask) {
  int m = 70, n = 88, k = 104;
  std::mt19937 random(11);
  std::vector<uint16_t> a(size_t(m) * k), b(size_t(n) * k);
  // Random signs and mantissas, exponents near 1.
  for (auto *v : {&a, &b})
    for (uint16_t &x : *v)
      x = static_cast<uint16_t>((random() & ~exponentMask & 0xffff) |
                                (exponentMask & (exponentMask >> 1)));
  std::vector<float> expected(size_t(m) * n);
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      float sum = 0;
      for (int x = 0; x < k; ++x)
        sum += toFloat(a[size_t(i) * k + x]) * toFloat(b[size_t(j) * k + x]);
      expected[size_t(i) * n + j] = sum;
    }
  auto pa = session.buffer("a", a, true), pb = session.buffer("b", b, true);
  auto pc = session.buffer("c", std::vector<float>(expected.size(), -1.0f));
  ASSERT_EQ(session.launch(kernel, shapeFor(m, n), pa, pb, pc, m, n, k),
            status::Success)
      << session.reportText();
  // k ascending in f32, as the simulator defines it: bit for bit.
  ASSERT_EQ(session.read<float>(pc, expected.size()), expected);
}

TEST_P(Gemm, HalfMatchesTheCpu) {
  checkHalves(
      *session, "gemm_f16",
      [](uint16_t x) {
        _Float16 h;
        std::memcpy(&h, &x, 2);
        return static_cast<float>(h);
      },
      0x7c00);
}

TEST_P(Gemm, BrainFloatMatchesTheCpu) {
  checkHalves(
      *session, "gemm_bf16",
      [](uint16_t x) {
        uint32_t bits = uint32_t(x) << 16;
        float f;
        std::memcpy(&f, &bits, 4);
        return f;
      },
      0x7f80);
}

TEST_P(Gemm, LayoutIsFreeOfBankConflicts) {
  int m = 64, n = 64, k = 512;
  std::vector<int8_t> a(size_t(m) * k, 1), b(size_t(n) * k, 1);
  auto pa = session->buffer("a", a, true), pb = session->buffer("b", b, true);
  auto pc = session->buffer("c", std::vector<int32_t>(size_t(m) * n));
  ASSERT_EQ(session->launch("gemm_s8", shapeFor(m, n), pa, pb, pc, m, n, k),
            status::Success);
  sim::Counters counters = session->counters();
  // The epilogue's stores by fragment are the only ones that collide.
  EXPECT_LE(counters.sharedBankConflicts, 4 * 32 * 4u);
  EXPECT_EQ(counters.globalBytesWritten, uint64_t(m) * n * 4);
  EXPECT_EQ(counters.globalBytesRead, uint64_t(m + n) * k);
  // One barrier for each of 8 steps and two in the epilogue.
  EXPECT_EQ(counters.barriers, 8u + 2u);
}

TEST_P(Gemm, IsFastEnough) {
  int m = 256, n = 256, k = 1024;
  std::vector<int8_t> a(size_t(m) * k, 3), b(size_t(n) * k, 5);
  auto pa = session->buffer("a", a, true), pb = session->buffer("b", b, true);
  auto pc = session->buffer("c", std::vector<int32_t>(size_t(m) * n));
  auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(session->launch("gemm_s8", shapeFor(m, n), pa, pb, pc, m, n, k),
            status::Success);
  double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  double rate =
      static_cast<double>(session->counters().threadInstructions) / seconds;
  RecordProperty("thread_instructions_per_second", std::to_string(rate));
  // Far below what a release build does (0.2 to 0.4 billion), so that it holds
  // under sanitizers and load.
  EXPECT_GT(rate, 2e6);
  std::printf("%.0f million thread instructions/s, %.1f ms\n", rate * 1e-6,
              seconds * 1e3);
  EXPECT_EQ(session->read<int32_t>(pc, 1)[0], k * 15);
}

std::vector<Case> cases() {
  using T = sim::SimTarget;
  return {{T::Sm80, false},   {T::Sm89, false},   {T::Sm90a, false},
          {T::Sm100a, false}, {T::Sm120a, false}, {T::Sm80, true},
          {T::Sm120a, true}};
}
INSTANTIATE_TEST_SUITE_P(Targets, Gemm, testing::ValuesIn(cases()),
                         [](const auto &info) {
                           return std::string(sim::name(info.param.target)) +
                                  (info.param.golden ? "_golden" : "");
                         });

} // namespace
