//===- cluster.cu - Clusters and distributed shared memory ----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "device.cuh"

// 64 threads; per block and thread 8 words.
extern "C" __global__ void cluster_memory(unsigned *out) {
  __shared__ unsigned own[64], given[64], count;
  int t = threadIdx.x;
  unsigned rank = rankOf(), size, cluster, clusters, back;
  asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
  asm volatile("mov.u32 %0, %%clusterid.x;" : "=r"(cluster));
  asm volatile("mov.u32 %0, %%nclusterid.x;" : "=r"(clusters));
  own[t] = blockIdx.x * 1000 + t;
  if (t == 0)
    count = 100;
  meet();
  unsigned next = (rank + 1) % size, value;
  unsigned there = map(shared(&own[63 - t]), next);
  asm volatile("ld.shared::cluster.u32 %0, [%1];"
               : "=r"(value)
               : "r"(there)
               : "memory");
  asm volatile("getctarank.shared::cluster.u32 %0, %1;"
               : "=r"(back)
               : "r"(there));
  asm volatile(
      "st.shared::cluster.u32 [%0], %1;" ::"r"(map(shared(&given[t]), next)),
      "r"(rank * 77 + t)
      : "memory");
  unsigned old;
  asm volatile("atom.shared::cluster.add.u32 %0, [%1], %2;"
               : "=r"(old)
               : "r"(map(shared(&count), 0)), "r"(t + 1)
               : "memory");
  meet();
  unsigned *to = out + (blockIdx.x * 64 + t) * 8;
  to[0] = rank;
  to[1] = size;
  to[2] = cluster;
  to[3] = clusters;
  to[4] = value;
  to[5] = back;
  to[6] = given[t];
  to[7] = rank == 0 ? count : 0;
}

// Every block stores to the next one asynchronously, counting bytes on its
// mbarrier, and then arrives on the previous one's by hand.
extern "C" __global__ void cluster_async(unsigned *out) {
  __shared__ __align__(16) unsigned tile[256];
  __shared__ unsigned long long bars[2];
  int t = threadIdx.x;
  unsigned rank = rankOf();
  unsigned bar = shared(bars);
  if (t == 0) {
    init(bar, 1);
    init(bar + 8, 64);
    initSeen();
    expectBytes(bar, 1024);
  }
  meet();
  unsigned next = (rank + 1) % 4, before = (rank + 3) % 4;
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes"
               ".v4.b32 [%0], {%1,%2,%3,%4}, [%5];" ::"r"(
                   map(shared(&tile[t * 4]), next)),
               "r"(rank * 10000 + t), "r"(1u), "r"(2u), "r"(3u + t),
               "r"(map(bar, next))
               : "memory");
  wait(bar, 0);
  for (int u = 0; u < 4; ++u)
    out[blockIdx.x * 256 + u * 64 + t] = tile[u * 64 + t];
  asm volatile(
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(
          map(bar + 8, before))
      : "memory");
  wait(bar + 8, 0);
  // No block may leave while another's messages are on their way to it.
  meet();
}

// Every block combines its numbers into the next one's tile, which begins as
// `begin`; thread t into word t / 2.
#define REDUCE(name, type, constraint, op)                                     \
  extern "C" __global__ void name(const type *begin, const type *in,           \
                                  type *out) {                                 \
    __shared__ __align__(16) type tile[32];                                    \
    __shared__ unsigned long long bar;                                         \
    int t = threadIdx.x;                                                       \
    unsigned b = shared(&bar), next = (rankOf() + 1) % 4;                      \
    if (t < 32)                                                                \
      tile[t] = begin[t];                                                      \
    if (t == 0) {                                                              \
      init(b, 1);                                                              \
      initSeen();                                                              \
      expectBytes(b, 64 * sizeof(type));                                       \
    }                                                                          \
    meet();                                                                    \
    asm volatile(                                                              \
        "red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::"    \
        "bytes." op " [%0], %1, [%2];" ::"r"(map(shared(&tile[t / 2]), next)), \
        constraint(in[blockIdx.x * 64 + t]), "r"(map(b, next))                 \
        : "memory");                                                           \
    wait(b, 0);                                                                \
    if (t < 32)                                                                \
      out[blockIdx.x * 32 + t] = tile[t];                                      \
    meet();                                                                    \
  }
REDUCE(cluster_add_u32, unsigned, "r", "add.u32")
REDUCE(cluster_min_s32, int, "r", "min.s32")
REDUCE(cluster_max_u32, unsigned, "r", "max.u32")
REDUCE(cluster_and_b32, unsigned, "r", "and.b32")
REDUCE(cluster_or_b32, unsigned, "r", "or.b32")
REDUCE(cluster_xor_b32, unsigned, "r", "xor.b32")
REDUCE(cluster_inc_u32, unsigned, "r", "inc.u32")
REDUCE(cluster_dec_u32, unsigned, "r", "dec.u32")
REDUCE(cluster_add_u64, unsigned long long, "l", "add.u64")

extern "C" __global__ void cluster_elect(unsigned mask, unsigned *out) {
  int l = threadIdx.x;
  if (!(mask >> l & 1))
    return;
  unsigned leader, elected;
  asm volatile("{.reg .pred p; elect.sync %0|p, %2; selp.u32 %1, 1, 0, p;}"
               : "=r"(leader), "=r"(elected)
               : "r"(mask));
  out[l * 2] = leader;
  out[l * 2 + 1] = elected;
}

extern "C" __global__ void depend_first(unsigned *data) {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  data[blockIdx.x * blockDim.x + threadIdx.x] = blockIdx.x * 100 + threadIdx.x;
}
extern "C" __global__ void depend_second(const unsigned *data, unsigned *out) {
  asm volatile("griddepcontrol.wait;" ::: "memory");
  int n = gridDim.x * blockDim.x;
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  unsigned value;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];"
               : "=r"(value)
               : "l"(data + n - 1 - i)
               : "memory");
  out[i] = value;
}
