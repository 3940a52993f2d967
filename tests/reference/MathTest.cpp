//===- MathTest.cpp - The strict functions' accuracy and corners ----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Math.h"

#include <bit>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

using namespace quern::reference;

namespace {
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float notANumber = std::numeric_limits<float>::quiet_NaN();

/// Distance of a float from a double in units of the float's last place.
double ulpsApart(float actual, double expected) {
  int exponent;
  std::frexp(expected, &exponent);
  double unit = std::ldexp(1.0, std::max(exponent - 24, -149));
  return std::fabs(actual - expected) / unit;
}

/// The largest error over every 97th float with magnitude in [low, high].
double worst(float (*strict)(float), double (*real)(double), float low,
             float high) {
  double most = 0;
  for (uint32_t bits = std::bit_cast<uint32_t>(low);
       bits <= std::bit_cast<uint32_t>(high); bits += 97)
    for (uint32_t sign : {0u, 0x80000000u}) {
      float x = std::bit_cast<float>(bits | sign);
      most = std::max(most, ulpsApart(strict(x), real(x)));
    }
  return most;
}
} // namespace

TEST(Math, ExpIsWithin101HundredthsOfAnUlp) {
  // Below -87 results are subnormal and rounded twice; above 88.7 infinite.
  EXPECT_LE(worst(strictExp, std::exp, 0x1p-30f, 87.0f), 1.01);
  for (float x = -104.0f; x < -87.0f; x += 0x1p-10f)
    EXPECT_LE(ulpsApart(strictExp(x), std::exp(static_cast<double>(x))), 1.0)
        << x;
}

TEST(Math, TanhIsWithinTwoUlps) {
  EXPECT_LE(worst(strictTanh, std::tanh, 0x1p-30f, 20.0f), 2.0);
}

TEST(Math, ErfIsWithinEightUlps) {
  // The worst places lie just below 4.
  EXPECT_LE(worst(strictErf, std::erf, 0x1p-20f, 6.0f), 8.0);
}

TEST(Math, Corners) {
  EXPECT_EQ(strictExp(0.0f), 1.0f);
  EXPECT_EQ(strictExp(-0.0f), 1.0f);
  EXPECT_EQ(strictExp(infinity), infinity);
  EXPECT_EQ(strictExp(-infinity), 0.0f);
  EXPECT_EQ(strictExp(88.8f), infinity);
  EXPECT_EQ(strictExp(-1e30f), 0.0f);
  EXPECT_NE(strictExp(notANumber), strictExp(notANumber));
  EXPECT_EQ(strictTanh(infinity), 1.0f);
  EXPECT_EQ(strictTanh(-infinity), -1.0f);
  EXPECT_EQ(strictTanh(-50.0f), -1.0f);
  // fma(p z, x, x) at -0 is +0 + -0: the sign of zero is lost, by the law.
  EXPECT_EQ(std::bit_cast<uint32_t>(strictTanh(-0.0f)), 0u);
  EXPECT_NE(strictTanh(notANumber), strictTanh(notANumber));
  EXPECT_EQ(strictErf(infinity), 1.0f);
  EXPECT_EQ(strictErf(-100.0f), -1.0f);
  EXPECT_TRUE(std::signbit(strictErf(-0.0f)));
  EXPECT_NE(strictErf(notANumber), strictErf(notANumber));
}

TEST(Math, MaximumAndMinimum) {
  EXPECT_FALSE(std::signbit(strictMax(-0.0f, 0.0f)));
  EXPECT_FALSE(std::signbit(strictMax(0.0f, -0.0f)));
  EXPECT_TRUE(std::signbit(strictMin(0.0f, -0.0f)));
  EXPECT_TRUE(std::signbit(strictMin(-0.0f, 0.0f)));
  EXPECT_TRUE(std::signbit(strictMax(-0.0f, -0.0f)));
  EXPECT_FALSE(std::signbit(strictMin(0.0f, 0.0f)));
  for (float other : {1.0f, -infinity, infinity}) {
    EXPECT_NE(strictMax(notANumber, other), strictMax(notANumber, other));
    EXPECT_NE(strictMax(other, notANumber), strictMax(other, notANumber));
    EXPECT_NE(strictMin(notANumber, other), strictMin(notANumber, other));
    EXPECT_NE(strictMin(other, notANumber), strictMin(other, notANumber));
  }
  EXPECT_EQ(strictMax(2.0f, 3.0f), 3.0f);
  EXPECT_EQ(strictMin(2.0f, 3.0f), 2.0f);
}

TEST(Math, BitsAreFixed) {
  // Sums over a sample of all patterns, NaN results left out. Whoever changes
  // one of these changes the numbers of every target and of docs/numerics.md.
  auto fingerprint = [](float (*strict)(float)) {
    uint64_t sum = 0xcbf29ce484222325ull;
    for (uint64_t bits = 0; bits < (1ull << 32); bits += 65537) {
      float y = strict(std::bit_cast<float>(static_cast<uint32_t>(bits)));
      if (y == y)
        sum = (sum ^ std::bit_cast<uint32_t>(y)) * 0x100000001b3ull;
    }
    return sum;
  };
  EXPECT_EQ(fingerprint(strictExp), 7405831629095394260u);
  EXPECT_EQ(fingerprint(strictTanh), 15974957274038569785u);
  EXPECT_EQ(fingerprint(strictErf), 13062878538069593413u);
}
