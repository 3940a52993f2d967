//===- MatrixArithmetic.cpp - Products of fragments -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Plain C++ for every type; the same source compiled for AVX2; and AVX-512 for
// the types that matter for speed.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/MatrixArithmetic.h"

#include "runtime/device/sim/Arithmetic.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define QUERN_X86 1
#include "runtime/device/sim/MatrixArithmeticAvx512.h"
#endif

using namespace quern;
using namespace quern::sim;

#if defined(__GNUC__) || defined(__clang__)
#define QUERN_INLINE __attribute__((always_inline)) inline
#else
#define QUERN_INLINE inline
#endif

namespace {

struct TypeFacts {
  MatrixType type;
  std::string_view name;
  unsigned bits;
  bool integer;
};
constexpr TypeFacts facts[matrixTypeCount] = {
    {MatrixType::S8, "s8", 8, true},
    {MatrixType::U8, "u8", 8, true},
    {MatrixType::S4, "s4", 4, true},
    {MatrixType::U4, "u4", 4, true},
    {MatrixType::F16, "f16", 16, false},
    {MatrixType::BF16, "bf16", 16, false},
    {MatrixType::TF32, "tf32", 32, false},
    {MatrixType::E4M3, "e4m3", 8, false},
    {MatrixType::E5M2, "e5m2", 8, false},
    {MatrixType::E3M2, "e3m2", 8, false},
    {MatrixType::E2M3, "e2m3", 8, false},
    {MatrixType::E2M1, "e2m1", 8, false},
    {MatrixType::E2M1Packed, "e2m1", 4, false},
};
constexpr const TypeFacts &factsOf(MatrixType type) {
  return facts[static_cast<unsigned>(type)];
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

/// The values of all bytes of an 8-bit float type.
template <MatrixType type> const std::array<float, 256> &byteValues() {
  static const auto table = [] {
    std::array<float, 256> values;
    for (unsigned i = 0; i < 256; ++i)
      values[i] = static_cast<float>(
          type == MatrixType::E4M3   ? decode(i, formatE4M3)
          : type == MatrixType::E5M2 ? decode(i, formatE5M2)
          : type == MatrixType::E3M2 ? decode(i & 63, formatE3M2)
          : type == MatrixType::E2M3 ? decode(i & 63, formatE2M3)
                                     : decode(i >> 2 & 15, formatE2M1));
    return values;
  }();
  return table;
}

/// Four bytes of a row become elements of `Factor`; returns how many.
template <MatrixType type, typename Factor>
QUERN_INLINE void unpackWord(uint32_t word, Factor *out, size_t stride) {
  if constexpr (type == MatrixType::S8 || type == MatrixType::U8) {
    for (unsigned i = 0; i < 4; ++i, word >>= 8)
      out[i * stride] = type == MatrixType::S8
                            ? static_cast<Factor>(static_cast<int8_t>(word))
                            : static_cast<Factor>(static_cast<uint8_t>(word));
  } else if constexpr (type == MatrixType::S4 || type == MatrixType::U4) {
    for (unsigned i = 0; i < 8; ++i, word >>= 4)
      out[i * stride] =
          type == MatrixType::S4
              ? static_cast<Factor>(static_cast<int32_t>(word << 28) >> 28)
              : static_cast<Factor>(word & 15);
  } else if constexpr (type == MatrixType::F16) {
    out[0] = halfToFloat(static_cast<uint16_t>(word));
    out[stride] = halfToFloat(static_cast<uint16_t>(word >> 16));
  } else if constexpr (type == MatrixType::BF16) {
    out[0] = bfloatToFloat(static_cast<uint16_t>(word));
    out[stride] = bfloatToFloat(static_cast<uint16_t>(word >> 16));
  } else if constexpr (type == MatrixType::TF32) {
    out[0] = std::bit_cast<float>(word & 0xffffe000u);
  } else {
    const std::array<float, 256> &values = byteValues<type>();
    for (unsigned i = 0; i < 4; ++i, word >>= 8)
      out[i * stride] = values[word & 255];
  }
}

//===----------------------------------------------------------------------===//
// Plain C++
//===----------------------------------------------------------------------===//

/// Rows of A, and B with columns innermost.
template <MatrixType typeA, MatrixType typeB, typename Factor, unsigned depth>
QUERN_INLINE void unpack(const Fragments &f, Factor (&a)[16][depth],
                         Factor (&b)[depth][8]) {
  constexpr unsigned perWord = 32 / factsOf(typeA).bits;
  for (unsigned part = 0; part < 2 * f.halves; ++part)
    for (unsigned lane = 0; lane < 32; ++lane) {
      uint32_t word;
      std::memcpy(&word, f.a[part] + lane * 4, 4);
      unsigned row = lane / 4 + 8 * (part & 1);
      unsigned k = (lane % 4 + part / 2 * 4) * perWord;
      unpackWord<typeA>(word, &a[row][k], 1);
    }
  for (unsigned part = 0; part < f.halves; ++part)
    for (unsigned lane = 0; lane < 32; ++lane) {
      uint32_t word;
      std::memcpy(&word, f.b[part] + lane * 4, 4);
      unsigned k = (lane % 4 + part * 4) * perWord;
      unpackWord<typeB>(word, &b[k][lane / 4], 8);
    }
}

template <typename Value>
QUERN_INLINE void loadAccumulators(const Fragments &f, Value (&c)[16][8]) {
  for (unsigned i = 0; i < 4; ++i)
    for (unsigned lane = 0; lane < 32; ++lane)
      c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] =
          std::bit_cast<Value>(f.c[i][lane]);
}
template <typename Value>
QUERN_INLINE void storeAccumulators(const Fragments &f,
                                    const Value (&c)[16][8]) {
  for (unsigned i = 0; i < 4; ++i)
    for (unsigned lane = 0; lane < 32; ++lane)
      f.d[i][lane] = std::bit_cast<uint32_t>(
          c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2]);
}

