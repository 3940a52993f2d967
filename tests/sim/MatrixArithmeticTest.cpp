//===- MatrixArithmeticTest.cpp - The same bits on every host -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// That the portable product is right is for MmaTest to show; here it is the
// measure of those written for instruction sets.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/MatrixArithmetic.h"

#include <cstring>
#include <gtest/gtest.h>
#include <random>

using namespace quern;
using namespace quern::sim;

namespace {

struct Operands {
  alignas(64) std::byte a[4][128], b[2][128];
  alignas(64) uint32_t c[4][32];
};

Fragments fragmentsOf(const Operands &operands, uint32_t (&d)[4][32],
                      unsigned halves, bool saturate) {
  Fragments f;
  for (unsigned i = 0; i < 4; ++i) {
    f.a[i] = operands.a[i];
    f.c[i] = operands.c[i];
    f.d[i] = d[i];
  }
  f.b[0] = operands.b[0];
  f.b[1] = operands.b[1];
  f.halves = halves;
  f.saturate = saturate;
  return f;
}

class MatrixIsas : public testing::TestWithParam<MatrixIsa> {};

TEST_P(MatrixIsas, GiveTheBitsOfPortableCode) {
  std::mt19937 random(3);
  unsigned pairs = 0;
  for (unsigned x = 0; x < matrixTypeCount; ++x)
    for (unsigned y = 0; y < matrixTypeCount; ++y) {
      auto a = static_cast<MatrixType>(x), b = static_cast<MatrixType>(y);
      MultiplyFn portable = findMultiply(a, b, MatrixIsa::Portable);
      MultiplyFn tested = findMultiply(a, b, GetParam());
      ASSERT_EQ(portable == nullptr, tested == nullptr);
      if (!portable)
        continue;
      ++pairs;
      for (unsigned round = 0; round < 24; ++round) {
        Operands operands;
        // Random bits: infinities and NaN are among them. Sums near the ends
        // in every other round.
        for (auto *bytes : {&operands.a[0], &operands.a[1], &operands.a[2],
                            &operands.a[3], &operands.b[0], &operands.b[1]})
          for (std::byte &byte : *bytes)
            byte = static_cast<std::byte>(random());
        for (auto &reg : operands.c)
          for (uint32_t &word : reg)
            word =
                round % 2 ? random() : 0x7ffff000u ^ (random() & 0x80000fffu);
        unsigned halves = 1 + round / 2 % 2;
        bool saturate = isInteger(a) && round % 3 == 0;
        alignas(64) uint32_t expected[4][32], got[4][32];
        portable(fragmentsOf(operands, expected, halves, saturate));
        tested(fragmentsOf(operands, got, halves, saturate));
        ASSERT_EQ(std::memcmp(expected, got, sizeof(got)), 0)
            << name(a) << " " << name(b) << " round " << round;
        // D may be C.
        Fragments inPlace = fragmentsOf(operands, operands.c, halves, saturate);
        tested(inPlace);
        ASSERT_EQ(std::memcmp(expected, operands.c, sizeof(got)), 0);
      }
    }
  EXPECT_EQ(pairs, 4u + 4u + 3u + 25u);
}

TEST(MatrixIsas, UnlikeTypesDoNotMultiply) {
  EXPECT_EQ(findMultiply(MatrixType::S8, MatrixType::S4), nullptr);
  EXPECT_EQ(findMultiply(MatrixType::F16, MatrixType::BF16), nullptr);
  EXPECT_EQ(findMultiply(MatrixType::S8, MatrixType::E4M3), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Host, MatrixIsas,
                         testing::ValuesIn(availableMatrixIsas().begin(),
                                           availableMatrixIsas().end()));

} // namespace
