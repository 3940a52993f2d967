//===- features.cu - One kernel for each feature of the simulator ---------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What kernels beside GEMMs use: row reductions, shuffles, votes, atomics,
// tables, local memory, device functions, divergence, grid-wide barriers.

namespace {

__constant__ int table[8] = {3, 1, 4, 1, 5, 9, 2, 6};
__device__ float weights[4] = {0.5f, 0.25f, 2.0f, -1.0f};

struct Pair {
  int first;
  float second;
};

__device__ __noinline__ Pair combine(int x, float y) {
  Pair p;
  p.first = x * table[x & 7];
  p.second = y * weights[x & 3];
  return p;
}

} // namespace

// One block for each row: absolute maximum, scale, rounded int8 codes.
extern "C" __global__ void __launch_bounds__(128)
    quantize_rows(const float *x, signed char *codes, float *scales, int n) {
  __shared__ float partial[4];
  const float *row = x + (long long)blockIdx.x * n;
  float most = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    most = fmaxf(most, fabsf(row[i]));
  for (int offset = 16; offset; offset >>= 1)
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, offset));
  if ((threadIdx.x & 31) == 0)
    partial[threadIdx.x >> 5] = most;
  __syncthreads();
  most = fmaxf(fmaxf(partial[0], partial[1]), fmaxf(partial[2], partial[3]));
  float scale = fmaxf(most / 127.0f, 1.17549435e-38f);
  if (threadIdx.x == 0)
    scales[blockIdx.x] = scale;
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    int code = __float2int_rn(row[i] / scale);
    code = code > 127 ? 127 : code < -127 ? -127 : code;
    codes[(long long)blockIdx.x * n + i] = (signed char)code;
  }
}

// Device functions, constant and global tables, a local array indexed at run
// time, and a loop whose trip count differs between threads.
extern "C" __global__ void mixed(const int *in, int *out, float *fout, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n)
    return;
  int local[16];
  for (int k = 0; k < 16; ++k)
    local[k] = in[i] + k * k;
  int sum = 0;
  for (int k = 0; k < (in[i] & 31); ++k)
    sum += local[(k * 7 + i) & 15];
  Pair p = combine(sum & 1023, (float)i);
  out[i] = p.first + sum;
  fout[i] = p.second;
}

extern "C" __global__ void warp_functions(const int *in, int *out) {
  int lane = threadIdx.x & 31, x = in[threadIdx.x];
  unsigned all = 0xffffffffu;
  int *o = out + threadIdx.x * 12;
  o[0] = __shfl_sync(all, x, (lane + 5) & 31);
  o[1] = __shfl_up_sync(all, x, 3);
  o[2] = __shfl_down_sync(all, x, 7, 16);
  o[3] = __shfl_xor_sync(all, x, 9);
  o[4] = (int)__ballot_sync(all, x & 1);
  o[5] = __any_sync(all, x == 17) * 2 + __all_sync(all, x < 1000);
  o[6] = (int)__match_any_sync(all, x & 3);
  o[7] = __reduce_add_sync(all, x);
  o[8] = __reduce_max_sync(all, x);
  o[9] = (int)__reduce_xor_sync(all, (unsigned)x);
  if (lane < 11)
    o[10] = (int)__activemask();
  else
    o[10] = __shfl_sync(0xfffff800u, x, 20);
  __syncwarp();
  o[11] = __popc(__ballot_sync(all, lane > 3));
}

extern "C" __global__ void atomics(int *global, float *fglobal, int *out) {
  __shared__ int counters[4];
  int tid = threadIdx.x;
  if (tid < 4)
    counters[tid] = 0;
  __syncthreads();
  atomicAdd(&counters[tid & 3], tid);
  atomicMax(&counters[2], 5000 + tid);
  __syncthreads();
  if (tid < 4)
    out[blockIdx.x * 4 + tid] = counters[tid];
  atomicAdd(&global[0], 1);
  atomicMax(&global[1], tid * 3);
  atomicMin(&global[2], -tid);
  atomicOr(&global[3], 1 << (tid & 31));
  atomicXor(&global[4], tid);
  atomicInc((unsigned *)&global[5], 9);
  int old = *static_cast<volatile int *>(&global[6]), seen;
  do {
    seen = old;
    old = atomicCAS(&global[6], seen, seen + 2);
  } while (old != seen);
  atomicAdd(fglobal, 1.0f);
  int count = __syncthreads_count(tid & 1);
  int any = __syncthreads_or(tid == 3), every = __syncthreads_and(tid < 99);
  if (tid == 0)
    out[gridDim.x * 4 + blockIdx.x] = count * 4 + (any != 0) * 2 + (every != 0);
}

// Every block adds to a sum, waits for all others, and reads the total.
extern "C" __global__ void grid_barrier(unsigned *state, int *out) {
  __shared__ int total;
  if (threadIdx.x == 0) {
    atomicAdd(&state[0], blockIdx.x + 1);
    __threadfence();
    atomicAdd(&state[1], 1);
    unsigned arrived;
    do {
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                   : "=r"(arrived)
                   : "l"(&state[1])
                   : "memory");
    } while (arrived < gridDim.x);
    total = (int)atomicAdd(&state[0], 0);
  }
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = total;
}

// Producer and consumer warps meet at named barriers.
extern "C" __global__ void named_barriers(const int *in, int *out, int rounds) {
  __shared__ int slot[32];
  int lane = threadIdx.x & 31;
  if (threadIdx.x < 32) {
    for (int r = 0; r < rounds; ++r) {
      asm volatile("bar.sync 1, 64;" ::: "memory"); // empty
      slot[lane] = in[r * 32 + lane];
      asm volatile("bar.arrive 2, 64;" ::: "memory"); // full
    }
  } else {
    for (int r = 0; r < rounds; ++r) {
      asm volatile("bar.arrive 1, 64;" ::: "memory");
      asm volatile("bar.sync 2, 64;" ::: "memory");
      out[r * 32 + lane] = slot[31 - lane] + r;
    }
  }
}

// cp.async of every size, zero fill, ldmatrix with transposition and fewer
// matrices.
extern "C" __global__ void copies(const char *in, unsigned *out) {
  __shared__ __align__(128) char tile[1024];
  int tid = threadIdx.x;
  unsigned base = (unsigned)__cvta_generic_to_shared(tile);
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(base + tid * 4),
               "l"(in + tid * 4));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(
                   base + 128 + tid * 8),
               "l"(in + 128 + tid * 8), "r"(tid & 7));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(base + 384 +
                                                                  tid * 16),
               "l"(in + 384 + tid * 16));
  asm volatile("cp.async.commit_group;\ncp.async.wait_group 0;" ::: "memory");
  __syncwarp();
  unsigned r[4];
  unsigned row = base + (tid & 7) * 16 + (tid >> 3) * 128;
  asm volatile(
      "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
      : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
      : "r"(row)
      : "memory");
  for (int i = 0; i < 4; ++i)
    out[i * 32 + tid] = r[i];
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
               : "=r"(r[0])
               : "r"(base + 128 + (tid & 7) * 16)
               : "memory");
  out[128 + tid] = r[0];
}
