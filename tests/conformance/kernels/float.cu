//===- float.cu - f32 arithmetic, one row each ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The rows stand in the order of families/Float.cpp.
//
//===----------------------------------------------------------------------===//

#define ROWS(name)                                                             \
  extern "C" __global__ void name(const float *pa, const float *pb,            \
                                  const float *pc, unsigned *out, int n)
#define BEGIN                                                                  \
  int i = blockIdx.x * blockDim.x + threadIdx.x;                               \
  if (i >= n)                                                                  \
    return;                                                                    \
  float a = pa[i], b = pb[i], c = pc[i], f;                                    \
  unsigned r;
#define ROW(row, text)                                                         \
  asm volatile(text " %0, %1, %2;" : "=f"(f) : "f"(a), "f"(b));                \
  out[(row) * n + i] = __float_as_uint(f);
#define ROW1(row, text)                                                        \
  asm volatile(text " %0, %1;" : "=f"(f) : "f"(a));                            \
  out[(row) * n + i] = __float_as_uint(f);
#define ROW3(row, text)                                                        \
  asm volatile(text " %0, %1, %2, %3;" : "=f"(f) : "f"(a), "f"(b), "f"(c));    \
  out[(row) * n + i] = __float_as_uint(f);

ROWS(float_sums){
    BEGIN ROW(0, "add.rn.f32") ROW(1, "add.rz.f32") ROW(2, "add.rm.f32")
        ROW(3, "add.rp.f32") ROW(4, "add.rn.ftz.f32") ROW(5, "add.rn.sat.f32")
            ROW(6, "sub.rn.f32") ROW(7, "sub.rm.f32") ROW(8, "mul.rn.f32")
                ROW(9, "mul.rz.f32") ROW(10, "mul.rm.f32") ROW(11, "mul.rp.f32")
                    ROW(12, "mul.rn.ftz.f32") ROW(13, "mul.rn.sat.f32")
                        ROW3(14, "fma.rn.f32") ROW3(15, "fma.rz.f32")
                            ROW3(16, "fma.rm.f32") ROW3(17, "fma.rp.f32")
                                ROW3(18, "fma.rn.ftz.f32")
                                    ROW3(19, "fma.rn.sat.f32")}

ROWS(float_quotients){
    BEGIN ROW(0, "div.rn.f32") ROW(1, "div.rz.f32") ROW(2, "div.rm.f32")
        ROW(3, "div.rp.f32") ROW1(4, "rcp.rn.f32") ROW1(5, "rcp.rz.f32")
            ROW1(6, "rcp.rm.f32") ROW1(7, "rcp.rp.f32") ROW1(8, "sqrt.rn.f32")
                ROW1(9, "sqrt.rz.f32") ROW1(10, "sqrt.rm.f32")
                    ROW1(11, "sqrt.rp.f32")}

ROWS(float_choices) {
  BEGIN
  ROW(0, "min.f32")
  ROW(1, "max.f32")
  ROW(2, "min.NaN.f32")
  ROW(3, "max.NaN.f32")
  ROW(4, "min.ftz.f32")
  ROW(5, "max.ftz.f32")
  ROW1(6, "abs.f32")
  ROW1(7, "neg.f32")
  ROW1(8, "abs.ftz.f32")
  ROW(9, "copysign.f32")
#define TEST(row, text)                                                        \
  asm volatile("{.reg .pred p; " text "; selp.u32 %0, 1, 0, p;}"               \
               : "=r"(r)                                                       \
               : "f"(a), "f"(b));                                              \
  out[(row) * n + i] = r;
  TEST(10, "setp.eq.f32 p, %1, %2")
  TEST(11, "setp.ne.f32 p, %1, %2")
  TEST(12, "setp.lt.f32 p, %1, %2")
  TEST(13, "setp.ge.f32 p, %1, %2")
  TEST(14, "setp.equ.f32 p, %1, %2")
  TEST(15, "setp.neu.f32 p, %1, %2")
  TEST(16, "setp.ltu.f32 p, %1, %2")
  TEST(17, "setp.gtu.f32 p, %1, %2")
  TEST(18, "setp.num.f32 p, %1, %2")
  TEST(19, "setp.nan.f32 p, %1, %2")
  TEST(20, "setp.lt.ftz.f32 p, %1, %2")
  TEST(21, "testp.finite.f32 p, %1")
  TEST(22, "testp.infinite.f32 p, %1")
  TEST(23, "testp.normal.f32 p, %1")
  TEST(24, "testp.subnormal.f32 p, %1")
  TEST(25, "testp.notanumber.f32 p, %1")
}

ROWS(float_approximations) {
  BEGIN
  ROW1(0, "ex2.approx.ftz.f32")
  ROW1(1, "rcp.approx.ftz.f32")
  ROW1(2, "rsqrt.approx.f32")
  ROW1(3, "sqrt.approx.f32")
  ROW1(4, "lg2.approx.f32")
  ROW1(5, "tanh.approx.f32")
  ROW(6, "div.full.f32")
}
