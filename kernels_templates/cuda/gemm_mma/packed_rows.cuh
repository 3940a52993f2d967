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
// Most often that is (code - zero point) * scale with scales of the left
// operand's type: small integers, whose difference is exact, times what has the
// bits of that type, rounded once. Where the kernel says so (Config::halves),
// pairs of f16 or bf16 are computed with, to the same bits in half the
// instructions; `value` is then not asked. Factors are the scale and, if there
// are two, the zero point.
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

template <bool First, class A, class B> struct Chosen {
  using Type = A;
};
template <class A, class B> struct Chosen<false, A, B> {
  using Type = B;
};

template <class Codes> struct IsSigned {
  static constexpr bool value = false;
};
template <> struct IsSigned<i4x2> {
  static constexpr bool value = true;
};

/// Four codes in the low halves of bytes, as bytes.
QN_DEVICE u32 widened(u4x2, u32 low) { return low & 0x0f0f0f0fu; }
QN_DEVICE u32 widened(i4x2, u32 low) {
  // Eight more than the code, and bit 7, so that no difference borrows.
  return (((low & 0x0f0f0f0fu) ^ 0x88888888u) - 0x08080808u) ^ 0x80808080u;
}

/// Four codes in the low halves of bytes, as bytes that are no less than zero.
QN_DEVICE u32 liftedLow(u4x2, u32 low) { return low & 0x0f0f0f0fu; }
QN_DEVICE u32 liftedLow(i4x2, u32 low) {
  return (low & 0x0f0f0f0fu) ^ 0x08080808u;
}
/// Byte `i` of such as the code it is made of: 2^23 and a byte are an f32.
template <class Codes> QN_DEVICE float codeOf(u32 lifted, int i) {
  constexpr float zero = IsSigned<Codes>::value ? 8388616.0f : 8388608.0f;
  return floatOf(__byte_perm(lifted, 0x4b000000u, 0x7440 + i)) - zero;
}

