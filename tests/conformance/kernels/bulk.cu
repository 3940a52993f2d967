//===- bulk.cu - Bulk copies and tensor copies ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "device.cuh"

constexpr int tileWords = 4096; // 16 KiB

__device__ inline void start(unsigned bar, unsigned bytes) {
  init(bar, 1);
  initSeen();
  expectBytes(bar, bytes);
}
__device__ inline void finish() {
  asm volatile("cp.async.bulk.commit_group;\n\t"
               "cp.async.bulk.wait_group 0;" ::
                   : "memory");
}

#define TILE                                                                   \
  __shared__ __align__(1024) unsigned tile[tileWords];                         \
  __shared__ unsigned long long bar;                                           \
  int t = threadIdx.x;                                                         \
  unsigned b = shared(&bar), s = shared(tile);
#define FILL                                                                   \
  for (int u = 0; u < tileWords / 128; ++u)                                    \
    tile[u * 128 + t] = 0xcdcdcdcd;                                            \
  toAsyncProxy();                                                              \
  __syncthreads();
#define COPY_OUT                                                               \
  for (int u = 0; u < tileWords / 128; ++u)                                    \
    out[u * 128 + t] = tile[u * 128 + t];

// 1-D copies. `bytes` is a multiple of 16.
extern "C" __global__ void bulk_load(const unsigned *in, unsigned bytes,
                                     unsigned *out) {
  TILE FILL if (t == 0) {
    start(b, bytes);
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::"
                 "bytes [%0], [%1], %2, [%3];" ::"r"(s + 64),
                 "l"(in), "r"(bytes), "r"(b)
                 : "memory");
  }
  __syncthreads();
  wait(b, 0);
  COPY_OUT
}

#define STORE_KERNEL(name, text)                                               \
  extern "C" __global__ void name(const unsigned *in, unsigned bytes,          \
                                  unsigned *out) {                             \
    __shared__ __align__(1024) unsigned tile[tileWords];                       \
    int t = threadIdx.x;                                                       \
    for (int u = 0; u < tileWords / 128; ++u)                                  \
      tile[u * 128 + t] = in[u * 128 + t];                                     \
    toAsyncProxy();                                                            \
    __syncthreads();                                                           \
    if (t == 0) {                                                              \
      asm volatile(text " [%0], [%1], %2;" ::"l"(out), "r"(shared(tile)),      \
                   "r"(bytes)                                                  \
                   : "memory");                                                \
      finish();                                                                \
    }                                                                          \
  }
STORE_KERNEL(bulk_store, "cp.async.bulk.global.shared::cta.bulk_group")
#define REDUCE(name, op)                                                       \
  STORE_KERNEL(name, "cp.reduce.async.bulk.global.shared::cta.bulk_group." op)
REDUCE(bulk_add_u32, "add.u32")
REDUCE(bulk_min_s32, "min.s32")
REDUCE(bulk_max_u32, "max.u32")
REDUCE(bulk_and_b32, "and.b32")
REDUCE(bulk_or_b32, "or.b32")
REDUCE(bulk_xor_b32, "xor.b32")
REDUCE(bulk_inc_u32, "inc.u32")
REDUCE(bulk_dec_u32, "dec.u32")
REDUCE(bulk_add_u64, "add.u64")
REDUCE(bulk_add_f32, "add.f32")
REDUCE(bulk_add_f16, "add.noftz.f16")
REDUCE(bulk_add_bf16, "add.noftz.bf16")

// Every block of a cluster of 2 copies its tile into the other's.
extern "C" __global__ void bulk_peer(const unsigned *in, unsigned *out) {
  __shared__ __align__(16) unsigned own[256], given[256];
  __shared__ unsigned long long bar;
  int t = threadIdx.x;
  unsigned b = shared(&bar), rank = rankOf();
  own[t] = in[blockIdx.x * 128 + t] + 1;
  own[128 + t] = t;
  toAsyncProxy();
  if (t == 0)
    start(b, 1024);
  meet();
  if (t == 0)
    asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::"
                 "complete_tx::bytes [%0], [%1], 1024, [%2];" ::"r"(
                     map(shared(given), rank ^ 1)),
                 "r"(shared(own)), "r"(map(b, rank ^ 1))
                 : "memory");
  wait(b, 0);
  out[blockIdx.x * 256 + t] = given[t];
  out[blockIdx.x * 256 + 128 + t] = given[128 + t];
  meet();
}

