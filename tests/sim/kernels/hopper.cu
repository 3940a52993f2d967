//===- hopper.cu - Products by TMA and wgmma, for the simulator -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// C[m][n] = sum over k of A[m][k] * B[n][k], s8 to s32 or e4m3 to f32, and for
// each row of C the largest absolute value, with the means of Hopper: tensor
// copies with the 128-byte swizzle into a ring of stages guarded by mbarriers;
// one producer thread and two consumer warpgroups; clusters of two blocks along
// N, each of which fetches half of A's tile for both; C goes out through shared
// memory and a tensor store; the row maxima of both blocks meet in distributed
// shared memory.
//
// Rows of A and B are K bytes; all extents are arbitrary, strides as tensor
// maps want them.

// Outside the namespace, whose mangled name changes from run to run.
extern __shared__ __align__(1024) unsigned char hopperShared[];

namespace {

// Enumerators: variables would have names that change, too.
enum : int {
  tileM = 128,
  tileN = 64,
  tileK = 128,
  stages = 3,
  threads = 384,
  bytesA = tileM * tileK,
  bytesB = tileN * tileK,
  // Shared memory: stages of A, of B, C, row maxima, barriers.
  offsetB = stages * bytesA,
  offsetC = offsetB + stages * bytesB,
  offsetMaxima = offsetC + tileM * tileN * 4,
  offsetFull = offsetMaxima + tileM * 4,
  offsetEmpty = offsetFull + stages * 8,
};

struct alignas(64) TensorMap {
  unsigned long long opaque[16];
};

//===----------------------------------------------------------------------===//
// Instructions
//===----------------------------------------------------------------------===//

__device__ unsigned sharedAddress(const void *p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}
__device__ unsigned clusterRank() {
  unsigned rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ unsigned inBlock(unsigned address, unsigned rank) {
  unsigned mapped;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
               : "=r"(mapped)
               : "r"(address), "r"(rank));
  return mapped;
}
__device__ void clusterSync() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
__device__ void initBarrier(unsigned barrier, unsigned count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier),
               "r"(count)
               : "memory");
}
__device__ void expectBytes(unsigned barrier, unsigned bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier),
      "r"(bytes)
      : "memory");
}
__device__ void arriveAt(unsigned barrier) {
  asm volatile(
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(
          barrier)
      : "memory");
}
__device__ void waitFor(unsigned barrier, unsigned parity) {
  unsigned done;
  do {
    asm volatile("{\n.reg .pred p;\n"
                 "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, "
                 "[%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
  } while (!done);
}
__device__ void loadBox(unsigned to, const TensorMap *map, int x, int y,
                        unsigned barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::"
               "complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(to),
               "l"(map), "r"(x), "r"(y), "r"(barrier)
               : "memory");
}
__device__ void loadBoxForBoth(unsigned to, const TensorMap *map, int x, int y,
                               unsigned barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::"
               "complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}], "
               "[%4], %5;" ::"r"(to),
               "l"(map), "r"(x), "r"(y), "r"(barrier),
               "h"(static_cast<unsigned short>(3))
               : "memory");
}
__device__ void storeBox(const TensorMap *map, int x, int y, unsigned from) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group "
               "[%0, {%1, %2}], [%3];" ::"l"(map),
               "r"(x), "r"(y), "r"(from)
               : "memory");
}
__device__ unsigned loadFromBlock(unsigned address) {
  unsigned value;
  asm volatile("ld.shared::cluster.u32 %0, [%1];"
               : "=r"(value)
               : "r"(address)
               : "memory");
  return value;
}

/// A matrix of rows of 128 swizzled bytes, eight rows every 1024.
__device__ unsigned long long descriptorOf(unsigned address) {
  return static_cast<unsigned long long>((address & 0x3ffff) >> 4) |
         static_cast<unsigned long long>(1024 >> 4) << 32 |
         static_cast<unsigned long long>(1) << 62;
}