/// Four bytes, none above 15, as two pairs of halves: a large power of two and
/// the byte.
template <class Half> struct Lifted;
template <> struct Lifted<f16> {
  static constexpr u32 high = 0x64646464u;
  static constexpr float power = 1024.0f;
};
template <> struct Lifted<bf16> {
  static constexpr u32 high = 0x43434343u;
  static constexpr float power = 128.0f;
};

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

  static constexpr bool halves = Config::halves;
  /// As halves: pairs of the scale, and of what takes powers and zero points
  /// off.
  using Factor = typename Chosen<halves, u32, float>::Type;
  static constexpr int factorCount = halves ? 2 : Config::factors;
  struct Factors {
    Factor of[isFloat ? G::rhsCount : 1][isFloat ? fragsN : 1][factorCount];
  };

  template <class Decoding>
  static __device__ __forceinline__ void
  fetchAt(Factors &factors, const Decoding &decoding, s32 n0, s32 N, s32 k,
          s32 K, int lane) {
#pragma unroll
    for (int r = 0; r < G::rhsCount; ++r)
#pragma unroll
      for (int j = 0; j < fragsN; ++j) {
        const s32 n = smaller(n0 + j * 8 + lane / 4, N - 1);
        float of[Config::factors];
        decoding.factors(r, n, smaller(k, K - 1), of);
        if constexpr (halves) {
          float off = Lifted<Lhs>::power + (IsSigned<Rhs>::value ? 8.0f : 0.0f);
          if constexpr (Config::factors == 2)
            off = off + of[1];
          factors.of[r][j][0] = roundedPair(Lhs(), of[0], of[0]);
          factors.of[r][j][1] = roundedPair(Lhs(), -off, -off);
        } else {
#pragma unroll
          for (int i = 0; i < Config::factors; ++i)
            factors.of[r][j][i] = of[i];
        }
      }
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

  // Rows are permuted alike every eight, and fragments begin at multiples of
  // that: what differs between them is added to one address.
  static __device__ __forceinline__ void
  loadLeft(u32 tile, int row, int step, int lane, u32 (&to)[parts][4]) {
    constexpr int bytes = 8 * width;
    const u32 first =
        tile + swizzle<G::rowBytes, G::leftSlot>(
                   lane / 4, step * G::leftSlot + lane % 4 * bytes);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const u32 from = first + (row + h * 8) * G::rowBytes;
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
    const u32 from = tile + column * G::rhsRowBytes +
                     swizzle<G::rhsRowBytes>(lane % (8 * together), step * 16);
    if constexpr (together == 4)
      loadMatrix4(to, from);
    else
      loadMatrix2(to, from);
  }

  /// The operands that a word of codes stands for.
  template <class Decoding>
  static __device__ __forceinline__ void
  decode(u32 word, int r, const Factor (&factor)[factorCount],
         const Decoding &decoding, u32 (&to)[parts][2]) {
    if constexpr (halves) {
      const u32 even = liftedLow(Rhs(), word), odd = liftedLow(Rhs(), word >> 4);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const u32 pair = __byte_perm(even, odd, i < 2 ? 0x5140 : 0x7362);
        const u32 lifted = __byte_perm(pair, Lifted<Lhs>::high,
                                       i % 2 == 0 ? 0x4140 : 0x4342);
        to[i / 2][i % 2] = multipliedPairs(
            Lhs(), addedPairs(Lhs(), lifted, factor[1]), factor[0]);
      }
    } else if constexpr (isFloat) {
      const u32 even = liftedLow(Rhs(), word), odd = liftedLow(Rhs(), word >> 4);
#pragma unroll
      for (int i = 0; i < 4; ++i)
        to[i / 2][i % 2] = roundedPair(
            Lhs(), decoding.value(r, codeOf<Rhs>(even, i), factor),
            decoding.value(r, codeOf<Rhs>(odd, i), factor));
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
    // The right operand first, decoded: a fragment of the left one needs its
    // registers no longer than it is multiplied.
    u32 b[G::rhsCount][fragsN][parts][2];
#pragma unroll
    for (int r = 0; r < G::rhsCount; ++r)
#pragma unroll
      for (int j = 0; j < fragsN; j += together) {
        u32 words[together];
        loadRight(rhsTile + r * G::rhsBytes, warpColumn + j * 8, step, lane,
                  words);
#pragma unroll
        for (int i = 0; i < together; ++i) {
          decode(words[i], r, factors.of[isFloat ? r : 0][isFloat ? j + i : 0],
                 decoding, b[r][j + i]);
          if (isFloat && ragged) {
#pragma unroll
            for (int w = 0; w < 4; ++w)
              b[r][j + i][(w / 2) % parts][w % 2] &= within[w];
          }
        }
      }
#pragma unroll
    for (int l = 0; l < G::lhsCount; ++l)
#pragma unroll
      for (int m = 0; m < fragsM; ++m) {
        u32 a[parts][4];
        loadLeft(lhsTile + l * G::lhsBytes, warpRow + m * 16, step, lane, a);
#pragma unroll
        for (int t = 0; t < T; ++t) {
          if (G::lhsCount != 1 && t != l)
            continue;
#pragma unroll
          for (int p = 0; p < parts; ++p)
#pragma unroll
            for (int j = 0; j < fragsN; ++j) {
              const u32(&right)[2] = b[Config::sharedRhs ? 0 : t][j][p];
              if constexpr (isFloat)
                mma(Lhs(), Lhs(), part[t][m][j], a[p], right[0], right[1]);
              else
                mma(Lhs(), multipliedAs(Rhs()), part[t][m][j], a[p], right[0],
                    right[1]);
            }
        }
      }
  }
};

} // namespace quern

#endif // QUERN_CUDA_GEMM_MMA_PACKED_ROWS_CUH
