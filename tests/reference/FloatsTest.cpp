//===- FloatsTest.cpp - Narrow formats against other implementations ------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Three independent judges: the compiler's _Float16, LLVM's APFloat, and a
// search through all values of an eight-bit format.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Floats.h"

#include "llvm/ADT/APFloat.h"

#include <bit>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <random>

using namespace quern;
using namespace quern::reference;

namespace {
const llvm::fltSemantics &semanticsOf(DType type) {
  switch (type) {
  case DType::F16:
    return llvm::APFloat::IEEEhalf();
  case DType::BF16:
    return llvm::APFloat::BFloat();
  case DType::F8E4M3:
    return llvm::APFloat::Float8E4M3FN();
  default:
    return llvm::APFloat::Float8E5M2();
  }
}

/// APFloat's rounding, with the saturation our f8 conversions define.
uint32_t judge(DType type, double value) {
  bool small = byteWidth(type) == 1;
  double largest = type == DType::F8E4M3 ? 448.0 : 57344.0;
  if (small && std::fabs(value) > largest)
    return (std::signbit(value) ? 0x80u : 0u) |
           (type == DType::F8E4M3 ? 0x7eu : 0x7bu);
  llvm::APFloat number(value);
  bool lost;
  number.convert(semanticsOf(type), llvm::APFloat::rmNearestTiesToEven, &lost);
  return static_cast<uint32_t>(number.bitcastToAPInt().getZExtValue());
}

class Formats : public testing::TestWithParam<DType> {};
} // namespace

INSTANTIATE_TEST_SUITE_P(All, Formats,
                         testing::Values(DType::F16, DType::BF16, DType::F8E4M3,
                                         DType::F8E5M2),
                         [](const auto &info) {
                           return std::string(name(info.param));
                         });

TEST(Floats, EveryHalfDecodesAsTheCompilersHalf) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    float expected = static_cast<float>(
        std::bit_cast<_Float16>(static_cast<uint16_t>(bits)));
    float actual = decodeFloat(DType::F16, bits);
    if (expected != expected) {
      EXPECT_NE(actual, actual) << bits;
      continue;
    }
    EXPECT_EQ(std::bit_cast<uint32_t>(actual),
              std::bit_cast<uint32_t>(expected))
        << bits;
    EXPECT_EQ(encodeFloat(DType::F16, actual), bits);
  }
}

TEST(Floats, RandomNumbersEncodeAsTheCompilersHalf) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 2000000; ++i) {
    // All exponents a half can round to something from, and some beyond.
    float value = std::bit_cast<float>(static_cast<uint32_t>(
        (random() & 0x807fffffu) | ((95 + random() % 52) << 23)));
    EXPECT_EQ(encodeFloat(DType::F16, value),
              std::bit_cast<uint16_t>(static_cast<_Float16>(value)))
        << value;
  }
}

TEST_P(Formats, EveryPatternDecodesAsAPFloatSays) {
  DType type = GetParam();
  unsigned width = 8 * byteWidth(type);
  for (uint32_t bits = 0; bits < (1u << width); ++bits) {
    llvm::APFloat number(semanticsOf(type), llvm::APInt(width, bits));
    float actual = decodeFloat(type, bits);
    if (number.isNaN()) {
      EXPECT_NE(actual, actual) << bits;
      EXPECT_NE(decodeFloat(type, encodeFloat(type, actual)), 0.0f);
      continue;
    }
    bool lost;
    number.convert(llvm::APFloat::IEEEsingle(),
                   llvm::APFloat::rmNearestTiesToEven, &lost);
    EXPECT_EQ(std::bit_cast<uint32_t>(actual),
              std::bit_cast<uint32_t>(number.convertToFloat()))
        << bits;
    if (std::isfinite(actual)) {
      EXPECT_EQ(encodeFloat(type, actual), bits);
    }
  }
}

