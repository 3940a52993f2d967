//===- EmitTest.cpp - Pieces of CUDA emission -----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Architectures, schedules and index expressions, each by itself.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/CudaTarget.h"
#include "compiler/emit/cuda/IndexText.h"
#include "compiler/emit/cuda/Schedule.h"

#include <gtest/gtest.h>

using namespace quern;
using namespace quern::emit;

TEST(CudaTarget, ReadsWhatNvrtcAccepts) {
  for (const char *name : {"sm_80", "sm_89", "sm_90", "sm_90a", "sm_120a"}) {
    auto target = CudaTarget::parse(name);
    ASSERT_TRUE(target) << name;
    EXPECT_EQ(target->name(), name);
  }
  for (const char *name : {"", "sm_", "sm_75", "80", "sm_80a", "sm_90b",
                           "sm_9000", "sm_99999999999", "cuda"}) {
    auto target = CudaTarget::parse(name);
    ASSERT_FALSE(target) << name;
    EXPECT_EQ(target.error().code, Errc::InvalidArgument);
    EXPECT_FALSE(target.error().notes.empty());
  }
}

TEST(Schedule, FollowsRowsAndRegisters) {
  CudaTarget target = *CudaTarget::parse("sm_80");
  GemmProblem problem;
  problem.maxN = 4096;
  for (auto [maxM, tileM] : {std::pair(1, 16u),
                             {16, 16u},
                             {17, 32u},
                             {33, 64u},
                             {65, 128u},
                             {4096, 128u}}) {
    problem.maxM = maxM;
    auto schedule = scheduleGemm(problem, target);
    ASSERT_TRUE(schedule);
    EXPECT_EQ(schedule->tileM, tileM) << maxM;
    EXPECT_LE(schedule->sharedBytes, target.sharedBytesPerBlock());
  }
  for (auto [alignment, bytes] :
       {std::pair(16, 16u), {8, 8u}, {4, 4u}, {2, 0u}, {1, 0u}}) {
    problem.lhsAlignment = alignment;
    EXPECT_EQ(scheduleGemm(problem, target)->lhsCopy, bytes);
  }
  // One tile of K and one block of the split divide each other.
  for (int64_t split : {32, 64, 96, 128, 160, 4096}) {
    problem.split = split;
    auto schedule = scheduleGemm(problem, target);
    ASSERT_TRUE(schedule) << split;
    EXPECT_TRUE(split % schedule->tileK == 0 || schedule->tileK % split == 0)
        << split;
  }
  problem.split = 48;
  EXPECT_FALSE(scheduleGemm(problem, target));
}

TEST(IndexText, WidensOnlyWhatMayOverflow) {
  Index m = Index::variable("m", 4096), k = Index::variable("k", 4096);
  Index row = Index::variable("row", INT32_MAX);
  Index size = Index::constant(4096);
  EXPECT_EQ((m * size + k).text, "m * 4096 + k");
  EXPECT_EQ((row * size + k).text, "(s64)row * 4096 + k");
  EXPECT_STREQ((row * size + k).type(), "s64");
  EXPECT_EQ(((m + k) * size).text, "(m + k) * 4096");
  EXPECT_EQ((m + Index::constant(-3)).text, "m - 3");
  EXPECT_EQ((m * Index::constant(1) + Index::constant(0)).text, "m");
}

TEST(IndexText, DividesAsAffineMapsDo) {
  Index m = Index::variable("m", 4096), five = Index::constant(5);
  EXPECT_EQ(divide(m, five).text, "m / 5");
  EXPECT_EQ(modulo(m, five).text, "m % 5");
  EXPECT_EQ(divideUp(m, five).text, "ceilDiv<int>(m, 5)");
  // What may be negative rounds down, not towards zero.
  Index shifted = m + Index::constant(-3);
  EXPECT_EQ(divide(shifted, five).text, "floorDiv<int>(m - 3, 5)");
  EXPECT_EQ(modulo(shifted, five).text, "floorMod<int>(m - 3, 5)");
  // What is known folds.
  EXPECT_EQ(divide(m, Index::constant(4096)).text, "0");
  EXPECT_EQ(modulo(m, Index::constant(4096)).text, "m");
  EXPECT_EQ(divide(Index::constant(-7), five).text, "-2");
  EXPECT_EQ(modulo(Index::constant(-7), five).text, "3");
}
