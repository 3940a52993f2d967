//===- convert_fp8.cu - cvt to and from fp8, one row each -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

extern "C" __global__ void convert_fp8(const unsigned *pa, const unsigned *pb,
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
#define FROM16(row, form)                                                      \
  ROW(row, "{.reg .b16 t; cvt." form ".f16x2 t, %1; cvt.u32.u16 %0, t;}")
#define WIDEN(row, form)                                                       \
  ROW(row, "{.reg .b16 t, u; mov.b32 {t, u}, %1; cvt.rn.f16x2." form " %0, "   \
                                                                     "t;}")
  TO(0, "rn.satfinite.e4m3x2")
  TO(1, "rn.satfinite.e5m2x2")
  TO(2, "rn.satfinite.relu.e4m3x2")
  TO(3, "rn.satfinite.relu.e5m2x2")
  FROM16(4, "rn.satfinite.e4m3x2")
  FROM16(5, "rn.satfinite.e5m2x2")
  WIDEN(6, "e4m3x2")
  WIDEN(7, "e5m2x2")
}
