//===- TensorTest.cpp - Tensors and their element conversions -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "quern/quern.h"
#include "runtime/tensor/FloatCodes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

using namespace quern;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Under AddressSanitizer an allocation that fails must do so as elsewhere.
extern "C" const char *__asan_default_options() {
  return "allocator_may_return_null=1";
}

namespace {

const FloatFormat formats[] = {formatF16, formatBF16, formatF8E4M3,
                               formatF8E5M2};

TEST(FloatCodes, EveryCodeSurvivesTheRoundTrip) {
  for (FloatFormat f : formats) {
    uint32_t codes = 2u << (f.exponentBits + f.fractionBits);
    for (uint32_t code = 0; code < codes; ++code) {
      float value = decodeFloat(code, f);
      uint32_t back = encodeFloat(value, f);
      if (value == value)
        ASSERT_EQ(back, code);
      else
        ASSERT_TRUE(std::isnan(decodeFloat(back, f)));
    }
  }
}

TEST(FloatCodes, RoundsHalfToEven) {
  // Between neighbours: below the middle down, above up, in the middle to the
  // even code.
  for (FloatFormat f : formats) {
    uint32_t top = 1u << (f.exponentBits + f.fractionBits);
    for (uint32_t code = 0; code + 1 < top; ++code) {
      float low = decodeFloat(code, f), high = decodeFloat(code + 1, f);
      if (!std::isfinite(low) || !std::isfinite(high))
        continue;
      float middle = low + (high - low) / 2; // Exact: few fraction bits.
      uint32_t even = code % 2 ? code + 1 : code;
      ASSERT_EQ(encodeFloat(middle, f), even);
      ASSERT_EQ(encodeFloat(std::nextafter(middle, 0.0f), f), code);
      ASSERT_EQ(encodeFloat(std::nextafter(middle, HUGE_VALF), f), code + 1);
      ASSERT_EQ(encodeFloat(-middle, f), even | top);
    }
  }
}

#ifdef __FLT16_MAX__
TEST(FloatCodes, F16AgreesWithTheCompiler) {
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 9973) {
    float value = std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (value == value) {
      ASSERT_EQ(encodeFloat(value, formatF16),
                std::bit_cast<uint16_t>(static_cast<_Float16>(value)))
          << bits;
    }
  }
}
#endif

TEST(FloatCodes, OutOfRange) {
  EXPECT_EQ(encodeFloat(65520.0f, formatF16), 0x7c00u);
  EXPECT_EQ(encodeFloat(65519.0f, formatF16), 0x7bffu);
  EXPECT_EQ(encodeFloat(-HUGE_VALF, formatF8E4M3), 0xfeu);
  EXPECT_EQ(encodeFloat(1e9f, formatF8E4M3), 0x7eu);
  EXPECT_EQ(encodeFloat(61440.0f, formatF8E5M2), 0x7cu);
  EXPECT_EQ(decodeFloat(0x7e, formatF8E4M3), 448.0f);
  EXPECT_TRUE(std::isnan(decodeFloat(0x7f, formatF8E4M3)));
}

TEST(Tensor, FromAndToFloats) {
  float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> v = {-1000, -1.5f, 0.5f, 2.5f, 300, nan};
  auto through = [&](DType type) {
    Result<Tensor> t = Tensor::fromFloats(type, {2, 3}, v);
    EXPECT_TRUE(t);
    return t->toFloats();
  };
  EXPECT_THAT(through(DType::I8), ElementsAre(-128, -2, 0, 2, 127, 0));
  EXPECT_THAT(through(DType::U8), ElementsAre(0, 0, 0, 2, 255, 0));
  EXPECT_THAT(through(DType::I32), ElementsAre(-1000, -2, 0, 2, 300, 0));
  EXPECT_THAT(through(DType::Bool), ElementsAre(1, 1, 1, 1, 1, 1));
  std::vector<float> big = {1e30f, -1e30f, 9.2e18f};
  Result<Tensor> t = Tensor::fromFloats(DType::I64, {3}, big);
  EXPECT_EQ(t->as<int64_t>()[0], INT64_MAX);
  EXPECT_EQ(t->as<int64_t>()[1], INT64_MIN);
  EXPECT_EQ(t->as<int64_t>()[2], int64_t(9.2e18f));
  Result<Tensor> wrong = Tensor::fromFloats(DType::F32, {2}, v);
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message, HasSubstr("2 elements, 6 values"));
}