__device__ void wgmmaS8(int (&d)[32], unsigned long long a,
                        unsigned long long b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k32.s32.s8.s8 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "
      "%32, %33, p;\n}"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]), "+r"(d[4]), "+r"(d[5]),
        "+r"(d[6]), "+r"(d[7]), "+r"(d[8]), "+r"(d[9]), "+r"(d[10]),
        "+r"(d[11]), "+r"(d[12]), "+r"(d[13]), "+r"(d[14]), "+r"(d[15]),
        "+r"(d[16]), "+r"(d[17]), "+r"(d[18]), "+r"(d[19]), "+r"(d[20]),
        "+r"(d[21]), "+r"(d[22]), "+r"(d[23]), "+r"(d[24]), "+r"(d[25]),
        "+r"(d[26]), "+r"(d[27]), "+r"(d[28]), "+r"(d[29]), "+r"(d[30]),
        "+r"(d[31])
      : "l"(a), "l"(b), "r"(accumulate)
      : "memory");
}
__device__ void wgmmaE4M3(float (&d)[32], unsigned long long a,
                          unsigned long long b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "
      "%32, %33, p, 1, 1;\n}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),
        "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]),
        "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
        "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
        "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]),
        "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]),
        "+f"(d[31])
      : "l"(a), "l"(b), "r"(accumulate)
      : "memory");
}

struct Int8 {
  using Acc = int;
  __device__ static void multiply(int (&d)[32], unsigned long long a,
                                  unsigned long long b, int accumulate) {
    wgmmaS8(d, a, b, accumulate);
  }
  __device__ static unsigned magnitude(int x) {
    return static_cast<unsigned>(x < 0 ? -x : x);
  }
  /// Keeps uses of the accumulator behind the wait.
  __device__ static void pin(int &x) { asm volatile("" : "+r"(x)::"memory"); }
  __device__ static unsigned bits(int x) { return static_cast<unsigned>(x); }
};
struct Float8 {
  using Acc = float;
  __device__ static void multiply(float (&d)[32], unsigned long long a,
                                  unsigned long long b, int accumulate) {
    wgmmaE4M3(d, a, b, accumulate);
  }
  __device__ static unsigned magnitude(float x) {
    return __float_as_uint(x) & 0x7fffffffu;
  }
  __device__ static void pin(float &x) { asm volatile("" : "+f"(x)::"memory"); }
  __device__ static unsigned bits(float x) { return __float_as_uint(x); }
};

//===----------------------------------------------------------------------===//
// The two roles
//===----------------------------------------------------------------------===//

