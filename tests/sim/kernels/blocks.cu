//===- blocks.cu - Blocks that work together through global memory --------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Two ways for blocks to depend on each other: the last block to arrive
// finishes a sum that all have a part in, and leaves the counter as it found
// it; and a barrier over the whole grid, for cooperative launches.

namespace {

enum : int { threads = 128 };

__device__ unsigned addAtGpu(unsigned *p, unsigned value) {
  unsigned old;
  asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;"
               : "=r"(old)
               : "l"(p), "r"(value)
               : "memory");
  return old;
}
__device__ unsigned loadAcquire(const unsigned *p) {
  unsigned value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
               : "=r"(value)
               : "l"(p)
               : "memory");
  return value;
}

} // namespace

/// out[i] = sum over blocks of in[block][i]; `counter` is 0 before and after.
extern "C" __global__ void __launch_bounds__(threads)
    split_sum(const int *in, int *parts, int *out, unsigned *counter, int n) {
  __shared__ unsigned last;
  int tid = threadIdx.x;
  int *mine = parts + static_cast<long long>(blockIdx.x) * n;
#pragma unroll 1
  for (int i = tid; i < n; i += threads)
    mine[i] = in[static_cast<long long>(blockIdx.x) * n + i] * 2;
  __syncthreads();
  if (tid == 0) {
    __threadfence();
    last = atomicAdd(counter, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!last)
    return;
#pragma unroll 1
  for (int i = tid; i < n; i += threads) {
    int sum = 0;
#pragma unroll 1
    for (unsigned block = 0; block < gridDim.x; ++block)
      sum += parts[static_cast<long long>(block) * n + i];
    out[i] = sum / 2;
  }
  if (tid == 0)
    *counter = 0;
}

/// Each round, every block reads what its neighbour wrote in the round before.
extern "C" __global__ void __launch_bounds__(threads)
    grid_rounds(int *a, int *b, unsigned *arrived, int rounds) {
  int tid = threadIdx.x;
  unsigned blocks = gridDim.x;
  int mine = blockIdx.x * threads + tid;
  int next = (blockIdx.x + 1) % blocks * threads + tid;
#pragma unroll 1
  for (int round = 0; round < rounds; ++round) {
    b[mine] = a[next] + 1;
    int *swap = a;
    a = b;
    b = swap;
    __syncthreads();
    if (tid == 0) {
      addAtGpu(arrived, 1);
      while (loadAcquire(arrived) < (round + 1) * blocks) {
      }
    }
    __syncthreads();
  }
}
