//===- ptx.cuh - Machine instructions by name ------------------*- CUDA -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Thin wrappers over the PTX that CUDA C++ has no word for: asynchronous
// copies, matrix loads and matrix products of sm_80 and later.
//
// Copies: `copyAsync<Bytes>(dst, src, valid)` starts a copy of `Bytes` bytes
// (16, 8 or 4, both addresses so aligned) of which the first `valid` are read
// and the rest written as zero; with valid = 0 nothing is read. Copies end
// with `copyWait<Pending>`, which leaves at most that many commit groups
// under way, and are then visible to the thread that started them.
//
// Fragments (lane = 4 g + t): `loadMatrix4` gives each lane, from four 8x8
// matrices of 16-bit elements whose rows start at the addresses of lanes
// 0-7, 8-15, 16-23 and 24-31, elements (g, 2t) and (g, 2t+1) of each. The
// products accumulate D(16x8) += A(16x32 bytes, row) B(32 bytes x 8, column);
// of D a lane holds (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1).
//
// Before sm_89 no instruction multiplies 8-bit floats. There they are decoded
// to f16, exactly, in the registers `loadMatrix4` filled: a lane's word holds
// four neighbours along K, of which an f16 instruction takes two at 2t and two
// at 2t + 8. Which k an element stands at does not matter as long as both
// operands agree, so the word's halves are simply those two pairs, and one step
// of 32 becomes two of 16.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CUDA_COMMON_PTX_CUH
#define QUERN_CUDA_COMMON_PTX_CUH

#include "common/types.cuh"

namespace quern {

QN_DEVICE u32 sharedAddress(const void *p) {
  return (u32)__cvta_generic_to_shared(p);
}

template <int Bytes>
QN_DEVICE void copyAsync(u32 dst, const void *src, u32 valid) {
  static_assert(Bytes == 16 || Bytes == 8 || Bytes == 4, "cp.async sizes");
  const u64 from = __cvta_generic_to_global(src);
  if constexpr (Bytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst),
                 "l"(from), "r"(valid)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(dst),
                 "l"(from), "n"(Bytes), "r"(valid)
                 : "memory");
}
QN_DEVICE void copyCommit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int Pending> QN_DEVICE void copyWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

/// Stores a word to shared memory by its 32-bit address.
QN_DEVICE void storeShared(u32 dst, u32 word) {
  asm volatile("st.shared.u32 [%0], %1;" ::"r"(dst), "r"(word) : "memory");
}

QN_DEVICE void storeShared(u32 dst, const u32 (&words)[1]) {
  storeShared(dst, words[0]);
}
QN_DEVICE void storeShared(u32 dst, const u32 (&words)[2]) {
  asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(dst), "r"(words[0]),
               "r"(words[1])
               : "memory");
}
QN_DEVICE void loadShared2(u32 (&words)[2], u32 src) {
  asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];"
               : "=r"(words[0]), "=r"(words[1])
               : "r"(src)
               : "memory");
}
QN_DEVICE void loadShared4(u32 (&words)[4], u32 src) {
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]),
                 "=r"(words[3])
               : "r"(src)
               : "memory");
}

QN_DEVICE void loadMatrix4(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/// The first two of them, whose rows start at the addresses of lanes 0-15.
QN_DEVICE void loadMatrix2(u32 (&r)[2], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(address)
               : "memory");
}

/// Two numbers rounded, the first in the low half.
QN_DEVICE u32 roundedPair(f16, float low, float high) {
  u32 pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
QN_DEVICE u32 roundedPair(bf16, float low, float high) {
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

/// Sums and products of pairs. Before sm_90 those of bf16 are fused with a
/// factor of 1 and an addend of -0, which change nothing.
QN_DEVICE u32 addedPairs(f16, u32 x, u32 y) {
  asm("add.rn.f16x2 %0, %0, %1;" : "+r"(x) : "r"(y));
  return x;
}
QN_DEVICE u32 addedPairs(bf16, u32 x, u32 y) {
  asm("fma.rn.bf16x2 %0, %0, %1, %2;" : "+r"(x) : "r"(0x3f803f80u), "r"(y));
  return x;
}
QN_DEVICE u32 multipliedPairs(f16, u32 x, u32 y) {
  asm("mul.rn.f16x2 %0, %0, %1;" : "+r"(x) : "r"(y));
  return x;
}
QN_DEVICE u32 multipliedPairs(bf16, u32 x, u32 y) {
  asm("fma.rn.bf16x2 %0, %0, %1, %2;" : "+r"(x) : "r"(y), "r"(0x80008000u));
  return x;
}

// One wrapper per pair of element types; C++ cannot paste types into asm text.
#define QN_MMA_INTEGER(A, B, TEXT)                                             \
  QN_DEVICE void mma(A, B, s32(&d)[4], const u32(&a)[4], u32 b0, u32 b1) {     \
    asm volatile(TEXT " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" \
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])              \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0),        \
                   "r"(b1));                                                   \
  }
