//===- half_90.cu - bf16 sums and products, of sm_90 ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

extern "C" __global__ void half_bf16x2_sums(const unsigned *pa,
                                            const unsigned *pb,
                                            const unsigned *pc, unsigned *out,
                                            int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n)
    return;
  unsigned a = pa[i], b = pb[i], r;
#define ROW(row, text)                                                         \
  asm volatile(text : "=r"(r) : "r"(a), "r"(b));                               \
  out[(row) * n + i] = r;
  ROW(0, "add.rn.bf16x2 %0, %1, %2;")
  ROW(1, "sub.rn.bf16x2 %0, %1, %2;")
  ROW(2, "mul.rn.bf16x2 %0, %1, %2;")
  ROW(3, "{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.bf16 %0, l;}")
}
