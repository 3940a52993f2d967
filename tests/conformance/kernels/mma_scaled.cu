//===- mma_scaled.cu - Narrow and block-scaled mma.sync ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// As mma.cu, for 6- and 4-bit floats in containers of a byte, and with scales:
// a word of each lane for A and one for B, of which the instruction picks bytes
// and threads.
//
//===----------------------------------------------------------------------===//

#define OPERANDS "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13}"
#define BODY(text, ...)                                                        \
  int l = threadIdx.x;                                                         \
  a += l * 4, b += l * 2, c += l * 4, d += l * 4;                              \
  float d0, d1, d2, d3;                                                        \
  asm volatile("mma.sync.aligned." text ";"                                    \
               : "=f"(d0), "=f"(d1), "=f"(d2), "=f"(d3)                        \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]),        \
                 "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]),                   \
                 "f"(c[3])__VA_ARGS__);                                        \
  d[0] = d0, d[1] = d1, d[2] = d2, d[3] = d3;
#define PLAIN(name, types)                                                     \
  extern "C" __global__ void name(const unsigned *a, const unsigned *b,        \
                                  const float *c, float *d) {                  \
    BODY("m16n8k32.row.col.kind::f8f6f4." types " " OPERANDS)                  \
  }
#define COMMA ,
#define SCALED(name, text, idsA, idsB)                                         \
  extern "C" __global__ void name(const unsigned *a, const unsigned *b,        \
                                  const float *c, const unsigned *scalesA,     \
                                  const unsigned *scalesB, float *d) {         \
    BODY(text " " OPERANDS ", %14, " idsA ", %15, " idsB,                      \
         COMMA "r"(scalesA[l])COMMA "r"(scalesB[l]))                           \
  }
PLAIN(mma_e3m2_e2m1, "f32.e3m2.e2m1.f32")
PLAIN(mma_e2m1_e4m3, "f32.e2m1.e4m3.f32")
PLAIN(mma_e5m2_e2m3, "f32.e5m2.e2m3.f32")
SCALED(mma_mxf8_e4m3_e5m2,
       "m16n8k32.row.col.kind::mxf8f6f4.block_scale.scale_vec::1X"
       ".f32.e4m3.e5m2.f32.ue8m0",
       "{2, 1}", "{1, 3}")
SCALED(mma_mxf8_e2m3_e2m1,
       "m16n8k32.row.col.kind::mxf8f6f4.block_scale.scale_vec::1X"
       ".f32.e2m3.e2m1.f32.ue8m0",
       "{0, 0}", "{3, 0}")
SCALED(mma_mxf4,
       "m16n8k64.row.col.kind::mxf4.block_scale.scale_vec::2X"
       ".f32.e2m1.e2m1.f32.ue8m0",
       "{2, 1}", "{0, 2}")
SCALED(mma_nvf4,
       "m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X"
       ".f32.e2m1.e2m1.f32.ue4m3",
       "{0, 0}", "{0, 1}")
