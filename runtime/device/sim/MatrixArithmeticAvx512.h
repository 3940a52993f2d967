//===- MatrixArithmeticAvx512.h - Products by AVX-512 -----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Included by MatrixArithmetic.cpp alone, on x86-64.
//
// One vector holds the accumulators of 4 rows by 4 columns, the even or the odd
// ones: just as they lie in a register of 32 lanes, so nothing is rearranged. A
// row of A is one 128-bit lane of its register; its q-th word is spread over
// that lane by a shuffle, and meets the q-th words of four columns.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_DEVICE_SIM_MATRIXARITHMETICAVX512_H
#define QUERN_DEVICE_SIM_MATRIXARITHMETICAVX512_H

#include "runtime/device/sim/MatrixArithmetic.h"

#include <immintrin.h>
#include <utility>

// GCC's own header reads an undefined register on purpose.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#define QUERN_AVX512                                                           \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma")))
#define QUERN_AVX512_INLINE                                                    \
  __attribute__((                                                              \
      always_inline,                                                           \
      target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma"))) inline

namespace quern {
inline namespace v0 {
namespace sim {
namespace avx512 {

/// Words q of columns 0, 2, 4, 6 (or 1, 3, 5, 7) of two registers of B, in each
/// 128-bit lane.
QUERN_AVX512_INLINE __m512i columnIndex(unsigned q, bool odd) {
  __m512i lane = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 8, 16, 24));
  return _mm512_add_epi32(
      lane, _mm512_set1_epi32(static_cast<int>(q + (odd ? 4 : 0))));
}

template <unsigned q> QUERN_AVX512_INLINE __m512i spread(__m512i x) {
  return _mm512_shuffle_epi32(x, static_cast<_MM_PERM_ENUM>(q * 0x55));
}

//===----------------------------------------------------------------------===//
// Integers
//===----------------------------------------------------------------------===//

// vpdpbusd multiplies unsigned by signed bytes. Two signed operands: A is
// raised by 128, and 128 times the column's sum is taken off again. Two
// unsigned: B is lowered by 128, and 128 times the row's sum added. All modulo
// 2^32, where this is exact.

template <bool signedA, bool signedB, unsigned q>
QUERN_AVX512_INLINE void
integerStep(const __m512i (&a)[4], __m512i b0, __m512i b1, __m512i (&even)[4],
            __m512i (&odd)[4], __m512i &evenFix, __m512i &oddFix) {
  __m512i be = _mm512_permutex2var_epi32(b0, columnIndex(q, false), b1);
  __m512i bo = _mm512_permutex2var_epi32(b0, columnIndex(q, true), b1);
  if constexpr (signedA && signedB) {
    __m512i raise = _mm512_set1_epi8(static_cast<char>(0x80));
    evenFix = _mm512_dpbusd_epi32(evenFix, raise, be);
    oddFix = _mm512_dpbusd_epi32(oddFix, raise, bo);
  }
  for (unsigned group = 0; group < 4; ++group) {
    __m512i row = spread<q>(a[group]);
    if constexpr (signedA && !signedB) {
      even[group] = _mm512_dpbusd_epi32(even[group], be, row);
      odd[group] = _mm512_dpbusd_epi32(odd[group], bo, row);
    } else {
      even[group] = _mm512_dpbusd_epi32(even[group], row, be);
      odd[group] = _mm512_dpbusd_epi32(odd[group], row, bo);
    }
  }
}

template <bool signedA, bool signedB>
QUERN_AVX512 void multiplyBytes(const Fragments &f) {
  __m512i even[4], odd[4];
  __m512i evenFix = _mm512_setzero_si512(), oddFix = evenFix;
  for (unsigned group = 0; group < 4; ++group) {
    unsigned part = group / 2 * 2, at = group % 2 * 16;
    even[group] = _mm512_loadu_si512(f.c[part] + at);
    odd[group] = _mm512_loadu_si512(f.c[part + 1] + at);
  }
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
  for (unsigned half = 0; half < f.halves; ++half) {
    __m512i a[4];
    for (unsigned group = 0; group < 4; ++group) {
      a[group] = _mm512_loadu_si512(f.a[2 * half + group / 2] + group % 2 * 64);
      if constexpr (signedA && signedB)
        a[group] = _mm512_xor_si512(a[group], flip);
    }
    __m512i b0 = _mm512_loadu_si512(f.b[half]);
    __m512i b1 = _mm512_loadu_si512(f.b[half] + 64);
    if constexpr (!signedA && !signedB) {
      b0 = _mm512_xor_si512(b0, flip);
      b1 = _mm512_xor_si512(b1, flip);
      for (unsigned group = 0; group < 4; ++group) {
        // The row's sum times 128, in each of its four lanes.
        __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), a[group],
                                          _mm512_set1_epi8(1));
        sum = _mm512_add_epi32(
            sum, _mm512_shuffle_epi32(sum, static_cast<_MM_PERM_ENUM>(0xb1)));
        sum = _mm512_add_epi32(
            sum, _mm512_shuffle_epi32(sum, static_cast<_MM_PERM_ENUM>(0x4e)));
        sum = _mm512_slli_epi32(sum, 7);
        even[group] = _mm512_add_epi32(even[group], sum);
        odd[group] = _mm512_add_epi32(odd[group], sum);
      }
    }
    integerStep<signedA, signedB, 0>(a, b0, b1, even, odd, evenFix, oddFix);
    integerStep<signedA, signedB, 1>(a, b0, b1, even, odd, evenFix, oddFix);
    integerStep<signedA, signedB, 2>(a, b0, b1, even, odd, evenFix, oddFix);
    integerStep<signedA, signedB, 3>(a, b0, b1, even, odd, evenFix, oddFix);
  }
  for (unsigned group = 0; group < 4; ++group) {
    unsigned part = group / 2 * 2, at = group % 2 * 16;
    _mm512_storeu_si512(f.d[part] + at, _mm512_sub_epi32(even[group], evenFix));
    _mm512_storeu_si512(f.d[part + 1] + at,
                        _mm512_sub_epi32(odd[group], oddFix));
  }
}

//===----------------------------------------------------------------------===//
// Floats
//===----------------------------------------------------------------------===//

/// The j-th element of each word, as f32. `exact`: products are exact in f32,
/// so that a fused multiply-add gives the same bits as two operations.
struct F16 {
  static constexpr unsigned perWord = 2;
  static constexpr bool exact = true;
  QUERN_AVX512_INLINE static __m512 load(__m512i x, unsigned j) {
    if (j)
      x = _mm512_srli_epi32(x, 16);
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(x));
  }
};
struct BF16 {
  static constexpr unsigned perWord = 2;
  static constexpr bool exact = false;
  QUERN_AVX512_INLINE static __m512 load(__m512i x, unsigned j) {
    return _mm512_castsi512_ps(
        j ? _mm512_and_si512(x, _mm512_set1_epi32(static_cast<int>(0xffff0000)))
          : _mm512_slli_epi32(x, 16));
  }
};
struct TF32 {
  static constexpr unsigned perWord = 1;
  static constexpr bool exact = false;
  QUERN_AVX512_INLINE static __m512 load(__m512i x, unsigned) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(x, _mm512_set1_epi32(static_cast<int>(0xffffe000))));
  }
};
struct E5M2 {
  static constexpr unsigned perWord = 4;
  static constexpr bool exact = true;
  // The upper byte of an f16.
  QUERN_AVX512_INLINE static __m512 load(__m512i x, unsigned j) {
    x = j ? _mm512_srl_epi32(x, _mm_cvtsi32_si128(static_cast<int>(8 * j - 8)))
          : _mm512_slli_epi32(x, 8);
    x = _mm512_and_si512(x, _mm512_set1_epi32(0xff00));
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(x));
  }
};
struct E4M3 {
  static constexpr unsigned perWord = 4;
  static constexpr bool exact = true;
  // As an f16 whose exponent is 8 too small; 0x7f is the only NaN.
  QUERN_AVX512_INLINE static __m512 load(__m512i x, unsigned j) {
    x = _mm512_srl_epi32(x, _mm_cvtsi32_si128(static_cast<int>(8 * j)));
    __m512i magnitude = _mm512_and_si512(x, _mm512_set1_epi32(0x7f));
    __m512i sign = _mm512_and_si512(x, _mm512_set1_epi32(0x80));
    __m512i half = _mm512_or_si512(_mm512_slli_epi32(magnitude, 7),
                                   _mm512_slli_epi32(sign, 8));
    __m512 value = _mm512_mul_ps(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(half)),
                                 _mm512_set1_ps(256.0f));
    __mmask16 nan = _mm512_cmpeq_epi32_mask(magnitude, _mm512_set1_epi32(0x7f));
    return _mm512_mask_mov_ps(
        value, nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7fffffff)));
  }
};

