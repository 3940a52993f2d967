//===- matrix_store.cu - stmatrix -----------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// 4 KiB of shared memory begin as 0xcd; lane l stores its registers to rows at
// byte offsets[l]; all of it is then copied to `out`.
//
//===----------------------------------------------------------------------===//

#include "device.cuh"

#define STORE(name, text, ...)                                                 \
  extern "C" __global__ void name(const unsigned *regs,                        \
                                  const unsigned *offsets, unsigned *out) {    \
    __shared__ __align__(16) unsigned tile[1024];                              \
    int l = threadIdx.x;                                                       \
    for (int u = 0; u < 32; ++u)                                               \
      tile[u * 32 + l] = 0xcdcdcdcd;                                           \
    __syncthreads();                                                           \
    unsigned address = shared(tile) + offsets[l];                              \
    asm volatile("stmatrix.sync.aligned." text ::"r"(address), __VA_ARGS__     \
                 : "memory");                                                  \
    __syncthreads();                                                           \
    for (int u = 0; u < 32; ++u)                                               \
      out[u * 32 + l] = tile[u * 32 + l];                                      \
  }
#define R1 "r"(regs[l])
#define R2 "r"(regs[l * 2]), "r"(regs[l * 2 + 1])
#define R4                                                                     \
  "r"(regs[l * 4]), "r"(regs[l * 4 + 1]), "r"(regs[l * 4 + 2]),                \
      "r"(regs[l * 4 + 3])
STORE(stmatrix_x1, "m8n8.x1.shared.b16 [%0], {%1};", R1)
STORE(stmatrix_x2, "m8n8.x2.shared.b16 [%0], {%1,%2};", R2)
STORE(stmatrix_x4, "m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};", R4)
STORE(stmatrix_x1_trans, "m8n8.x1.trans.shared.b16 [%0], {%1};", R1)
STORE(stmatrix_x2_trans, "m8n8.x2.trans.shared.b16 [%0], {%1,%2};", R2)
STORE(stmatrix_x4_trans, "m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};", R4)
