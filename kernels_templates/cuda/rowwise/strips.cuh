//===- strips.cuh - Several stages of blocks, strip by strip --*- CUDA -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A kernel of several stages whose blocks lie within strips, such as a norm of
// rows and a quantization of their groups: a thread block of 256 threads, or a
// warp where strips are short, takes a strip through all stages. What they hand
// each other is in shared memory (`HeldStrip`), whether it is in memory besides
// or not. Within a strip, teams take the blocks of a stage in turn, team t the
// blocks t, t + count, ...:
//
//     StripLanes<Threads, W>   W lanes, of the strip's 32 or 256 threads; for
//                              blocks of at most 256 elements
//     StripThreads             all 256
//
// Between two stages the strip's threads meet.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CUDA_ROWWISE_STRIPS_CUH
#define QUERN_CUDA_ROWWISE_STRIPS_CUH

#include "rowwise/rowwise.cuh"

namespace quern {

/// Elements of a value's strip, found by their place in the whole value; the
/// strip begins at row m0 and column n0.
template <class Element, int Pitch> struct HeldStrip {
  Element *first;
  s32 m0, n0;

  __device__ Element &operator()(s32 m, s32 n) const {
    return first[(m - m0) * Pitch + (n - n0)];
  }
};

/// Neighbouring lanes per block of a strip.
template <int Threads, int Width> struct StripLanes : LanesTeam<Width> {
  static_assert(Width <= Threads, "a team is a part of the strip's threads");
  static constexpr int count = Threads / Width;
  static __device__ int index() { return threadIdx.x % Threads / Width; }
};

/// A thread block per block of a strip.
struct StripThreads : ThreadsTeam<256> {
  static constexpr int count = 1;
  static __device__ int index() { return 0; }
};

} // namespace quern

#endif // QUERN_CUDA_ROWWISE_STRIPS_CUH
