//===- packed_rows.cuh - Right operands that are decoded on load -*- CUDA -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Codes of four bits travel as they are, two to a byte, to shared memory, and
// become what the matrix instructions take in registers: bytes where the left
// operand is of bytes, f16 or bf16 where it is.
//
// Which k an element stands at does not matter as long as both operands agree
// (ptx.cuh). `ldmatrix` gives lane 4 g + t a word of row g: eight codes, k from
// 8 t to 8 t + 7 of the 32 that a step takes. So the left operand is read
// otherwise than its own width asks for: lane 4 g + t loads elements 8 t to
// 8 t + 7 of rows g and g + 8, 8 or 16 bytes each, at once. That takes as much
// of the banks' time as `ldmatrix`, if the slots of 32 or 64 bytes that four
// neighbouring lanes read are permuted from row to row (`swizzle`), and nothing
// is moved between registers.
//
//     bytes       one instruction of 32: the first four of a lane's eight
//                 elements stand at its first k, the others at its second
//     f16, bf16   two instructions of 16: of elements 0 to 3, and of 4 to 7
//
// Codes become bytes four at a time: those of even k are the low halves of a
// word's bytes, those of odd k the high ones; a permutation puts them in order.
//
// Codes become f16 or bf16 by what the layer says they mean, which is computed
// in f32 and rounded once:
//
//     decoding.factors(r, n, k, factor)   fills the Config::factors numbers
//                                         (scales, zero points) of row n of
//                                         right operand r at k
//     decoding.value(r, code, factor)     the value of a code, itself an f32
//
// Factors are the same for Config::factorsEvery elements of K and stay in
// registers for as long. They are asked for rows below N and elements below K
// only. Elements beyond K are zero whatever their factors are: zero of the left
// operand times infinity would be none.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CUDA_GEMM_MMA_PACKED_ROWS_CUH
#define QUERN_CUDA_GEMM_MMA_PACKED_ROWS_CUH

#include "gemm_mma/gemm_mma.cuh"

namespace quern {

/// What codes that become f16 or bf16 mean.
template <class FactorsOf, class ValueOf> struct Decoding {
  FactorsOf factors;
  ValueOf value;
};
template <class FactorsOf, class ValueOf>
Decoding(FactorsOf, ValueOf) -> Decoding<FactorsOf, ValueOf>;

/// Four codes in the low halves of bytes, as bytes.
QN_DEVICE u32 widened(u4x2, u32 low) { return low & 0x0f0f0f0fu; }
QN_DEVICE u32 widened(i4x2, u32 low) {
  // Eight more than the code, and bit 7, so that no difference borrows.
  return (((low & 0x0f0f0f0fu) ^ 0x88888888u) - 0x08080808u) ^ 0x80808080u;
}

/// Code `e` of a word. 2^23 and a small number are a number of f32.
QN_DEVICE float codeOf(u4x2, u32 word, int e) {
  return floatOf((word >> (4 * e) & 0xfu) | 0x4b000000u) - 8388608.0f;
}
QN_DEVICE float codeOf(i4x2, u32 word, int e) {
  return floatOf((word >> (4 * e) & 0xfu) ^ 0x4b000008u) - 8388616.0f;
}

/// What bytes multiply the codes as.
QN_DEVICE s8 multipliedAs(i4x2) { return {}; }
QN_DEVICE u8 multipliedAs(u4x2) { return {}; }

template <class Config> struct PackedRows {
  using G = Gemm<Config>;
  using Lhs = typename Config::Lhs;
  using Rhs = typename Config::Rhs;
  static constexpr int width = sizeof(Lhs);
  static_assert(width == 1 || width == 2, "operands on the left");
  static constexpr bool isFloat = width == 2;
  static constexpr int parts = width; ///< Matrix instructions per step.
  static constexpr int T = Config::terms, fragsM = G::warpM / 16,
                       fragsN = G::warpN / 8;
  /// Right fragments that one `ldmatrix` fills.
  static constexpr int together = fragsN % 4 == 0 ? 4 : 2;
  static constexpr bool unrolls = !isFloat;
  static constexpr int every = Config::factorsEvery;
  static_assert(every % G::stepK == 0, "a step's codes share their factors");

  struct Factors {
    float of[isFloat ? G::rhsCount : 1][isFloat ? fragsN : 1][Config::factors];
  };

  template <class Decoding>
  static __device__ __forceinline__ void
  fetchAt(Factors &factors, const Decoding &decoding, s32 n0, s32 N, s32 k,
          s32 K, int lane) {
#pragma unroll
    for (int r = 0; r < G::rhsCount; ++r)
#pragma unroll
      for (int j = 0; j < fragsN; ++j)
        decoding.factors(r, smaller(n0 + j * 8 + lane / 4, N - 1),
                         smaller(k, K - 1), factors.of[r][j]);
  }

  /// Fetches the factors of the tile's first step, if they are others than
  /// those of the step before.
  template <class Decoding>
  static __device__ __forceinline__ void
  fetch(Factors &factors, const Decoding &decoding, s32 n0, s32 N, s32 k, s32 K,
        int lane) {
    if constexpr (isFloat) {
      if (k == 0 || (every != 0 && k % every == 0))
        fetchAt(factors, decoding, n0, N, k, K, lane);
    }
  }

  static __device__ __forceinline__ void
  loadLeft(u32 tile, int row, int step, int lane, u32 (&to)[parts][4]) {
    constexpr int bytes = 8 * width;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const u32 from =
          tile + swizzle<G::rowBytes, G::leftSlot>(
                     row + h * 8 + lane / 4,
                     step * G::leftSlot + lane % 4 * bytes);
      u32 words[bytes / 4];
      if constexpr (isFloat)
        loadShared4(words, from);
      else
        loadShared2(words, from);
#pragma unroll
      for (int i = 0; i < bytes / 4; ++i)
        to[i / 2][i % 2 * 2 + h] = words[i];
    }
  }

