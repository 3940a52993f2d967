//===- convert.cu - cvt, one row each -------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The rows stand in the order of families/Convert.cpp.
//
//===----------------------------------------------------------------------===//

#define ROWS(name)                                                             \
  extern "C" __global__ void name(const unsigned *pa, const unsigned *pb,      \
                                  const unsigned *pc, unsigned *out, int n)
#define BEGIN                                                                  \
  int i = blockIdx.x * blockDim.x + threadIdx.x;                               \
  if (i >= n)                                                                  \
    return;                                                                    \
  unsigned a = pa[i], b = pb[i], r;
#define ROW(row, text)                                                         \
  asm volatile(text : "=r"(r) : "r"(a), "r"(b));                               \
  out[(row) * n + i] = r;

ROWS(convert_integers){
    BEGIN ROW(0, "cvt.rni.s32.f32 %0, %1;") ROW(
        1, "cvt.rzi.s32.f32 %0, %1;") ROW(2, "cvt.rmi.s32.f32 %0, %1;")
        ROW(3, "cvt.rpi.s32.f32 %0, %1;") ROW(4, "cvt.rni.u32.f32 %0, %1;") ROW(
            5, "cvt.rzi.u32.f32 %0, %1;") ROW(6, "cvt.rni.sat.s8.f32 %0, %1;")
            ROW(7, "cvt.rni.sat.u8.f32 %0, %1;") ROW(
                8, "cvt.sat.s8.s32 %0, %1;") ROW(9, "cvt.sat.u8.s32 %0, %1;")
                ROW(10, "cvt.sat.u16.s32 %0, %1;") ROW(11, "cvt.s32.s8 %0, %1;")
                    ROW(12, "cvt.u32.u16 %0, %1;") ROW(
                        13, "cvt.s32.s16 %0, %1;") ROW(14,
                                                       "cvt.rn.f32.s32 %0, %1;")
                        ROW(15, "cvt.rz.f32.s32 %0, %1;") ROW(
                            16, "cvt.rm.f32.s32 %0, %1;")
                            ROW(17, "cvt.rp.f32.s32 %0, %1;") ROW(
                                18, "cvt.rn.f32.u32 %0, %1;")
                                ROW(19, "cvt.rn.f32.s8 %0, %1;") ROW(
                                    20, "cvt.rn.f32.u8 %0, %1;")
                                    ROW(21, "cvt.rni.f32.f32 %0, %1;") ROW(
                                        22, "cvt.rzi.f32.f32 %0, %1;")
                                        ROW(23, "cvt.rmi.f32.f32 %0, %1;") ROW(
                                            24, "cvt.rpi.f32.f32 %0, %1;")
                                            ROW(25, "cvt.sat.f32.f32 %0, %1;")
                                                ROW(26, "cvt.pack.sat.s8.s32."
                                                        "b32 %0, %1, %2, 0;")
                                                    ROW(27,
                                                        "cvt.pack.sat.u8.s32."
                                                        "b32 %0, %1, %2, %1;")
                                                        ROW(28,
                                                            "cvt.pack.sat.s16."
                                                            "s32 %0, %1, %2;")}

ROWS(convert_halves) {
  BEGIN
  ROW(0, "cvt.rn.f16x2.f32 %0, %1, %2;")
  ROW(1, "cvt.rz.f16x2.f32 %0, %1, %2;")
  ROW(2, "cvt.rn.relu.f16x2.f32 %0, %1, %2;")
  ROW(3, "cvt.rn.bf16x2.f32 %0, %1, %2;")
  ROW(4, "cvt.rz.bf16x2.f32 %0, %1, %2;")
  ROW(5, "cvt.rn.relu.bf16x2.f32 %0, %1, %2;")
  ROW(6, "{.reg .b16 t; cvt.rn.f16.f32 t, %1; cvt.u32.u16 %0, t;}")
  ROW(7, "{.reg .b16 t; cvt.rz.f16.f32 t, %1; cvt.u32.u16 %0, t;}")
  ROW(8, "{.reg .b16 t; cvt.rm.f16.f32 t, %1; cvt.u32.u16 %0, t;}")
  ROW(9, "{.reg .b16 t; cvt.rp.f16.f32 t, %1; cvt.u32.u16 %0, t;}")
  ROW(10, "{.reg .b16 t; cvt.rn.bf16.f32 t, %1; cvt.u32.u16 %0, t;}")
  ROW(11, "cvt.rna.tf32.f32 %0, %1;")
  ROW(12, "{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l;}")
  ROW(13, "{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.rni.s32.f16 %0, h;}")
  ROW(14, "{.reg .b16 t; cvt.rn.f16.s32 t, %1; cvt.u32.u16 %0, t;}")
}

// Results of 64 bits; b:a is a double.
extern "C" __global__ void convert_wide(const unsigned *pa, const unsigned *pb,
                                        const unsigned *pc,
                                        unsigned long long *out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n)
    return;
  float single = __uint_as_float(pa[i]);
  double wide = __hiloint2double(pb[i], pa[i]);
  unsigned long long r;
#define FROM_F32(row, text)                                                    \
  asm volatile(text : "=l"(r) : "f"(single));                                  \
  out[(row) * n + i] = r;
#define FROM_F64(row, text)                                                    \
  asm volatile(text : "=l"(r) : "d"(wide));                                    \
  out[(row) * n + i] = r;
  FROM_F32(0, "cvt.rzi.s64.f32 %0, %1;")
  FROM_F32(1, "cvt.rzi.u64.f32 %0, %1;")
  FROM_F64(2, "cvt.rni.s64.f64 %0, %1;")
  FROM_F64(3, "cvt.rzi.u64.f64 %0, %1;")
  FROM_F64(4, "{.reg .b32 t; cvt.rzi.s32.f64 t, %1; cvt.s64.s32 %0, t;}")
  FROM_F64(5, "{.reg .b32 t; cvt.rzi.u32.f64 t, %1; cvt.u64.u32 %0, t;}")
  FROM_F64(6, "{.reg .b16 t; cvt.rzi.s16.f64 t, %1; cvt.s64.s16 %0, t;}")
}