template <bool exact>
QUERN_AVX512_INLINE __m512 multiplyAdd(__m512 a, __m512 b, __m512 c) {
  if constexpr (exact)
    return _mm512_fmadd_ps(a, b, c);
  else
    return _mm512_add_ps(c, _mm512_mul_ps(a, b));
}

template <typename TA, unsigned q>
QUERN_AVX512_INLINE void floatStep(const __m512 (&a)[4][TA::perWord],
                                   const __m512 (&b)[2][TA::perWord],
                                   __m512 (&even)[4], __m512 (&odd)[4]) {
  for (unsigned j = 0; j < TA::perWord; ++j) {
    __m512 be = _mm512_permutex2var_ps(b[0][j], columnIndex(q, false), b[1][j]);
    __m512 bo = _mm512_permutex2var_ps(b[0][j], columnIndex(q, true), b[1][j]);
    for (unsigned group = 0; group < 4; ++group) {
      __m512 row = _mm512_permute_ps(a[group][j], q * 0x55);
      even[group] = multiplyAdd<TA::exact>(row, be, even[group]);
      odd[group] = multiplyAdd<TA::exact>(row, bo, odd[group]);
    }
  }
}

template <typename TA, typename TB>
QUERN_AVX512 void multiplyFloats(const Fragments &f) {
  static_assert(TA::perWord == TB::perWord && TA::exact == TB::exact);
  __m512 even[4], odd[4];
  for (unsigned group = 0; group < 4; ++group) {
    unsigned part = group / 2 * 2, at = group % 2 * 16;
    even[group] = _mm512_castsi512_ps(_mm512_loadu_si512(f.c[part] + at));
    odd[group] = _mm512_castsi512_ps(_mm512_loadu_si512(f.c[part + 1] + at));
  }
  for (unsigned half = 0; half < f.halves; ++half) {
    __m512 a[4][TA::perWord], b[2][TA::perWord];
    for (unsigned group = 0; group < 4; ++group) {
      __m512i raw =
          _mm512_loadu_si512(f.a[2 * half + group / 2] + group % 2 * 64);
      for (unsigned j = 0; j < TA::perWord; ++j)
        a[group][j] = TA::load(raw, j);
    }
    for (unsigned group = 0; group < 2; ++group) {
      __m512i raw = _mm512_loadu_si512(f.b[half] + group * 64);
      for (unsigned j = 0; j < TA::perWord; ++j)
        b[group][j] = TB::load(raw, j);
    }
    floatStep<TA, 0>(a, b, even, odd);
    floatStep<TA, 1>(a, b, even, odd);
    floatStep<TA, 2>(a, b, even, odd);
    floatStep<TA, 3>(a, b, even, odd);
  }
  const __m512i nan = _mm512_set1_epi32(0x7fffffff);
  auto store = [&](uint32_t *to, __m512 value) __attribute__((target(
                   "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma"))) {
    __mmask16 unordered = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    _mm512_storeu_si512(
        to, _mm512_mask_mov_epi32(_mm512_castps_si512(value), unordered, nan));
  };
  for (unsigned group = 0; group < 4; ++group) {
    unsigned part = group / 2 * 2, at = group % 2 * 16;
    store(f.d[part] + at, even[group]);
    store(f.d[part + 1] + at, odd[group]);
  }
}

} // namespace avx512
} // namespace sim
} // namespace v0
} // namespace quern

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#endif // QUERN_DEVICE_SIM_MATRIXARITHMETICAVX512_H
