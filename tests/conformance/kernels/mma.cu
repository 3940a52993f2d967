//===- mma.cu - mma.sync, register images in and out ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Lane l's registers of A are a[l * NA + r], and so on: which element sits
// where is the host's affair. NA_NB_ND in a macro's name counts registers; R
// and F are the kind of the accumulators.
//
//===----------------------------------------------------------------------===//

#define KERNEL(name, T)                                                        \
  extern "C" __global__ void name(const unsigned *a, const unsigned *b,        \
                                  const T *c, T *d)
#define MMA_4_2_4(name, T, K, text)                                            \
  KERNEL(name, T) {                                                            \
    int l = threadIdx.x;                                                       \
    a += l * 4, b += l * 2, c += l * 4, d += l * 4;                            \
    T d0, d1, d2, d3;                                                          \
    asm volatile("mma.sync.aligned." text                                      \
                 " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "                    \
                 "{%10,%11,%12,%13};"                                          \
                 : "=" K(d0), "=" K(d1), "=" K(d2), "=" K(d3)                  \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]),      \
                   "r"(b[1]), K(c[0]), K(c[1]), K(c[2]), K(c[3]));             \
    d[0] = d0, d[1] = d1, d[2] = d2, d[3] = d3;                                \
  }
#define MMA_2_1_4(name, T, K, text)                                            \
  KERNEL(name, T) {                                                            \
    int l = threadIdx.x;                                                       \
    a += l * 2, b += l, c += l * 4, d += l * 4;                                \
    T d0, d1, d2, d3;                                                          \
    asm volatile("mma.sync.aligned." text                                      \
                 " {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%9,%10};"              \
                 : "=" K(d0), "=" K(d1), "=" K(d2), "=" K(d3)                  \
                 : "r"(a[0]), "r"(a[1]), "r"(b[0]), K(c[0]), K(c[1]), K(c[2]), \
                   K(c[3]));                                                   \
    d[0] = d0, d[1] = d1, d[2] = d2, d[3] = d3;                                \
  }
#define MMA_1_1_2(name, T, K, text)                                            \
  KERNEL(name, T) {                                                            \
    int l = threadIdx.x;                                                       \
    a += l, b += l, c += l * 2, d += l * 2;                                    \
    T d0, d1;                                                                  \
    asm volatile("mma.sync.aligned." text " {%0,%1}, {%2}, {%3}, {%4,%5};"     \
                 : "=" K(d0), "=" K(d1)                                        \
                 : "r"(a[0]), "r"(b[0]), K(c[0]), K(c[1]));                    \
    d[0] = d0, d[1] = d1;                                                      \
  }
#define MMA_4_2_2(name, T, K, text)                                            \
  KERNEL(name, T) {                                                            \
    int l = threadIdx.x;                                                       \
    a += l * 4, b += l * 2, c += l * 2, d += l * 2;                            \
    T d0, d1;                                                                  \
    asm volatile("mma.sync.aligned." text                                      \
                 " {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%8,%9};"                  \
                 : "=" K(d0), "=" K(d1)                                        \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]),      \
                   "r"(b[1]), K(c[0]), K(c[1]));                               \
    d[0] = d0, d[1] = d1;                                                      \
  }
#define MMA_2_1_2(name, T, K, text)                                            \
  KERNEL(name, T) {                                                            \
    int l = threadIdx.x;                                                       \
    a += l * 2, b += l, c += l * 2, d += l * 2;                                \
    T d0, d1;                                                                  \
    asm volatile("mma.sync.aligned." text " {%0,%1}, {%2,%3}, {%4}, {%5,%6};"  \
                 : "=" K(d0), "=" K(d1)                                        \
                 : "r"(a[0]), "r"(a[1]), "r"(b[0]), K(c[0]), K(c[1]));         \
    d[0] = d0, d[1] = d1;                                                      \
  }

#define INT unsigned, "r"
#define PACKED unsigned, "r"
#define FLOAT float, "f"
#define EXPAND(m, ...) m(__VA_ARGS__)

EXPAND(MMA_4_2_4, mma_k32_s8_s8, INT, "m16n8k32.row.col.s32.s8.s8.s32")
EXPAND(MMA_4_2_4, mma_k32_u8_s8, INT, "m16n8k32.row.col.s32.u8.s8.s32")
EXPAND(MMA_4_2_4, mma_k32_s8_u8, INT, "m16n8k32.row.col.s32.s8.u8.s32")
EXPAND(MMA_4_2_4, mma_k32_u8_u8, INT, "m16n8k32.row.col.s32.u8.u8.s32")
EXPAND(MMA_4_2_4, mma_k32_u8_u8_sat, INT,
       "m16n8k32.row.col.satfinite.s32.u8.u8.s32")
EXPAND(MMA_2_1_4, mma_k16_s8_s8, INT, "m16n8k16.row.col.s32.s8.s8.s32")
EXPAND(MMA_2_1_4, mma_k16_u8_s8, INT, "m16n8k16.row.col.s32.u8.s8.s32")
EXPAND(MMA_1_1_2, mma_m8k16_s8_s8, INT, "m8n8k16.row.col.s32.s8.s8.s32")
EXPAND(MMA_1_1_2, mma_m8k16_s8_u8, INT, "m8n8k16.row.col.s32.s8.u8.s32")
EXPAND(MMA_4_2_4, mma_k64_s4_s4, INT, "m16n8k64.row.col.s32.s4.s4.s32")
EXPAND(MMA_4_2_4, mma_k64_u4_s4, INT, "m16n8k64.row.col.s32.u4.s4.s32")
EXPAND(MMA_2_1_4, mma_k32_s4_u4, INT, "m16n8k32.row.col.s32.s4.u4.s32")
EXPAND(MMA_2_1_4, mma_k32_u4_u4, INT, "m16n8k32.row.col.s32.u4.u4.s32")
EXPAND(MMA_1_1_2, mma_m8k32_s4_s4, INT, "m8n8k32.row.col.s32.s4.s4.s32")
EXPAND(MMA_4_2_4, mma_k16_f16, FLOAT, "m16n8k16.row.col.f32.f16.f16.f32")
EXPAND(MMA_2_1_4, mma_k8_f16, FLOAT, "m16n8k8.row.col.f32.f16.f16.f32")
EXPAND(MMA_4_2_2, mma_k16_f16_f16, PACKED, "m16n8k16.row.col.f16.f16.f16.f16")
EXPAND(MMA_2_1_2, mma_k8_f16_f16, PACKED, "m16n8k8.row.col.f16.f16.f16.f16")
EXPAND(MMA_4_2_4, mma_k16_bf16, FLOAT, "m16n8k16.row.col.f32.bf16.bf16.f32")
EXPAND(MMA_2_1_4, mma_k8_bf16, FLOAT, "m16n8k8.row.col.f32.bf16.bf16.f32")
EXPAND(MMA_4_2_4, mma_k8_tf32, FLOAT, "m16n8k8.row.col.f32.tf32.tf32.f32")
EXPAND(MMA_2_1_4, mma_k4_tf32, FLOAT, "m16n8k4.row.col.f32.tf32.tf32.f32")