TEST_P(Formats, MidpointsAndTheirNeighboursRoundAsAPFloatSays) {
  DType type = GetParam();
  uint32_t sign = 1u << (8 * byteWidth(type) - 1);
  for (uint32_t bits = 0; bits + 1 < sign; ++bits) {
    double low = decodeFloat(type, bits), high = decodeFloat(type, bits + 1);
    if (!std::isfinite(low) || !std::isfinite(high))
      continue;
    double middle = (low + high) / 2;
    for (double value : {middle, std::nextafter(middle, 0.0),
                         std::nextafter(middle, HUGE_VAL)}) {
      EXPECT_EQ(encodeFloat(type, value), judge(type, value)) << value;
      EXPECT_EQ(encodeFloat(type, -value), judge(type, -value)) << -value;
    }
  }
}

TEST_P(Formats, RandomDoublesRoundOnceAsAPFloatSays) {
  DType type = GetParam();
  std::mt19937_64 random(2);
  for (int i = 0; i < 300000; ++i) {
    int exponent = type == DType::BF16 ? 1023 - 140 + random() % 270
                                       : 1023 - 30 + random() % 50;
    uint64_t mantissa = random() & 0xfffffffffffffull;
    if (i % 2) // Few bits: close to ties.
      mantissa &= ~0ull << (36 + random() % 14);
    double value = std::bit_cast<double>((random() & (1ull << 63)) |
                                         (uint64_t(exponent) << 52) | mantissa);
    EXPECT_EQ(encodeFloat(type, value), judge(type, value)) << value;
  }
}

TEST_P(Formats, SpecialNumbers) {
  DType type = GetParam();
  double infinity = std::numeric_limits<double>::infinity();
  float nan = decodeFloat(
      type, encodeFloat(type, std::numeric_limits<double>::quiet_NaN()));
  EXPECT_NE(nan, nan);
  float up = decodeFloat(type, encodeFloat(type, infinity));
  float down = decodeFloat(type, encodeFloat(type, -infinity));
  EXPECT_EQ(up, -down);
  if (type == DType::F8E4M3)
    EXPECT_EQ(up, 448.0f);
  else if (type == DType::F8E5M2)
    EXPECT_EQ(up, 57344.0f);
  else
    EXPECT_EQ(up, std::numeric_limits<float>::infinity());
  EXPECT_EQ(decodeFloat(type, encodeFloat(type, 1e300)), up);
  EXPECT_EQ(encodeFloat(type, 5e-324), 0u);
  EXPECT_EQ(encodeFloat(type, -0.0), 1u << (8 * byteWidth(type) - 1));
}

TEST(Floats, EightBitEncodingIsTheNearestOfAllValues) {
  std::mt19937_64 random(3);
  for (DType type : {DType::F8E4M3, DType::F8E5M2})
    for (int i = 0; i < 20000; ++i) {
      float value = static_cast<float>(
          std::ldexp(static_cast<double>(random() % 4096), -14) *
          (type == DType::F8E5M2 ? random() % 100 : 1));
      uint32_t best = 0;
      for (uint32_t bits = 0; bits < 128; ++bits) {
        float candidate = decodeFloat(type, bits);
        if (!std::isfinite(candidate))
          continue;
        double closer =
            std::fabs(static_cast<double>(value) - candidate) -
            std::fabs(static_cast<double>(value) - decodeFloat(type, best));
        if (closer < 0 || (closer == 0 && bits % 2 == 0))
          best = bits;
      }
      EXPECT_EQ(encodeFloat(type, value), best) << value;
    }
}

TEST(Floats, OrderedIndexCountsSteps) {
  EXPECT_EQ(orderedIndex(DType::F32, std::bit_cast<uint32_t>(1.0f)) + 1,
            orderedIndex(DType::F32, std::bit_cast<uint32_t>(0x1.000002p0f)));
  EXPECT_EQ(orderedIndex(DType::F16, 0x8000), orderedIndex(DType::F16, 0));
  EXPECT_EQ(orderedIndex(DType::F8E4M3, 0x81), -1);
  EXPECT_EQ(orderedIndex(DType::F32, 0x80000003u), -3);
}
