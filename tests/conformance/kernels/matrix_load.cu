//===- matrix_load.cu - ldmatrix and movmatrix ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// 4 KiB of shared memory are filled from `data`; lane l gives the row address
// at byte offsets[l].
//
//===----------------------------------------------------------------------===//

#include "device.cuh"

#define FILL                                                                   \
  __shared__ __align__(16) unsigned tile[1024];                                \
  int l = threadIdx.x;                                                         \
  for (int u = 0; u < 32; ++u)                                                 \
    tile[u * 32 + l] = data[u * 32 + l];                                       \
  __syncthreads();                                                             \
  unsigned address = shared(tile) + offsets[l];
#define KERNEL(name)                                                           \
  extern "C" __global__ void name(const unsigned *data,                        \
                                  const unsigned *offsets, unsigned *out)
#define LOAD_1(name, text)                                                     \
  KERNEL(name) {                                                               \
    FILL unsigned r;                                                           \
    asm volatile("ldmatrix.sync.aligned." text " {%0}, [%1];"                  \
                 : "=r"(r)                                                     \
                 : "r"(address)                                                \
                 : "memory");                                                  \
    out[l] = r;                                                                \
  }
#define LOAD_2(name, text)                                                     \
  KERNEL(name) {                                                               \
    FILL unsigned r, s;                                                        \
    asm volatile("ldmatrix.sync.aligned." text " {%0,%1}, [%2];"               \
                 : "=r"(r), "=r"(s)                                            \
                 : "r"(address)                                                \
                 : "memory");                                                  \
    out[l * 2] = r;                                                            \
    out[l * 2 + 1] = s;                                                        \
  }
#define LOAD_4(name, text)                                                     \
  KERNEL(name) {                                                               \
    FILL unsigned r, s, t, u;                                                  \
    asm volatile("ldmatrix.sync.aligned." text " {%0,%1,%2,%3}, [%4];"         \
                 : "=r"(r), "=r"(s), "=r"(t), "=r"(u)                          \
                 : "r"(address)                                                \
                 : "memory");                                                  \
    out[l * 4] = r;                                                            \
    out[l * 4 + 1] = s;                                                        \
    out[l * 4 + 2] = t;                                                        \
    out[l * 4 + 3] = u;                                                        \
  }
LOAD_1(ldmatrix_x1, "m8n8.x1.shared.b16")
LOAD_2(ldmatrix_x2, "m8n8.x2.shared.b16")
LOAD_4(ldmatrix_x4, "m8n8.x4.shared.b16")
LOAD_1(ldmatrix_x1_trans, "m8n8.x1.trans.shared.b16")
LOAD_2(ldmatrix_x2_trans, "m8n8.x2.trans.shared.b16")
LOAD_4(ldmatrix_x4_trans, "m8n8.x4.trans.shared.b16")

extern "C" __global__ void movmatrix(const unsigned *in, unsigned *out) {
  unsigned r;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;"
               : "=r"(r)
               : "r"(in[threadIdx.x]));
  out[threadIdx.x] = r;
}
