//===- gemm.cu - Products on mma.sync, for the simulator ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// C[m][n] = sum over k of A[m][k] * B[n][k], with the means of Ampere: cp.async
// in a ring of stages, ldmatrix, mma.sync. Rows of A and B are K elements, K a
// multiple of 16 bytes; M and N are arbitrary. Element types are chosen by
// entry point.

namespace {

constexpr int tileM = 64, tileN = 64, rowBytes = 64, stages = 3;
constexpr int threads = 128;
constexpr int stageBytes = (tileM + tileN) * rowBytes;

__device__ unsigned sharedAddress(const void *p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// Chunks of 16 bytes are permuted within a row so that the eight rows an
// ldmatrix reads lie in different banks.
__device__ int swizzled(int row, int chunk) {
  return row * rowBytes + ((chunk ^ (row >> 1 & 3)) * 16);
}

__device__ void copyAsync(unsigned to, const void *from, bool inside) {
  int bytes = inside ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to),
               "l"(from), "r"(bytes));
}

__device__ void loadMatrix4(unsigned address, unsigned *r) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}
__device__ void loadMatrix2(unsigned address, unsigned *r) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(address));
}

struct Int8 {
  using Acc = int;
  __device__ static void mma(int *c, const unsigned *a, const unsigned *b) {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, "
        "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
};
struct Half {
  using Acc = float;
  __device__ static void mma(float *c, const unsigned *a, const unsigned *b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, "
        "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
};
struct Brain {
  using Acc = float;
  __device__ static void mma(float *c, const unsigned *a, const unsigned *b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
        "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
};

template <typename T>
__device__ void gemm(const char *a, const char *b, typename T::Acc *c, int m,
                     int n, int kBytes) {
  extern __shared__ __align__(128) char shared[];
  int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5;
  int row0 = blockIdx.y * tileM, column0 = blockIdx.x * tileN;

  auto fetch = [&](int stage, int step) {
    char *base = shared + stage * stageBytes;
#pragma unroll
    for (int u = 0; u < (tileM + tileN) * 4 / threads; ++u) {
      int chunk = u * threads + tid, row = chunk >> 2, part = chunk & 3;
      bool ofA = row < tileM;
      int global = ofA ? row0 + row : column0 + row - tileM;
      int offset = step * rowBytes + part * 16;
      bool inside = global < (ofA ? m : n) && offset < kBytes;
      const char *from = (ofA ? a : b) + (long long)global * kBytes + offset;
      copyAsync(sharedAddress(base + swizzled(row, part)), inside ? from : a,
                inside);
    }
  };
  auto commit = [] { asm volatile("cp.async.commit_group;"); };

  int steps = (kBytes + rowBytes - 1) / rowBytes;
#pragma unroll
  for (int s = 0; s < stages - 1; ++s) {
    if (s < steps)
      fetch(s, s);
    commit();
  }
  typename T::Acc acc[8][4] = {};
  for (int step = 0; step < steps; ++step) {
    asm volatile("cp.async.wait_group 1;");
    __syncthreads();
    if (step + stages - 1 < steps)
      fetch((step + stages - 1) % stages, step + stages - 1);
    commit();
    char *tileA = shared + step % stages * stageBytes;
    char *tileB = tileA + tileM * rowBytes;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      unsigned fa[4];
      int row = warp * 16 + (lane & 15);
      loadMatrix4(sharedAddress(tileA + swizzled(row, half * 2 + (lane >> 4))),
                  fa);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        unsigned fb[2];
        int column = j * 8 + (lane & 7);
        loadMatrix2(sharedAddress(tileB + swizzled(column, half * 2 +
                                                               (lane >> 3 & 1))),
                    fb);
        T::mma(acc[j], fa, fb);
      }
    }
  }
  asm volatile("cp.async.wait_all;");
  __syncthreads();
  // Through shared memory, so that rows are stored whole.
  typename T::Acc *out = reinterpret_cast<typename T::Acc *>(shared);
#pragma unroll
  for (int j = 0; j < 8; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      int row = warp * 16 + (lane >> 2) + (i >> 1) * 8;
      int column = j * 8 + (lane & 3) * 2 + (i & 1);
      out[row * (tileN + 4) + column] = acc[j][i];
    }
  __syncthreads();
#pragma unroll 4
  for (int u = 0; u < tileM * tileN / threads; ++u) {
    int index = u * threads + tid, row = index / tileN, column = index % tileN;
    if (row0 + row < m && column0 + column < n)
      c[(long long)(row0 + row) * n + column0 + column] =
          out[row * (tileN + 4) + column];
  }
}

} // namespace

extern "C" __global__ void __launch_bounds__(threads)
    gemm_s8(const char *a, const char *b, int *c, int m, int n, int k) {
  gemm<Int8>(a, b, c, m, n, k);
}
extern "C" __global__ void __launch_bounds__(threads)
    gemm_f16(const char *a, const char *b, float *c, int m, int n, int k) {
  gemm<Half>(a, b, c, m, n, k * 2);
}
extern "C" __global__ void __launch_bounds__(threads)
    gemm_bf16(const char *a, const char *b, float *c, int m, int n, int k) {
  gemm<Brain>(a, b, c, m, n, k * 2);
}
