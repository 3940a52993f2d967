//===- convert_fp4.cu - cvt to and from fp4, fp6 and e8m0 -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

extern "C" __global__ void convert_fp4(const unsigned *pa, const unsigned *pb,
                                       const unsigned *pc, unsigned *out,
                                       int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n)
    return;
  unsigned a = pa[i], b = pb[i], r;
#define ROW(row, text)                                                         \
  asm volatile(text : "=r"(r) : "r"(a), "r"(b));                               \
  out[(row) * n + i] = r;
#define TO(row, form)                                                          \
  ROW(row, "{.reg .b16 t; cvt." form ".f32 t, %1, %2; cvt.u32.u16 %0, t;}")
#define WIDEN(row, form)                                                       \
  ROW(row, "{.reg .b16 t, u; mov.b32 {t, u}, %1; cvt.rn.f16x2." form " %0, "   \
                                                                     "t;}")
  ROW(0, "{.reg .b8 t; cvt.rn.satfinite.e2m1x2.f32 t, %1, %2; "
         "cvt.u32.u8 %0, t;}")
  ROW(1, "{.reg .b8 t; cvt.rn.satfinite.relu.e2m1x2.f32 t, %1, %2; "
         "cvt.u32.u8 %0, t;}")
  TO(2, "rn.satfinite.e2m3x2")
  TO(3, "rn.satfinite.e3m2x2")
  ROW(4, "{.reg .b8 t; cvt.u8.u32 t, %1; cvt.rn.f16x2.e2m1x2 %0, t;}")
  WIDEN(5, "e2m3x2")
  WIDEN(6, "e3m2x2")
  ROW(7, "{.reg .b16 t; .reg .b32 x, y; and.b32 x, %1, 0x7fffffff; "
         "and.b32 y, %2, 0x7fffffff; cvt.rz.satfinite.ue8m0x2.f32 t, x, y; "
         "cvt.u32.u16 %0, t;}")
  ROW(8, "{.reg .b16 t; .reg .b32 x, y; and.b32 x, %1, 0x7fffffff; "
         "and.b32 y, %2, 0x7fffffff; cvt.rp.satfinite.ue8m0x2.f32 t, x, y; "
         "cvt.u32.u16 %0, t;}")
  ROW(9, "{.reg .b16 t, u; mov.b32 {t, u}, %1; cvt.rn.bf16x2.ue8m0x2 %0, t;}")
}
