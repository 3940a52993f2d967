//===- mma_fp8.cu - mma.sync on fp8, register images in and out -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// As mma.cu, for the types that came with sm_89.
//
//===----------------------------------------------------------------------===//

#define MMA(name, types)                                                       \
  extern "C" __global__ void name(const unsigned *a, const unsigned *b,        \
                                  const float *c, float *d) {                  \
    int l = threadIdx.x;                                                       \
    a += l * 4, b += l * 2, c += l * 4, d += l * 4;                            \
    float d0, d1, d2, d3;                                                      \
    asm volatile("mma.sync.aligned.m16n8k32.row.col." types                    \
                 " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "                    \
                 "{%10,%11,%12,%13};"                                          \
                 : "=f"(d0), "=f"(d1), "=f"(d2), "=f"(d3)                      \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]),      \
                   "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));     \
    d[0] = d0, d[1] = d1, d[2] = d2, d[3] = d3;                                \
  }
MMA(mma_k32_e4m3_e4m3, "f32.e4m3.e4m3.f32")
MMA(mma_k32_e4m3_e5m2, "f32.e4m3.e5m2.f32")
MMA(mma_k32_e5m2_e4m3, "f32.e5m2.e4m3.f32")
MMA(mma_k32_e5m2_e5m2, "f32.e5m2.e5m2.f32")
