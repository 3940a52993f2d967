//===- device.cuh - What kernels begin with ------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Addresses in shared memory, clusters and mbarriers, as one instruction each.
//
//===----------------------------------------------------------------------===//

#pragma once

struct alignas(64) TensorMap {
  unsigned long long opaque[16];
};

__device__ inline unsigned shared(const void *p) {
  return (unsigned)__cvta_generic_to_shared(p);
}

// The same place in another block of the cluster.
__device__ inline unsigned map(unsigned address, unsigned rank) {
  unsigned mapped;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
               : "=r"(mapped)
               : "r"(address), "r"(rank));
  return mapped;
}
__device__ inline unsigned rankOf() {
  unsigned rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ inline void meet() {
  asm volatile("barrier.cluster.arrive.release.aligned;\n\t"
               "barrier.cluster.wait.acquire.aligned;" ::
                   : "memory");
}

__device__ inline void init(unsigned bar, unsigned count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(count)
               : "memory");
}
__device__ inline void initSeen() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ inline void expectBytes(unsigned bar, unsigned bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar),
      "r"(bytes)
      : "memory");
}
__device__ inline void wait(unsigned bar, unsigned parity) {
  asm volatile("{.reg .pred p;\n\t"
               "WAIT%=: mbarrier.try_wait.parity.acquire.cluster.shared::cta"
               ".b64 p, [%0], %1;\n\t"
               "@!p bra WAIT%=;}" ::"r"(bar),
               "r"(parity)
               : "memory");
}
__device__ inline void toAsyncProxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