  static __device__ __forceinline__ void
  loadRight(u32 tile, int column, int step, int lane, u32 (&to)[together]) {
    const u32 from = tile + swizzle<G::rhsRowBytes>(
                                column + lane % (8 * together), step * 16);
    if constexpr (together == 4)
      loadMatrix4(to, from);
    else
      loadMatrix2(to, from);
  }

  /// The operands that a word of codes stands for.
  template <class Decoding>
  static __device__ __forceinline__ void
  decode(u32 word, int r, const float (&factor)[Config::factors],
         const Decoding &decoding, u32 (&to)[parts][2]) {
    if constexpr (isFloat) {
#pragma unroll
      for (int e = 0; e < 8; e += 2)
        to[e / 4][e / 2 % 2] = roundedPair(
            Lhs(), decoding.value(r, codeOf(Rhs(), word, e), factor),
            decoding.value(r, codeOf(Rhs(), word, e + 1), factor));
    } else {
      const u32 even = widened(Rhs(), word), odd = widened(Rhs(), word >> 4);
      to[0][0] = __byte_perm(even, odd, 0x5140);
      to[0][1] = __byte_perm(even, odd, 0x7362);
    }
  }

  /// Step `step` of the tile that begins at k0.
  template <class Decoding>
  static __device__ __forceinline__ void
  multiply(typename G::Part (&part)[T][fragsM][fragsN][4], u32 lhsTile,
           u32 rhsTile, int step, int warpRow, int warpColumn, int lane,
           Factors &factors, const Decoding &decoding, s32 n0, s32 N, s32 k0,
           s32 K) {
    const s32 k = k0 + step * G::stepK;
    u32 within[4] = {};
    bool ragged = false;
    if constexpr (isFloat) {
      if (K % Config::tileK != 0 && k >= K)
        return;
      if (every != 0 && every % Config::tileK != 0 && step != 0 &&
          k % every == 0)
        fetchAt(factors, decoding, n0 + warpColumn, N, k, K, lane);
      ragged = K % G::stepK != 0 && k + G::stepK > K;
      if (ragged) {
#pragma unroll
        for (int e = 0; e < 8; ++e)
          within[e / 2] |= k + lane % 4 * 8 + e < K ? 0xffffu << e % 2 * 16 : 0;
      }
    }
    u32 a[G::lhsCount][fragsM][parts][4];
#pragma unroll
    for (int t = 0; t < G::lhsCount; ++t)
#pragma unroll
      for (int i = 0; i < fragsM; ++i)
        loadLeft(lhsTile + t * G::lhsBytes, warpRow + i * 16, step, lane,
                 a[t][i]);
#pragma unroll
    for (int r = 0; r < G::rhsCount; ++r)
#pragma unroll
      for (int j0 = 0; j0 < fragsN; j0 += together) {
        u32 words[together];
        loadRight(rhsTile + r * G::rhsBytes, warpColumn + j0 * 8, step, lane,
                  words);
#pragma unroll
        for (int i = 0; i < together; ++i) {
          const int j = j0 + i;
          u32 b[parts][2];
          decode(words[i], r, factors.of[isFloat ? r : 0][isFloat ? j : 0],
                 decoding, b);
          if (isFloat && ragged) {
#pragma unroll
            for (int w = 0; w < 4; ++w)
              b[(w / 2) % parts][w % 2] &= within[w];
          }
#pragma unroll
          for (int t = 0; t < T; ++t) {
            if (G::rhsCount != 1 && t != r)
              continue;
#pragma unroll
            for (int p = 0; p < parts; ++p)
#pragma unroll
              for (int m = 0; m < fragsM; ++m) {
                const u32(&left)[4] = a[Config::sharedLhs ? 0 : t][m][p];
                if constexpr (isFloat)
                  mma(Lhs(), Lhs(), part[t][m][j], left, b[p][0], b[p][1]);
                else
                  mma(Lhs(), multipliedAs(Rhs()), part[t][m][j], left, b[p][0],
                      b[p][1]);
              }
          }
        }
      }
  }
};

} // namespace quern

#endif // QUERN_CUDA_GEMM_MMA_PACKED_ROWS_CUH
