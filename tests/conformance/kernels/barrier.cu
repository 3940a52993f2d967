//===- barrier.cu - Barriers of a block and of a grid ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "device.cuh"

// Warps 0 and 1 hand four lots of 64 numbers to warps 2 and 3 through one
// buffer: barrier 1 says full, barrier 2 says empty.
extern "C" __global__ void barrier_named(unsigned *out) {
  __shared__ unsigned slot[64];
  int t = threadIdx.x;
  if (t < 64) {
    for (int lot = 0; lot < 4; ++lot) {
      asm volatile("barrier.sync 2, 128;" ::: "memory");
      slot[t] = lot * 1000 + t * 7;
      asm volatile("barrier.arrive 1, 128;" ::: "memory");
    }
  } else {
    t -= 64;
    asm volatile("barrier.arrive 2, 128;" ::: "memory");
    for (int lot = 0; lot < 4; ++lot) {
      asm volatile("barrier.sync 1, 128;" ::: "memory");
      out[lot * 64 + t] = slot[63 - t];
      if (lot < 3)
        asm volatile("barrier.arrive 2, 128;" ::: "memory");
    }
  }
}

extern "C" __global__ void barrier_reductions(const unsigned *in,
                                              unsigned *out) {
  int t = threadIdx.x;
  unsigned v = in[t], count, all, any;
  asm volatile("{.reg .pred p, q; setp.ne.u32 p, %3, 0;\n\t"
               "barrier.red.popc.u32 %0, 0, p;\n\t"
               "barrier.red.and.pred q, 0, p; selp.u32 %1, 1, 0, q;\n\t"
               "barrier.red.or.pred q, 0, p; selp.u32 %2, 1, 0, q;}"
               : "=r"(count), "=r"(all), "=r"(any)
               : "r"(v));
  out[t * 3] = count;
  out[t * 3 + 1] = all;
  out[t * 3 + 2] = any;
}

// Every block writes, all blocks meet, every block reads all. `counter` is 0
// before.
extern "C" __global__ void barrier_grid(const unsigned *in, unsigned *data,
                                        unsigned *counter, unsigned *out) {
  int t = threadIdx.x, n = blockDim.x;
  data[blockIdx.x * n + t] = in[blockIdx.x * n + t] * 3;
  __syncthreads();
  if (t == 0) {
    unsigned seen;
    asm volatile("fence.acq_rel.gpu;" ::: "memory");
    asm volatile("red.relaxed.gpu.global.add.u32 [%0], 1;" ::"l"(counter)
                 : "memory");
    do
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                   : "=r"(seen)
                   : "l"(counter)
                   : "memory");
    while (seen != gridDim.x);
  }
  __syncthreads();
  unsigned sum = 0;
  for (int b = 0; b < gridDim.x; ++b)
    sum += data[b * n + (t + b) % n];
  out[blockIdx.x * n + t] = sum;
}

// Rounds of write, arrive, wait, read the neighbour, through mbarriers: by
// state, and by parity. One thread of each round arrives without completing
// first, and `states` gets what pending_count says.
extern "C" __global__ void barrier_mbarrier(const unsigned *in, unsigned *out,
                                            unsigned *pending) {
  __shared__ unsigned slots[4][64];
  __shared__ unsigned long long bars[2];
  int t = threadIdx.x;
  unsigned bar = shared(bars);
  if (t == 0) {
    asm volatile("mbarrier.init.shared.b64 [%0], 65;" ::"r"(bar) : "memory");
    asm volatile("mbarrier.init.shared.b64 [%0], 64;" ::"r"(bar + 8)
                 : "memory");
  }
  __syncthreads();
  for (int round = 0; round < 4; ++round) {
    unsigned long long state;
    slots[round][t] = in[round * 64 + t];
    if (round % 2 == 0) {
      // 65 arrivals: one more by thread 5.
      if (t == 5) {
        asm volatile("mbarrier.arrive.noComplete.shared.b64 %0, [%1], 1;"
                     : "=l"(state)
                     : "r"(bar)
                     : "memory");
      }
      asm volatile("mbarrier.arrive.shared.b64 %0, [%1];"
                   : "=l"(state)
                   : "r"(bar)
                   : "memory");
      unsigned count;
      asm volatile("mbarrier.pending_count.b64 %0, %1;"
                   : "=r"(count)
                   : "l"(state));
      pending[round * 64 + t] = count;
      asm volatile("{.reg .pred p;\n\t"
                   "WAIT%=: mbarrier.test_wait.shared.b64 p, [%0], %1;\n\t"
                   "@!p bra WAIT%=;}" ::"r"(bar),
                   "l"(state)
                   : "memory");
    } else {
      asm volatile("mbarrier.arrive.shared.b64 %0, [%1];"
                   : "=l"(state)
                   : "r"(bar + 8)
                   : "memory");
      asm volatile(
          "{.reg .pred p;\n\t"
          "WAIT%=: mbarrier.test_wait.parity.shared.b64 p, [%0], %1;\n\t"
          "@!p bra WAIT%=;}" ::"r"(bar + 8),
          "r"(round / 2)
          : "memory");
    }
    out[round * 64 + t] = slots[round][(t + 1) % 64];
  }
}
