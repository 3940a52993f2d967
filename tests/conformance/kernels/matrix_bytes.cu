//===- matrix_bytes.cu - ldmatrix and stmatrix on bytes ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// As matrix_load.cu and matrix_store.cu, for matrices of 8 bits and of 6 and 4
// bits that are widened.
//
//===----------------------------------------------------------------------===//

#include "device.cuh"

#define LOAD(name, text, count, list, ...)                                     \
  extern "C" __global__ void name(const unsigned *data,                        \
                                  const unsigned *offsets, unsigned *out) {    \
    __shared__ __align__(16) unsigned tile[1024];                              \
    int l = threadIdx.x;                                                       \
    for (int u = 0; u < 32; ++u)                                               \
      tile[u * 32 + l] = data[u * 32 + l];                                     \
    __syncthreads();                                                           \
    unsigned address = shared(tile) + offsets[l];                              \
    unsigned r[count];                                                         \
    asm volatile("ldmatrix.sync.aligned." text " " list ";"                    \
                 : __VA_ARGS__                                                 \
                 : "r"(address)                                                \
                 : "memory");                                                  \
    for (int i = 0; i < count; ++i)                                            \
      out[l * count + i] = r[i];                                               \
  }
#define LOAD_1(name, text) LOAD(name, text, 1, "{%0}, [%1]", "=r"(r[0]))
#define LOAD_2(name, text)                                                     \
  LOAD(name, text, 2, "{%0,%1}, [%2]", "=r"(r[0]), "=r"(r[1]))
#define LOAD_4(name, text)                                                     \
  LOAD(name, text, 4, "{%0,%1,%2,%3}, [%4]", "=r"(r[0]), "=r"(r[1]),           \
       "=r"(r[2]), "=r"(r[3]))
LOAD_2(load_m16n16_b8_x1, "m16n16.x1.trans.shared.b8")
LOAD_4(load_m16n16_b8_x2, "m16n16.x2.trans.shared.b8")
LOAD_2(load_m16n16_b6_x1, "m16n16.x1.trans.shared.b8x16.b6x16_p32")
LOAD_4(load_m16n16_b6_x2, "m16n16.x2.trans.shared.b8x16.b6x16_p32")
LOAD_2(load_m16n16_b4_x1, "m16n16.x1.trans.shared.b8x16.b4x16_p64")
LOAD_4(load_m16n16_b4_x2, "m16n16.x2.trans.shared.b8x16.b4x16_p64")
LOAD_1(load_m8n16_b6_x1, "m8n16.x1.shared.b8x16.b6x16_p32")
LOAD_2(load_m8n16_b6_x2, "m8n16.x2.shared.b8x16.b6x16_p32")
LOAD_4(load_m8n16_b6_x4, "m8n16.x4.shared.b8x16.b6x16_p32")
LOAD_1(load_m8n16_b4_x1, "m8n16.x1.shared.b8x16.b4x16_p64")
LOAD_2(load_m8n16_b4_x2, "m8n16.x2.shared.b8x16.b4x16_p64")
LOAD_4(load_m8n16_b4_x4, "m8n16.x4.shared.b8x16.b4x16_p64")

#define STORE(name, text, count, list, ...)                                    \
  extern "C" __global__ void name(const unsigned *registers,                   \
                                  const unsigned *offsets, unsigned *out) {    \
    __shared__ __align__(16) unsigned tile[1024];                              \
    int l = threadIdx.x;                                                       \
    for (int u = 0; u < 32; ++u)                                               \
      tile[u * 32 + l] = 0xcdcdcdcd;                                           \
    __syncthreads();                                                           \
    unsigned address = shared(tile) + offsets[l];                              \
    const unsigned *r = registers + l * count;                                 \
    asm volatile("stmatrix.sync.aligned." text " " list ";" ::"r"(address),    \
                 __VA_ARGS__                                                   \
                 : "memory");                                                  \
    __syncthreads();                                                           \
    for (int u = 0; u < 32; ++u)                                               \
      out[u * 32 + l] = tile[u * 32 + l];                                      \
  }
STORE(store_m16n8_x1, "m16n8.x1.trans.shared.b8", 1, "[%0], {%1}", "r"(r[0]))
STORE(store_m16n8_x2, "m16n8.x2.trans.shared.b8", 2, "[%0], {%1,%2}", "r"(r[0]),
      "r"(r[1]))
STORE(store_m16n8_x4, "m16n8.x4.trans.shared.b8", 4, "[%0], {%1,%2,%3,%4}",
      "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]))