TEST(Tensor, FourBits) {
  // Rows begin at bytes: 2 rows of 3 elements are 4 bytes.
  std::vector<float> v = {-9, -8, 7, 8, 2.5f, -0.5f};
  Result<Tensor> t = Tensor::fromFloats(DType::I4, {2, 3}, v);
  ASSERT_TRUE(t);
  EXPECT_EQ(t->elements(), 6);
  EXPECT_EQ(t->bytes(), 4u);
  EXPECT_THAT(t->as<uint8_t>(), ElementsAre(0x88, 0x07, 0x27, 0x00));
  EXPECT_THAT(t->toFloats(), ElementsAre(-8, -8, 7, 7, 2, 0));
  t = Tensor::fromFloats(DType::U4, {3, 2}, v);
  ASSERT_TRUE(t);
  EXPECT_THAT(t->as<uint8_t>(), ElementsAre(0x00, 0x87, 0x02));
  EXPECT_THAT(t->toFloats(), ElementsAre(0, 0, 7, 8, 2, 0));
  Result<Tensor> copy = t->clone();
  ASSERT_TRUE(copy);
  EXPECT_EQ(copy->toFloats(), t->toFloats());
  // Sixteen is no number of either.
  std::vector<float> big = {16, -16};
  EXPECT_THAT(Tensor::fromFloats(DType::U4, {2}, big)->toFloats(),
              ElementsAre(15, 0));
  EXPECT_EQ(Tensor::zeros(DType::I4, {})->bytes(), 1u);
  EXPECT_EQ(Tensor::zeros(DType::I4, {5, 0})->bytes(), 0u);
  // What does not fit as bytes may as halves of them.
  EXPECT_EQ(Shape({INT64_MAX}).bytes(DType::I4), INT64_MAX / 2 + 1);
  EXPECT_EQ(Shape({INT64_MAX}).bytes(DType::F16), std::nullopt);
}

TEST(Tensor, ShapesAreChecked) {
  EXPECT_TRUE(Tensor::zeros(DType::F32, {}));
  EXPECT_EQ(Tensor::zeros(DType::F32, {})->elements(), 1);
  EXPECT_EQ(Tensor::zeros(DType::F32, {0, 5})->elements(), 0);
  EXPECT_NE(Tensor::zeros(DType::F32, {0, 5})->data(), nullptr);
  EXPECT_FALSE(Tensor::zeros(DType::F32, {-1}));
  EXPECT_FALSE(Tensor::zeros(DType::F32, {INT64_MAX, 2}));
  EXPECT_FALSE(Tensor::zeros(DType::F32, {INT64_MAX}));
  EXPECT_FALSE(Tensor::zeros(DType::I8, {1, 1, 1, 1, 1, 1, 1}));
  Result<Tensor> tooLarge = Tensor::zeros(DType::I8, {INT64_MAX / 2});
  ASSERT_FALSE(tooLarge);
  EXPECT_EQ(tooLarge.error().code, Errc::OutOfMemory);
  EXPECT_EQ(Shape({0, INT64_MAX, INT64_MAX}).elements(), 0);
}

TEST(Tensor, CloneAndMove) {
  std::vector<float> v = {1, 2};
  Result<Tensor> a = Tensor::fromFloats(DType::F32, {2}, v, "a");
  Result<Tensor> b = a->clone();
  b->as<float>()[0] = 9;
  EXPECT_THAT(a->toFloats(), ElementsAre(1, 2));
  EXPECT_EQ(b->name(), "a");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a->data()) % 64, 0u);
  EXPECT_TRUE(a->as<double>().empty());
}

TEST(Tensor, FindsNaN) {
  float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> v = {1, HUGE_VALF, -nan, 4};
  for (DType type :
       {DType::F32, DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2})
    EXPECT_EQ(findNaN(*Tensor::fromFloats(type, {4}, v)), 2) << name(type);
  v[2] = 0;
  for (DType type :
       {DType::F32, DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2})
    EXPECT_EQ(findNaN(*Tensor::fromFloats(type, {4}, v)), std::nullopt);
  EXPECT_EQ(findNaN(*Tensor::fromFloats(DType::I8, {4}, v)), std::nullopt);
}

TEST(Targets, ParseAndPrint) {
  for (const char *text :
       {"cpu", "cpu:generic", "cpu:avx512-vnni", "cuda", "cuda:sm_90a",
        "cuda:sm_80", "sim:sm_80", "sim:sm_100f"}) {
    Result<Target> target = Target::parse(text);
    ASSERT_TRUE(target) << text;
    EXPECT_EQ(target->print(), text);
  }
  for (const char *text :
       {"", "gpu", "cpu:", "cpu:a b", "sim", "sim:", "cuda:", "cuda:90",
        "cuda:sm_", "cuda:sm_9", "cuda:sm_90b", "cuda:sm_90a:x", "CPU"}) {
    Result<Target> target = Target::parse(text);
    ASSERT_FALSE(target) << text;
    EXPECT_THAT(target.error().render(), HasSubstr("sim:sm_NN"));
  }
  EXPECT_EQ(Target::parse("sim:sm_80")->codeTarget(), "cuda:sm_80");
}

} // namespace
