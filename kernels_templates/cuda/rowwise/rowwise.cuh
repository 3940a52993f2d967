//===- rowwise.cuh - Independent blocks of reductions and maps -*- CUDA -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The block family: a kernel is a list of stages run for every point of a
// domain, each a reduction of a box of elements to one number or a map over
// a box. A *team* runs one point:
//
//     BlockTeam    256 threads, a thread block. For boxes of any size.
//     WarpTeam     32 threads, eight teams to a thread block. For boxes of at
//                  most 256 elements, such as one quantization group.
//
// All threads of a team call every stage together and get the same result.
// Elements are numbered in row-major order within the box; `body(i)` computes
// element i and is called once for each i in [0, n). A stage that reads what
// an earlier one stored needs `Team::sync()` between them. Where a product runs
// such stages over its tile (gemm_mma/stages.cuh) teams are as many lanes, or
// threads, as suit its blocks.
//
// The f32 sum has one written order (docs/numerics.md): element i goes to
// partial i mod 256, each partial ascending from +0, then p[t] += p[t + 128],
// p[t + 64], ... p[t + 1]. In a block thread t owns partial t; in a warp lane l
// owns partials l, l + 32, ... of which a short box leaves the last at +0, and
// adding +0 to a partial (never -0) changes nothing. The last five steps are
// butterfly shuffles: both partners add the same two numbers, so that every
// lane ends with p[0]. Fewer than 32 lanes leave out the steps that would add
// nothing but +0.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CUDA_ROWWISE_ROWWISE_CUH
#define QUERN_CUDA_ROWWISE_ROWWISE_CUH

#include "common/math.cuh"
#include "common/types.cuh"