template <MatrixType typeA, MatrixType typeB>
QUERN_INLINE void multiplyFloats(const Fragments &f) {
  constexpr unsigned maxDepth = 256 / factsOf(typeA).bits;
  float a[16][maxDepth], b[maxDepth][8], c[16][8];
  unpack<typeA, typeB>(f, a, b);
  loadAccumulators(f, c);
  unsigned depth = maxDepth / 2 * f.halves;
  for (unsigned row = 0; row < 16; ++row) {
    float sum[8];
    std::memcpy(sum, c[row], sizeof(sum));
    for (unsigned k = 0; k < depth; ++k)
      for (unsigned n = 0; n < 8; ++n)
        sum[n] += a[row][k] * b[k][n];
    for (unsigned n = 0; n < 8; ++n)
      c[row][n] = canonical(sum[n]);
  }
  storeAccumulators(f, c);
}

template <MatrixType typeA, MatrixType typeB>
QUERN_INLINE void multiplyIntegers(const Fragments &f) {
  constexpr unsigned maxDepth = 256 / factsOf(typeA).bits;
  int16_t a[16][maxDepth], b[maxDepth][8];
  int32_t c[16][8];
  unpack<typeA, typeB>(f, a, b);
  loadAccumulators(f, c);
  unsigned depth = maxDepth / 2 * f.halves;
  for (unsigned row = 0; row < 16; ++row) {
    // At most 64 * 255 * 255: the products alone cannot overflow.
    int32_t sum[8] = {};
    for (unsigned k = 0; k < depth; ++k)
      for (unsigned n = 0; n < 8; ++n)
        sum[n] += int32_t(a[row][k]) * b[k][n];
    for (unsigned n = 0; n < 8; ++n)
      if (f.saturate)
        c[row][n] = static_cast<int32_t>(std::clamp<int64_t>(
            int64_t(c[row][n]) + sum[n], std::numeric_limits<int32_t>::min(),
            std::numeric_limits<int32_t>::max()));
      else
        c[row][n] = static_cast<int32_t>(static_cast<uint32_t>(c[row][n]) +
                                         static_cast<uint32_t>(sum[n]));
  }
  storeAccumulators(f, c);
}

template <MatrixType typeA, MatrixType typeB>
QUERN_INLINE void multiplyPlain(const Fragments &f) {
  if constexpr (factsOf(typeA).integer)
    multiplyIntegers<typeA, typeB>(f);
  else
    multiplyFloats<typeA, typeB>(f);
}

template <MatrixType typeA, MatrixType typeB>
void portable(const Fragments &f) {
  multiplyPlain<typeA, typeB>(f);
}

#if QUERN_X86

template <MatrixType typeA, MatrixType typeB>
__attribute__((target("avx2,f16c"))) void avx2(const Fragments &f) {
  multiplyPlain<typeA, typeB>(f);
}

