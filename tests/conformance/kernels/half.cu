//===- half.cu - Packed f16 and bf16 arithmetic, one row each -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The rows stand in the order of families/Half.cpp.
//
//===----------------------------------------------------------------------===//

#define ROWS(name)                                                             \
  extern "C" __global__ void name(const unsigned *pa, const unsigned *pb,      \
                                  const unsigned *pc, unsigned *out, int n)
#define BEGIN                                                                  \
  int i = blockIdx.x * blockDim.x + threadIdx.x;                               \
  if (i >= n)                                                                  \
    return;                                                                    \
  unsigned a = pa[i], b = pb[i], c = pc[i], r;
#define ROW(row, text)                                                         \
  asm volatile(text : "=r"(r) : "r"(a), "r"(b), "r"(c));                       \
  out[(row) * n + i] = r;

ROWS(half_f16x2){
    BEGIN ROW(0, "add.rn.f16x2 %0, %1, %2;") ROW(1, "sub.rn.f16x2 %0, %1, %2;")
        ROW(2, "mul.rn.f16x2 %0, %1, %2;")
            ROW(3, "fma.rn.f16x2 %0, %1, %2, %3;")
                ROW(4, "add.rn.sat.f16x2 %0, %1, %2;")
                    ROW(5, "fma.rn.relu.f16x2 %0, %1, %2, %3;")
                        ROW(6, "mul.rn.ftz.f16x2 %0, %1, %2;")
                            ROW(7, "min.f16x2 %0, %1, %2;")
                                ROW(8, "max.f16x2 %0, %1, %2;")
                                    ROW(9, "max.NaN.f16x2 %0, %1, %2;")
                                        ROW(10, "neg.f16x2 %0, %1;")
                                            ROW(11, "abs.f16x2 %0, %1;")}

ROWS(half_bf16x2) {
  BEGIN
  ROW(0, "fma.rn.bf16x2 %0, %1, %2, %3;")
  ROW(1, "fma.rn.relu.bf16x2 %0, %1, %2, %3;")
  ROW(2, "min.bf16x2 %0, %1, %2;")
  ROW(3, "max.bf16x2 %0, %1, %2;")
  ROW(4, "max.NaN.bf16x2 %0, %1, %2;")
  ROW(5, "neg.bf16x2 %0, %1;")
  ROW(6, "abs.bf16x2 %0, %1;")
}
