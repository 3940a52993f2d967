//===- atomics.cu - atom and red, on global and shared memory -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Every thread applies each operation to the slot slots[i] (0 to 7) with the
// value values[i]. 32-bit operation k has its 8 slots at words + 8k, 64-bit
// operation k at longs + 8k. What operations returned goes to `old`.
//
//===----------------------------------------------------------------------===//

#include "device.cuh"

#define W(k, text)                                                             \
  asm volatile(text                                                            \
               : "=r"(r)                                                       \
               : ADDRESS(words + 8 * (k) + slot), "r"(v)                       \
               : "memory");                                                    \
  old[(k) * n + i] = r;
#define R(k, text)                                                             \
  asm volatile(text ::ADDRESS(words + 8 * (k) + slot), "r"(v) : "memory");
#define L(k, text)                                                             \
  asm volatile(text                                                            \
               : "=l"(x)                                                       \
               : ADDRESS(longs + 8 * (k) + slot), "l"(y)                       \
               : "memory");

#define OPERATIONS(space)                                                      \
  W(0, "atom" space ".add.u32 %0, [%1], %2;")                                  \
  W(1, "atom" space ".min.s32 %0, [%1], %2;")                                  \
  W(2, "atom" space ".max.u32 %0, [%1], %2;")                                  \
  W(3, "atom" space ".and.b32 %0, [%1], %2;")                                  \
  W(4, "atom" space ".or.b32 %0, [%1], %2;")                                   \
  W(5, "atom" space ".xor.b32 %0, [%1], %2;")                                  \
  W(6, "atom" space ".inc.u32 %0, [%1], 10;")                                  \
  W(7, "atom" space ".dec.u32 %0, [%1], 10;")                                  \
  W(8, "atom" space ".exch.b32 %0, [%1], %2;")                                 \
  W(9, "{.reg .f32 f; cvt.rn.f32.u32 f, %2; and.b32 %0, %2, 255; "             \
       "cvt.rn.f32.u32 f, %0; atom" space ".add.f32 f, [%1], f; "              \
       "mov.b32 %0, f;}")                                                      \
  W(10, "{and.b32 %0, %2, 0x00030003; mul.lo.u32 %0, %0, 0x0400; "             \
        "atom" space ".add.noftz.f16x2 %0, [%1], %0;}")                        \
  R(11, "red" space ".add.s32 [%0], %1;")                                      \
  R(12, "red" space ".max.s32 [%0], %1;")                                      \
  R(13, "red" space ".min.u32 [%0], %1;")                                      \
  R(14, "red" space ".or.b32 [%0], %1;")                                       \
  R(15, "red" space ".inc.u32 [%0], 12;")                                      \
  /* The sum again, by compare and swap. */                                    \
  asm volatile("{.reg .pred p; .reg .b32 want, seen, sum;\n\t"                 \
               "ld" space ".u32 seen, [%0];\n\t"                               \
               "AGAIN%=: mov.u32 want, seen;\n\t"                              \
               "add.u32 sum, want, %1;\n\t"                                    \
               "atom" space ".cas.b32 seen, [%0], want, sum;\n\t"              \
               "setp.ne.u32 p, seen, want;\n\t"                                \
               "@p bra AGAIN%=;}" ::ADDRESS(words + 8 * 16 + slot),            \
               "r"(v)                                                          \
               : "memory");                                                    \
  L(0, "atom" space ".add.u64 %0, [%1], %2;")                                  \
  L(1, "atom" space ".min.u64 %0, [%1], %2;")                                  \
  L(2, "atom" space ".max.s64 %0, [%1], %2;")                                  \
  L(3, "atom" space ".xor.b64 %0, [%1], %2;")                                  \
  L(4, "{.reg .f64 f; and.b64 %0, %2, 255; cvt.rn.f64.u64 f, %0; "             \
       "atom" space ".add.f64 f, [%1], f;}")

#define SETUP                                                                  \
  int i = blockIdx.x * blockDim.x + threadIdx.x;                               \
  int n = gridDim.x * blockDim.x;                                              \
  unsigned slot = slots[i], v = values[i], r;                                  \
  unsigned long long y = (unsigned long long)v << 20 | v, x;

extern "C" __global__ void
atomics_global(const unsigned *slots, const unsigned *values, unsigned *words,
               unsigned long long *longs, unsigned *old) {
  SETUP
#define ADDRESS(p) "l"(__cvta_generic_to_global(p))
  // A plain read would race with the other threads' operations.
  OPERATIONS(".relaxed.gpu.global")
#undef ADDRESS
}

// Each block has its own slots, given by `words` and `longs` and returned
// there.
extern "C" __global__ void atomics_shared(const unsigned *slots,
                                          const unsigned *values,
                                          unsigned *outWords,
                                          unsigned long long *outLongs,
                                          unsigned *old) {
  __shared__ unsigned words[17 * 8];
  __shared__ unsigned long long longs[5 * 8];
  SETUP
  int t = threadIdx.x;
  if (t < 17 * 8)
    words[t] = outWords[t];
  if (t < 5 * 8)
    longs[t] = outLongs[t];
  __syncthreads();
#define ADDRESS(p) "r"(shared(p))
  OPERATIONS(".relaxed.cta.shared")
#undef ADDRESS
  __syncthreads();
  if (t < 17 * 8)
    outWords[t] = words[t];
  if (t < 5 * 8)
    outLongs[t] = longs[t];
}