/// The exact sum of products, then a saturating sum.
template <MultiplyFn multiply> void saturating(const Fragments &f) {
  if (!f.saturate)
    return multiply(f);
  alignas(64) static constexpr uint32_t zeros[32] = {};
  alignas(64) uint32_t sums[4][32];
  Fragments products = f;
  for (unsigned i = 0; i < 4; ++i) {
    products.c[i] = zeros;
    products.d[i] = sums[i];
  }
  multiply(products);
  for (unsigned i = 0; i < 4; ++i)
    for (unsigned lane = 0; lane < 32; ++lane)
      f.d[i][lane] = static_cast<uint32_t>(
          std::clamp<int64_t>(int64_t(static_cast<int32_t>(f.c[i][lane])) +
                                  static_cast<int32_t>(sums[i][lane]),
                              std::numeric_limits<int32_t>::min(),
                              std::numeric_limits<int32_t>::max()));
}

/// Nibbles as bytes: the low ones of every byte, then the high ones.
template <bool isSigned>
void spreadNibbles(const std::byte *from, bool high, std::byte *to) {
  for (unsigned i = 0; i < 128; ++i) {
    unsigned x = static_cast<unsigned>(from[i]) >> (high ? 4 : 0) & 15;
    to[i] = static_cast<std::byte>(isSigned ? (x ^ 8) - 8 : x);
  }
}

template <bool signedA, bool signedB, MultiplyFn multiply>
void nibbles(const Fragments &f) {
  alignas(64) std::byte a[4][128], b[2][128];
  Fragments part = f;
  for (unsigned high = 0; high < 2; ++high) {
    for (unsigned i = 0; i < 2 * f.halves; ++i) {
      spreadNibbles<signedA>(f.a[i], high, a[i]);
      part.a[i] = a[i];
    }
    for (unsigned i = 0; i < f.halves; ++i) {
      spreadNibbles<signedB>(f.b[i], high, b[i]);
      part.b[i] = b[i];
    }
    multiply(part);
    for (unsigned i = 0; i < 4; ++i)
      part.c[i] = f.d[i];
  }
}

/// Both halves' products are summed before saturation.
template <MultiplyFn multiply> constexpr MultiplyFn saturated() {
  return saturating<multiply>;
}

MultiplyFn findAvx512(MatrixType a, MatrixType b) {
  using T = MatrixType;
  struct Row {
    T a, b;
    MultiplyFn multiply;
  };
  static constexpr Row table[] = {
      {T::S8, T::S8, saturated<avx512::multiplyBytes<true, true>>()},
      {T::S8, T::U8, saturated<avx512::multiplyBytes<true, false>>()},
      {T::U8, T::S8, saturated<avx512::multiplyBytes<false, true>>()},
      {T::U8, T::U8, saturated<avx512::multiplyBytes<false, false>>()},
      {T::S4, T::S4,
       saturated<nibbles<true, true, avx512::multiplyBytes<true, true>>>()},
      {T::S4, T::U4,
       saturated<nibbles<true, false, avx512::multiplyBytes<true, true>>>()},
      {T::U4, T::S4,
       saturated<nibbles<false, true, avx512::multiplyBytes<true, true>>>()},
      {T::U4, T::U4,
       saturated<nibbles<false, false, avx512::multiplyBytes<true, true>>>()},
      {T::F16, T::F16, avx512::multiplyFloats<avx512::F16, avx512::F16>},
      {T::BF16, T::BF16, avx512::multiplyFloats<avx512::BF16, avx512::BF16>},
      {T::TF32, T::TF32, avx512::multiplyFloats<avx512::TF32, avx512::TF32>},
      {T::E4M3, T::E4M3, avx512::multiplyFloats<avx512::E4M3, avx512::E4M3>},
      {T::E4M3, T::E5M2, avx512::multiplyFloats<avx512::E4M3, avx512::E5M2>},
      {T::E5M2, T::E4M3, avx512::multiplyFloats<avx512::E5M2, avx512::E4M3>},
      {T::E5M2, T::E5M2, avx512::multiplyFloats<avx512::E5M2, avx512::E5M2>},
  };
  for (const Row &row : table)
    if (row.a == a && row.b == b)
      return row.multiply;
  return nullptr;
}

#endif // QUERN_X86