// Tensor copies; the coordinates are c0 (innermost) to c4.
#define TENSOR_LOAD(name, dims, coordinates, ...)                              \
  extern "C" __global__ void name(const __grid_constant__ TensorMap map,       \
                                  int c0, int c1, int c2, int c3, int c4,      \
                                  unsigned bytes, unsigned *out) {             \
    TILE FILL if (t == 0) {                                                    \
      start(b, bytes);                                                         \
      asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");         \
      asm volatile("cp.async.bulk.tensor." dims ".shared::cluster.global."     \
                   "tile.mbarrier::complete_tx::bytes [%0], "                  \
                   "[%1, " coordinates "], [%2];" ::"r"(s),                    \
                   "l"(&map), "r"(b), __VA_ARGS__                              \
                   : "memory");                                                \
    }                                                                          \
    __syncthreads();                                                           \
    wait(b, 0);                                                                \
    COPY_OUT                                                                   \
  }
TENSOR_LOAD(tensor_load_1, "1d", "{%3}", "r"(c0))
TENSOR_LOAD(tensor_load_2, "2d", "{%3, %4}", "r"(c0), "r"(c1))
TENSOR_LOAD(tensor_load_3, "3d", "{%3, %4, %5}", "r"(c0), "r"(c1), "r"(c2))
TENSOR_LOAD(tensor_load_4, "4d", "{%3, %4, %5, %6}", "r"(c0), "r"(c1), "r"(c2),
            "r"(c3))
TENSOR_LOAD(tensor_load_5, "5d", "{%3, %4, %5, %6, %7}", "r"(c0), "r"(c1),
            "r"(c2), "r"(c3), "r"(c4))

#define TENSOR_STORE(name, text, coordinates, ...)                             \
  extern "C" __global__ void name(const __grid_constant__ TensorMap map,       \
                                  int c0, int c1, int c2,                      \
                                  const unsigned *in) {                        \
    __shared__ __align__(1024) unsigned tile[tileWords];                       \
    int t = threadIdx.x;                                                       \
    for (int u = 0; u < tileWords / 128; ++u)                                  \
      tile[u * 128 + t] = in[u * 128 + t];                                     \
    toAsyncProxy();                                                            \
    __syncthreads();                                                           \
    if (t == 0) {                                                              \
      asm volatile(text " [%0, " coordinates "], [%1];" ::"l"(&map),           \
                   "r"(shared(tile)), __VA_ARGS__                              \
                   : "memory");                                                \
      finish();                                                                \
    }                                                                          \
  }
TENSOR_STORE(tensor_store_2,
             "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group",
             "{%2, %3}", "r"(c0), "r"(c1))
TENSOR_STORE(tensor_store_3,
             "cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group",
             "{%2, %3, %4}", "r"(c0), "r"(c1), "r"(c2))
TENSOR_STORE(tensor_add_2,
             "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile"
             ".bulk_group",
             "{%2, %3}", "r"(c0), "r"(c1))
TENSOR_STORE(tensor_max_2,
             "cp.reduce.async.bulk.tensor.2d.global.shared::cta.max.tile"
             ".bulk_group",
             "{%2, %3}", "r"(c0), "r"(c1))

// Block 0 of a cluster of 2 loads for both.
extern "C" __global__ void
tensor_multicast(const __grid_constant__ TensorMap map, int c0, int c1,
                 unsigned bytes, unsigned *out) {
  TILE FILL unsigned rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  if (t == 0)
    start(b, bytes);
  meet();
  if (rank == 0 && t == 0)
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier"
                 "::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}],"
                 " [%4], %5;" ::"r"(s),
                 "l"(&map), "r"(c0), "r"(c1), "r"(b), "h"((short)3)
                 : "memory");
  wait(b, 0);
  out += rank * tileWords;
  COPY_OUT
  meet();
}
