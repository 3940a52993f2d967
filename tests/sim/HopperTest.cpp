//===- HopperTest.cpp - TMA, mbarriers, wgmma and clusters ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/sim/HopperProblem.h"

using namespace quern;
using namespace quern::simtest;

namespace {

struct Case {
  const char *name;
  bool floats;
  bool golden;
};
class Hopper : public testing::TestWithParam<Case> {
protected:
  void SetUp() override {
    std::string ptx, why = "no golden PTX";
    if (GetParam().golden)
      ptx = goldenPtx("hopper", "sm_90a");
    else
      ptx = ptxOf("hopper", "sm_90a", why);
    if (ptx.empty())
      GTEST_SKIP() << why;
    ASSERT_TRUE(session.load(ptx)) << session.reportText();
  }
  Session session{sim::SimTarget::Sm90a};
};

TEST_P(Hopper, IsCleanAndRightUnderManySchedules) {
  // Whole tiles, and ragged in every direction.
  for (auto [m, n, k] :
       {std::array{128u, 128u, 512u}, std::array{200u, 136u, 400u},
        std::array{5u, 9u, 3u}, std::array{130u, 260u, 1000u}}) {
    HopperProblem problem(session, GetParam().floats, m, n, k);
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      ASSERT_TRUE(problem.run(seed))
          << "seed " << seed << " of " << m << " x " << n << " x " << k << "\n"
          << session.reportText();
      ASSERT_EQ(problem.wrong(), 0u) << "seed " << seed;
    }
  }
}

TEST_P(Hopper, CountersAreThoseOfTheDesign) {
  HopperProblem problem(session, GetParam().floats, 128, 128, 256);
  ASSERT_TRUE(problem.run(1)) << session.reportText();
  // The epilogue stores 32 values a thread by fragment, and in spite of the
  // swizzle rows g and g ^ 1 meet: 8 warps in each of 2 blocks.
  EXPECT_EQ(session.counters().sharedBankConflicts, 32u * 8 * 2);
  // A is fetched once for both blocks.
  EXPECT_EQ(session.counters().globalBytesRead - 128 * 4, 256u * 256u);
}

INSTANTIATE_TEST_SUITE_P(Types, Hopper,
                         testing::Values(Case{"s8", false, false},
                                         Case{"e4m3", true, false},
                                         Case{"s8_golden", false, true},
                                         Case{"e4m3_golden", true, true}),
                         [](const auto &info) { return info.param.name; });

} // namespace