namespace quern {

struct TakeMaxU {
  __device__ u32 operator()(u32 a, u32 b) const { return larger(a, b); }
};
struct TakeMaxF {
  __device__ float operator()(float a, float b) const {
    return strictMax(a, b);
  }
};
struct TakeAddU {
  __device__ u32 operator()(u32 a, u32 b) const { return a + b; }
};
struct TakeAddF {
  __device__ float operator()(float a, float b) const { return a + b; }
};

QN_DEVICE u32 exchange(u32 members, u32 x, int distance) {
  return __shfl_xor_sync(members, x, distance);
}
QN_DEVICE float exchange(u32 members, float x, int distance) {
  return floatOf(exchange(members, bitsOf(x), distance));
}

/// Combines the values of `Width` neighbouring lanes, which are `members`,
/// pairwise at distances Width / 2, ... 1.
template <int Width, class T, class Op>
QN_DEVICE T combineLanes(u32 members, T x, Op op) {
#pragma unroll
  for (int distance = Width / 2; distance > 0; distance /= 2)
    x = op(x, exchange(members, x, distance));
  return x;
}
/// The same for a whole warp.
template <class T, class Op> QN_DEVICE T combineLanes(T x, Op op) {
  return combineLanes<32>(0xffffffffu, x, op);
}

/// The threads of a block of 128 or 256.
template <int Threads> struct ThreadsTeam {
  static constexpr int size = Threads;
  static_assert(Threads == 128 || Threads == 256, "who owns which partials");
  static __device__ int rank() { return threadIdx.x; }
  static __device__ void sync() { __syncthreads(); }

  /// Combines one value per thread where the order cannot matter.
  template <class T, class Op> static __device__ T combine(T x, Op op) {
    __shared__ T ofWarp[size / 32];
    x = combineLanes(x, op);
    sync(); // Nobody still reads what an earlier reduction left here.
    if (threadIdx.x % 32 == 0)
      ofWarp[threadIdx.x / 32] = x;
    sync();
    x = ofWarp[0];
#pragma unroll
    for (int w = 1; w < size / 32; ++w)
      x = op(x, ofWarp[w]);
    return x;
  }

  /// Sums the 256 partials, thread t holding partial t or, of 128 threads, the
  /// sum of t and t + 128.
  static __device__ float combinePartials(float x) {
    __shared__ float partial[size];
    __shared__ float total;
    const int t = threadIdx.x;
    sync();
    partial[t] = x;
    sync();
    if constexpr (size == 256) {
      if (t < 128)
        partial[t] += partial[t + 128];
      sync();
    }
    if (t < 32) {
      const float even = partial[t] + partial[t + 64];
      const float odd = partial[t + 32] + partial[t + 96];
      x = combineLanes(even + odd, TakeAddF());
      if (t == 0)
        total = x;
    }
    sync();
    return total;
  }
};

/// A thread block per point.
struct BlockTeam : ThreadsTeam<256> {
  static __device__ u32 index() { return blockIdx.x; }
};

/// `Width` neighbouring lanes of a warp.
template <int Width> struct LanesTeam {
  static constexpr int size = Width;
  static_assert(Width <= 32 && 32 % Width == 0, "a part of a warp");
  static __device__ int rank() { return threadIdx.x % Width; }
  static __device__ u32 members() {
    return Width == 32 ? 0xffffffffu
                       : ((1u << Width % 32) - 1u)
                             << threadIdx.x % 32 / Width * Width;
  }
  static __device__ void sync() { __syncwarp(members()); }

  template <class T, class Op> static __device__ T combine(T x, Op op) {
    return combineLanes<Width>(members(), x, op);
  }
};

/// A warp per point.
struct WarpTeam : LanesTeam<32> {
  static constexpr int perBlock = 8;
  static __device__ u32 index() {
    return blockIdx.x * perBlock + threadIdx.x / 32;
  }
};

template <class Team, class T, class Op, class Index, class Body>
QN_DEVICE T reduce(T start, Op op, Index n, const Body &body) {
  T x = start;
  for (Index i = Team::rank(); i < n; i += Team::size)
    x = op(x, body(i));
  return Team::combine(x, op);
}

/// The unsigned maximum, from 0: absolute maxima as bits, where NaN wins.
template <class Team, class Index, class Body>
QN_DEVICE s32 reduceUMax(Index n, const Body &body) {
  return (s32)reduce<Team>(0u, TakeMaxU(), n,
                           [&](Index i) { return (u32)body(i); });
}

/// The f32 maximum, from -inf; NaN wins.
template <class Team, class Index, class Body>
QN_DEVICE float reduceMaximumF(Index n, const Body &body) {
  return reduce<Team>(floatOf(0xff800000u), TakeMaxF(), n, body);
}

/// The wrapping s32 sum.
template <class Team, class Index, class Body>
QN_DEVICE s32 reduceAddI(Index n, const Body &body) {
  return (s32)reduce<Team>(0u, TakeAddU(), n,
                           [&](Index i) { return (u32)body(i); });
}

/// The f32 sum in its written order. `Most` is the largest box a team of lanes
/// may meet here: 256 at most, or as many as its lanes where these are fewer
/// than 32. Blocks of threads take any.
template <class Team, int Most, class Index, class Body>
QN_DEVICE float reduceAddF(Index n, const Body &body) {
  if constexpr (Team::size == 256) {
    float x = 0.0f;
    for (Index i = Team::rank(); i < n; i += 256)
      x += body(i);
    return Team::combinePartials(x);
  } else if constexpr (Team::size == 128) {
    float low = 0.0f, high = 0.0f;
    for (Index i = Team::rank(); i < n; i += 256) {
      low += body(i);
      if (n - i > 128)
        high += body(i + 128);
    }
    return Team::combinePartials(low + high);
  } else {
    static_assert(Most <= (Team::size == 32 ? 256 : Team::size),
                  "one element per partial");
    constexpr int slots = Most <= 32 ? 1 : Most <= 64 ? 2 : Most <= 128 ? 4 : 8;
    float p[slots];
#pragma unroll
    for (int j = 0; j < slots; ++j) {
      const Index i = j * 32 + Team::rank();
      p[j] = 0.0f;
      if (i < n)
        p[j] += body(i);
    }
#pragma unroll
    for (int distance = slots / 2; distance > 0; distance /= 2)
#pragma unroll
      for (int j = 0; j < distance; ++j)
        p[j] += p[j + distance];
    return Team::combine(p[0], TakeAddF());
  }
}

/// Runs `body(i)` for every element of a box.
template <class Team, class Index, class Body>
QN_DEVICE void forEach(Index n, const Body &body) {
  for (Index i = Team::rank(); i < n; i += Team::size)
    body(i);
}

/// This thread's element where a kernel is one map over everything, a thread
/// per element and 256 threads to a block.
QN_DEVICE s64 elementIndex() { return (s64)blockIdx.x * 256 + threadIdx.x; }

} // namespace quern

#endif // QUERN_CUDA_ROWWISE_ROWWISE_CUH