/// Calls `f` with the two types as constants, if they go together.
template <typename F> MultiplyFn forTypes(MatrixType a, MatrixType b, F f) {
  using T = MatrixType;
  MultiplyFn found = nullptr;
  auto among = [&]<T... types>(std::integer_sequence<T, types...>) {
    auto second = [&]<T first>() {
      ((b == types ? void(found = f.template operator()<first, types>())
                   : void()),
       ...);
    };
    ((a == types ? second.template operator()<types>() : void()), ...);
  };
  among(std::integer_sequence<T, T::S8, T::U8>());
  among(std::integer_sequence<T, T::S4, T::U4>());
  among(std::integer_sequence<T, T::F16>());
  among(std::integer_sequence<T, T::BF16>());
  among(std::integer_sequence<T, T::TF32>());
  among(
      std::integer_sequence<T, T::E4M3, T::E5M2, T::E3M2, T::E2M3, T::E2M1>());
  return found;
}

/// The k-th element of a row of 16 bytes or 32 (two parts of 16).
float scaledElement(MatrixType type, const std::byte *low,
                    const std::byte *high, unsigned k) {
  bool packed = type == MatrixType::E2M1Packed;
  unsigned at = packed ? k / 2 : k;
  unsigned byte = static_cast<unsigned>(at < 16 ? low[at] : high[at - 16]);
  switch (type) {
  case MatrixType::E4M3:
    return byteValues<MatrixType::E4M3>()[byte];
  case MatrixType::E5M2:
    return byteValues<MatrixType::E5M2>()[byte];
  case MatrixType::E3M2:
    return byteValues<MatrixType::E3M2>()[byte];
  case MatrixType::E2M3:
    return byteValues<MatrixType::E2M3>()[byte];
  case MatrixType::E2M1:
    return byteValues<MatrixType::E2M1>()[byte];
  default:
    return byteValues<MatrixType::E2M1>()[(byte >> k % 2 * 4 & 15) << 2];
  }
}

} // namespace

void sim::multiplyScaled(MatrixType typeA, MatrixType typeB, const Fragments &f,
                         const BlockScales &scales) {
  unsigned depth = 128 / elementBits(typeA) * f.halves;
  unsigned perBlock = depth / scales.perRow;
  float c[16][8];
  loadAccumulators(f, c);
  for (unsigned row = 0; row < 16; ++row)
    for (unsigned column = 0; column < 8; ++column) {
      const std::byte *rowLow = f.a[row / 8] + row % 8 * 16;
      const std::byte *rowHigh =
          f.halves == 2 ? f.a[2 + row / 8] + row % 8 * 16 : nullptr;
      const std::byte *columnLow = f.b[0] + column * 16;
      const std::byte *columnHigh =
          f.halves == 2 ? f.b[1] + column * 16 : nullptr;
      float sum = c[row][column];
      for (unsigned k = 0; k < depth; ++k) {
        float scale =
            scales.a[row][k / perBlock] * scales.b[column][k / perBlock];
        sum += scaledElement(typeA, rowLow, rowHigh, k) *
               scaledElement(typeB, columnLow, columnHigh, k) * scale;
      }
      c[row][column] = canonical(sum);
    }
  storeAccumulators(f, c);
}

std::string_view sim::name(MatrixType type) { return factsOf(type).name; }
bool sim::isInteger(MatrixType type) { return factsOf(type).integer; }
unsigned sim::elementBits(MatrixType type) { return factsOf(type).bits; }

std::span<const MatrixIsa> sim::availableMatrixIsas() {
  static constexpr MatrixIsa all[] = {MatrixIsa::Portable, MatrixIsa::Avx2,
                                      MatrixIsa::Avx512};
  static const size_t count = [] {
#if QUERN_X86
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("f16c") ||
        !__builtin_cpu_supports("fma"))
      return size_t(1);
    return __builtin_cpu_supports("avx512f") &&
                   __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vnni")
               ? size_t(3)
               : size_t(2);
#else
    return size_t(1);
#endif
  }();
  return {all, count};
}

MultiplyFn sim::findMultiply(MatrixType a, MatrixType b,
                             std::optional<MatrixIsa> wanted) {
  MatrixIsa isa = wanted ? *wanted : availableMatrixIsas().back();
#if QUERN_X86
  if (isa == MatrixIsa::Avx512)
    if (MultiplyFn multiply = findAvx512(a, b))
      return multiply;
  if (isa != MatrixIsa::Portable)
    return forTypes(a, b, []<MatrixType first, MatrixType second>() {
      return MultiplyFn(avx2<first, second>);
    });
#else
  (void)isa;
#endif
  return forTypes(a, b, []<MatrixType first, MatrixType second>() {
    return MultiplyFn(portable<first, second>);
  });
}