#define QN_MMA_FLOAT(A, B, TEXT)                                               \
  QN_DEVICE void mma(A, B, float (&d)[4], const u32(&a)[4], u32 b0, u32 b1) {  \
    asm volatile(TEXT " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])              \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0),        \
                   "r"(b1));                                                   \
  }
QN_MMA_INTEGER(s8, s8, "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32")
QN_MMA_INTEGER(s8, u8, "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32")
QN_MMA_INTEGER(u8, s8, "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32")
QN_MMA_INTEGER(u8, u8, "mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32")
QN_MMA_FLOAT(f16, f16, "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32")
QN_MMA_FLOAT(bf16, bf16, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32")

#if QN_NATIVE_F8
QN_MMA_FLOAT(e4m3, e4m3, "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32")
QN_MMA_FLOAT(e4m3, e5m2, "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e5m2.f32")
QN_MMA_FLOAT(e5m2, e4m3, "mma.sync.aligned.m16n8k32.row.col.f32.e5m2.e4m3.f32")
QN_MMA_FLOAT(e5m2, e5m2, "mma.sync.aligned.m16n8k32.row.col.f32.e5m2.e5m2.f32")
#else
/// Four 8-bit floats as two pairs of f16.
struct F16Pairs {
  u32 first, second;
};
QN_DEVICE F16Pairs decodeF16(e5m2, u32 word) {
  return {__byte_perm(word, 0, 0x1404), __byte_perm(word, 0, 0x3424)};
}
QN_DEVICE u32 decodePairE4M3(u32 high) {
  // Each code is the high byte of its half. Moved right by one it is an f16
  // 2^8 too small, subnormals included; NaN is all ones.
  const u32 nan = ((high >> 8 & 0x007f007fu) + 0x00010001u) & 0x00800080u;
  const u32 scaled = (high & 0x80008000u) | (high & 0x7f007f00u) >> 1;
  u32 pair;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(pair) : "r"(scaled), "r"(0x5c005c00u));
  return pair | ((nan << 8) - nan);
}
QN_DEVICE F16Pairs decodeF16(e4m3, u32 word) {
  const F16Pairs high = decodeF16(e5m2(), word);
  return {decodePairE4M3(high.first), decodePairE4M3(high.second)};
}
#endif
#undef QN_MMA_INTEGER
#undef QN_MMA_FLOAT

/// What the machine multiplies in place of an element, and how many matrix
/// instructions a step of 32 bytes takes. `asLeft` and `asRight` give their
/// operands from four words of `loadMatrix4`: of the left operand one fragment,
/// of the right one two neighbouring ones.
template <class Element> struct Multiplied {
  using Type = Element;
  static constexpr int parts = 1;
  static __device__ void asLeft(const u32 (&word)[4], u32 (&to)[1][4]) {
    asRight(word, to);
  }
  static __device__ void asRight(const u32 (&word)[4], u32 (&to)[1][4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      to[0][i] = word[i];
  }
};
#if !QN_NATIVE_F8
template <class Element> struct MultipliedAsF16 {
  using Type = f16;
  static constexpr int parts = 2;
  static __device__ void asLeft(const u32 (&word)[4], u32 (&to)[2][4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const F16Pairs pairs = decodeF16(Element(), word[i]);
      to[i / 2][i % 2] = pairs.first;
      to[i / 2][i % 2 + 2] = pairs.second;
    }
  }
  static __device__ void asRight(const u32 (&word)[4], u32 (&to)[2][4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const F16Pairs pairs = decodeF16(Element(), word[i]);
      to[i % 2][i / 2 * 2] = pairs.first;
      to[i % 2][i / 2 * 2 + 1] = pairs.second;
    }
  }
};
template <> struct Multiplied<e4m3> : MultipliedAsF16<e4m3> {};
template <> struct Multiplied<e5m2> : MultipliedAsF16<e5m2> {};
#endif

} // namespace quern

#endif // QUERN_CUDA_COMMON_PTX_CUH
