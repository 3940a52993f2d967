//===- wgmma.cu - Products of warpgroups ----------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A and B arrive as images of shared memory, 8 KiB each, with descriptors that
// lack the start address. D = A B + C, or A B where `scale` is 0. Thread t's
// accumulators are c[t * count + i].
//
//===----------------------------------------------------------------------===//

#include "device.cuh"

#define IMAGES                                                                 \
  __shared__ __align__(1024) unsigned tiles[4096];                             \
  int t = threadIdx.x;                                                         \
  for (int u = 0; u < 16; ++u) {                                               \
    tiles[u * 128 + t] = imageA[u * 128 + t];                                  \
    tiles[2048 + u * 128 + t] = imageB[u * 128 + t];                           \
  }                                                                            \
  unsigned base = shared(tiles);                                               \
  descA += base >> 4;                                                          \
  descB += (base + 8192) >> 4;                                                 \
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");                 \
  __syncthreads();
#define FENCE asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#define WAIT                                                                   \
  asm volatile("wgmma.commit_group.sync.aligned;\n\t"                          \
               "wgmma.wait_group.sync.aligned 0;" ::                           \
                   : "memory");
#define PARAMETERS(T)                                                          \
  const unsigned *imageA, const unsigned *imageB, unsigned long long descA,    \
      unsigned long long descB, const unsigned *regsA, const T *c, int scale,  \
      T *d
#define D8(K)                                                                  \
  "+" K(r[0]), "+" K(r[1]), "+" K(r[2]), "+" K(r[3]), "+" K(r[4]),             \
      "+" K(r[5]), "+" K(r[6]), "+" K(r[7])
#define BEGIN(T)                                                               \
  T r[8];                                                                      \
  for (int i = 0; i < 8; ++i)                                                  \
    r[i] = c[t * 8 + i];                                                       \
  FENCE
#define END WAIT for (int i = 0; i < 8; ++i) d[t * 8 + i] = r[i];

// n = 16: eight accumulators. `more` are the immediates after scale-d.
#define SHARED(name, T, K, form, more)                                         \
  extern "C" __global__ void __launch_bounds__(128) name(PARAMETERS(T)) {      \
    IMAGES BEGIN(T) asm volatile("{.reg .pred p; setp.ne.b32 p, %10, 0;\n\t"   \
                                 "wgmma.mma_async.sync.aligned." form          \
                                 " {%0,%1,%2,%3,%4,%5,%6,%7}, %8, %9, p" more  \
                                 ";}" : D8(K) : "l"(descA),                    \
                                 "l"(descB), "r"(scale) : "memory");           \
    END                                                                        \
  }
#define REGISTERS(name, T, K, form, more)                                      \
  extern "C" __global__ void __launch_bounds__(128) name(PARAMETERS(T)) {      \
    IMAGES unsigned a0 = regsA[t * 4], a1 = regsA[t * 4 + 1],                  \
                    a2 = regsA[t * 4 + 2], a3 = regsA[t * 4 + 3];              \
    /* The fence comes after the last write of a register of A. */             \
    asm volatile("" : "+r"(a0), "+r"(a1), "+r"(a2), "+r"(a3));                 \
    BEGIN(T)                                                                   \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %13, 0;\n\t"                   \
                 "wgmma.mma_async.sync.aligned." form                          \
                 " {%0,%1,%2,%3,%4,%5,%6,%7}, {%8,%9,%10,%11}, %12, p" more    \
                 ";}"                                                          \
                 : D8(K)                                                       \
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(descB), "r"(scale)  \
                 : "memory");                                                  \
    END                                                                        \
  }

SHARED(wgmma_s8_s8, unsigned, "r", "m64n16k32.s32.s8.s8", "")
SHARED(wgmma_u8_u8, unsigned, "r", "m64n16k32.s32.u8.u8", "")
SHARED(wgmma_u8_s8, unsigned, "r", "m64n16k32.s32.u8.s8", "")
REGISTERS(wgmma_regs_s8_s8, unsigned, "r", "m64n16k32.s32.s8.s8", "")
SHARED(wgmma_e4m3_e4m3, float, "f", "m64n16k32.f32.e4m3.e4m3", ", 1, 1")
SHARED(wgmma_e5m2_e4m3, float, "f", "m64n16k32.f32.e5m2.e4m3", ", 1, 1")
REGISTERS(wgmma_regs_e4m3_e4m3, float, "f", "m64n16k32.f32.e4m3.e4m3", ", 1, 1")
SHARED(wgmma_f16, float, "f", "m64n16k16.f32.f16.f16", ", 1, 1, 0, 0")
SHARED(wgmma_f16_negated, float, "f", "m64n16k16.f32.f16.f16", ", -1, 1, 0, 0")
SHARED(wgmma_f16_mn, float, "f", "m64n16k16.f32.f16.f16", ", 1, 1, 1, 1")
SHARED(wgmma_bf16, float, "f", "m64n16k16.f32.bf16.bf16", ", 1, 1, 0, 0")
SHARED(wgmma_bf16_mn, float, "f", "m64n16k16.f32.bf16.bf16", ", 1, 1, 1, 1")
REGISTERS(wgmma_regs_f16, float, "f", "m64n16k16.f32.f16.f16", ", 1, 1, 0")
REGISTERS(wgmma_regs_f16_mn, float, "f", "m64n16k16.f32.f16.f16", ", 1, 1, 1")
SHARED(wgmma_tf32, float, "f", "m64n16k8.f32.tf32.tf32", ", 1, 1")

// Registers given up and taken by warpgroups. The numbers are kept live across
// the change.
extern "C" __global__ void __launch_bounds__(384, 1)
    wgmma_setmaxnreg(const unsigned *in, unsigned *out) {
  int t = threadIdx.x;
  unsigned v = in[t];
  if (t < 128) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    out[t] = v * 3;
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    out[t] = v * 5;
  }
}