__device__ void produce(const TensorMap *mapA, const TensorMap *mapB,
                        unsigned base, unsigned rank, int m0, int n0,
                        int steps) {
  int stage = 0;
  unsigned parity = 1;
  for (int step = 0; step < steps; ++step) {
    waitFor(base + offsetEmpty + stage * 8, parity);
    unsigned full = base + offsetFull + stage * 8;
    expectBytes(full, bytesA + bytesB);
    loadBoxForBoth(base + stage * bytesA + rank * (bytesA / 2), mapA,
                   step * tileK, m0 + static_cast<int>(rank) * (tileM / 2),
                   full);
    loadBox(base + offsetB + stage * bytesB, mapB, step * tileK, n0, full);
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
}

template <typename T>
__device__ void consume(const TensorMap *mapC, unsigned char *shared, int group,
                        int m0, int n0, int steps) {
  unsigned base = sharedAddress(shared);
  bool leader = (threadIdx.x & 127) == 0;
  typename T::Acc d[32];
  int stage = 0, previous = -1;
  unsigned parity = 0;
  for (int step = 0; step < steps; ++step) {
    waitFor(base + offsetFull + stage * 8, parity);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (int part = 0; part < tileK / 32; ++part)
      T::multiply(
          d,
          descriptorOf(base + stage * bytesA + group * 64 * tileK + part * 32),
          descriptorOf(base + offsetB + stage * bytesB + part * 32),
          step > 0 || part > 0);
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    // The step before has been read: its stage is free, in both blocks.
    asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
    if (previous >= 0 && leader) {
      arriveAt(inBlock(base + offsetEmpty + previous * 8, 0));
      arriveAt(inBlock(base + offsetEmpty + previous * 8, 1));
    }
    previous = stage;
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#pragma unroll
  for (int i = 0; i < 32; ++i)
    T::pin(d[i]);

  // To shared memory: 32 columns make a box of swizzled rows of 128 bytes.
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5 & 3;
  unsigned char *tile = shared + offsetC + group * 64 * tileN * 4;
  unsigned *maxima = reinterpret_cast<unsigned *>(shared + offsetMaxima);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    int row = warp * 16 + half * 8 + (lane >> 2);
    unsigned largest = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        typename T::Acc value = d[j * 4 + half * 2 + i];
        int column = j * 8 + (lane & 3) * 2 + i;
        int chunk = (column & 31) >> 2;
        *reinterpret_cast<unsigned *>(tile + (column >> 5) * 64 * 128 +
                                      row * 128 + ((chunk ^ (row & 7)) << 4) +
                                      (column & 3) * 4) = T::bits(value);
        unsigned magnitude = T::magnitude(value);
        largest = magnitude > largest ? magnitude : largest;
      }
#pragma unroll
    for (int offset = 1; offset < 4; offset *= 2) {
      unsigned other = __shfl_xor_sync(0xffffffffu, largest, offset);
      largest = other > largest ? other : largest;
    }
    if ((lane & 3) == 0)
      maxima[group * 64 + row] = largest;
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
  if (leader) {
    unsigned from = base + offsetC + group * 64 * tileN * 4;
    storeBox(mapC, n0, m0 + group * 64, from);
    storeBox(mapC, n0 + 32, m0 + group * 64, from + 64 * 128);
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
    asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
  }
}

template <typename T>
__device__ void gemm(const TensorMap *mapA, const TensorMap *mapB,
                     const TensorMap *mapC, unsigned *rowMaxima, int m, int k) {
  unsigned char *shared = hopperShared;
  unsigned base = sharedAddress(shared);
  unsigned rank = clusterRank();
  int m0 = blockIdx.y * tileM, n0 = blockIdx.x * tileN;
  int steps = (k + tileK - 1) / tileK;
  int group = threadIdx.x >> 7;
  if (threadIdx.x == 0) {
    for (int i = 0; i < stages; ++i) {
      initBarrier(base + offsetFull + i * 8, 1);
      initBarrier(base + offsetEmpty + i * 8, 4);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  clusterSync();
  asm volatile("griddepcontrol.wait;" ::: "memory");
  if (group == 2) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == 256)
      produce(mapA, mapB, base, rank, m0, n0, steps);
    __syncwarp();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    consume<T>(mapC, shared, group, m0, n0, steps);
  }
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");

  clusterSync();
  if (rank == 0 && threadIdx.x < tileM) {
    unsigned at = base + offsetMaxima + threadIdx.x * 4;
    unsigned own = loadFromBlock(inBlock(at, 0));
    unsigned peer = loadFromBlock(inBlock(at, 1));
    if (m0 + static_cast<int>(threadIdx.x) < m)
      atomicMax(&rowMaxima[m0 + threadIdx.x], own > peer ? own : peer);
  }
  // The other block's shared memory is read above: it must not exit before.
  clusterSync();
}

} // namespace

extern "C" __global__ void __cluster_dims__(2, 1, 1)
    __launch_bounds__(threads, 1)
        hopper_s8(const __grid_constant__ TensorMap mapA,
                  const __grid_constant__ TensorMap mapB,
                  const __grid_constant__ TensorMap mapC, unsigned *rowMaxima,
                  int m, int k) {
  gemm<Int8>(&mapA, &mapB, &mapC, rowMaxima, m, k);
}
extern "C" __global__ void __cluster_dims__(2, 1, 1)
    __launch_bounds__(threads, 1)
        hopper_e4m3(const __grid_constant__ TensorMap mapA,
                    const __grid_constant__ TensorMap mapB,
                    const __grid_constant__ TensorMap mapC, unsigned *rowMaxima,
                    int m, int k) {
  gemm<Float8>(&mapA, &mapB, &mapC, rowMaxima, m, k);
}
