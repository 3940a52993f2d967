//===- control.cu - Branches by index, parts of warps at barriers --------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "device.cuh"

extern "C" __global__ void control_switch(const unsigned *in, unsigned *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  unsigned x = in[i], r;
  asm volatile("{mov.u32 %0, 0;\n\t"
               "bra START%=;\n\t"
               "TWO%=: add.u32 %0, %0, 300; bra DONE%=;\n\t"
               "START%=:\n\t"
               "LIST%=: .branchtargets ZERO%=, ONE%=, TWO%=, THREE%=;\n\t"
               "brx.idx %1, LIST%=;\n\t"
               "ONE%=: add.u32 %0, %0, 20; bra DONE%=;\n\t"
               "THREE%=: add.u32 %0, %0, 4000;\n\t"
               "ZERO%=: add.u32 %0, %0, 1;\n\t"
               "DONE%=:}"
               : "=&r"(r)
               : "r"(x));
  out[i] = r;
}

// The threads of a warp that `high` names come to the barrier from another
// place than the others.
extern "C" __global__ void control_barrier(unsigned high, unsigned *out) {
  __shared__ unsigned slot[128];
  int t = threadIdx.x;
  unsigned got;
  if (high >> (t % 32) & 1) {
    slot[t] = 1000 + t;
    asm volatile("barrier.sync 1, 128;" ::: "memory");
    got = slot[127 - t] + 1;
  } else {
    slot[t] = t;
    asm volatile("barrier.sync 1, 128;" ::: "memory");
    got = slot[127 - t];
  }
  out[t] = got;
}

// Warps 0 and 1 hand 64 numbers to warps 2 and 3; the threads that `high` names
// wait for the meeting, the others only arrive.
extern "C" __global__ void control_arrive(unsigned high, unsigned *out) {
  __shared__ unsigned slot[64];
  int t = threadIdx.x;
  if (t < 64) {
    slot[t] = 3 * t + 1;
    if (high >> (t % 32) & 1)
      asm volatile("barrier.sync 2, 128;" ::: "memory");
    else
      asm volatile("barrier.arrive 2, 128;" ::: "memory");
  } else {
    asm volatile("barrier.sync 2, 128;" ::: "memory");
    out[t - 64] = slot[127 - t];
  }
}
