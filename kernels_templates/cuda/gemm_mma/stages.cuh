//===- stages.cuh - What follows a product in its kernel -------*- CUDA -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A kernel may go on with what its product made: reduce blocks of it to scales
// and encode it, as a kernel of the block family would that came after. What
// is saved is that kernel, and the way of the value to memory and back.
//
// Within the tile. The epilogue leaves its results where the accumulators were
// in shared memory, one element per word (`Held`): each thread rewrites only
// the words it has just read, so that nothing stands between the two but the
// program order of one thread. Then teams run over the blocks of the tile,
// numbered row by row, team t taking blocks t, t + count, ...:
//
//     TileLanes<Config, W>   W lanes, for blocks of at most 256 elements. Where
//                            blocks are 1 x W, W <= 32, a lane meets only
//                            elements that it stored itself, since it ran the
//                            epilogue of the elements whose number within the
//                            tile is its own plus a multiple of the threads:
//                            no barrier is needed at all.
//     TileThreads<Config>    all threads, for larger blocks.
//
// Blocks that reach over several tiles of a row panel (the tiles with the same
// rows) are reduced in parts. Each tile leaves one word per block and
// reduction in shared memory; the panel's tiles combine these, which is why
// only maxima and integer sums can be reduced so; then each tile goes on with
// its own elements. They meet in one of two ways.
//
// In a cluster. The tiles of a panel are one cluster and read each other's
// words from shared memory (`shareParts`). A block may not leave, nor change
// its words, before the others have read them: `clusterWait` at the end.
//
// In memory. A kernel's blocks take tiles from a queue, panel after panel
// (`PanelQueue`), so that those who hold a tile of the first unfinished panel
// never wait for a tile that nobody holds. A tile adds its words to state by
// atomics (`gatherParts`), arrives, and either waits for the panel's other
// tiles and finishes its elements, which asks that a panel's tiles be resident
// together; or puts the value to memory and leaves the rest to a later item of
// the queue, which waits for nothing but tiles that others hold already.
//
// Publication: all threads store, `__syncthreads`, one thread fences and counts;
// one thread acquires the count, `__syncthreads`, all threads load, and never
// through the non-coherent cache.
//
// State is zero when the kernel starts: word 0 counts tickets, then come the
// arrivals of every panel, then what is gathered.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CUDA_GEMM_MMA_STAGES_CUH
#define QUERN_CUDA_GEMM_MMA_STAGES_CUH

#include "common/accumulate.cuh"
#include "gemm_mma/gemm_mma.cuh"
#include "rowwise/rowwise.cuh"

namespace quern {

/// The tile of a value that stays in shared memory; `Plane` tells several
/// apart. Elements are found by their place in the whole value.
template <class Config, class Element, int Plane = 0> struct Held {
  static_assert(sizeof(Element) <= 4, "an element takes the place of a sum");
  static_assert(Plane < Config::terms || Plane < Config::held, "planes");
  s32 m0, n0;

  __device__ explicit Held(const GemmTile &tile) : m0(tile.m0), n0(tile.n0) {}
  __device__ Element &operator()(s32 m, s32 n) const {
    extern __shared__ __align__(128) u8 gemmShared[];
    u8 *plane = gemmShared + Plane * Gemm<Config>::planeBytes;
    return *reinterpret_cast<Element *>(
        plane + ((m - m0) * Gemm<Config>::pitch + (n - n0)) * 4);
  }
};

/// Lanes of a warp per block of the tile.
template <class Config, int Width> struct TileLanes : LanesTeam<Width> {
  static constexpr int count = Gemm<Config>::threads / Width;
  static __device__ int index() { return threadIdx.x / Width; }
};

/// All threads per block of the tile.
template <class Config>
struct TileThreads : ThreadsTeam<Gemm<Config>::threads> {
  static constexpr int count = 1;
  static __device__ int index() { return 0; }
};

//===----------------------------------------------------------------------===//
// Parts of reductions
//===----------------------------------------------------------------------===//

/// An f32 as a number whose unsigned order is that of maxima: NaN above all,
/// -0 below +0. No f32 gives 0, the state's beginning.
QN_DEVICE u32 orderedBits(float x) {
  const u32 bits = bitsOf(x);
  if (x != x)
    return 0xffffffffu;
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
QN_DEVICE float fromOrderedBits(u32 order) {
  if (order == 0xffffffffu)
    return floatOf(0x7fffffffu);
  return floatOf(order >> 31 ? order ^ 0x80000000u : ~order);
}

QN_DEVICE void combineInto(TakeMaxU, s32 *to, u32 x) { accumulateMax(to, x); }
QN_DEVICE void combineInto(TakeAddU, s32 *to, u32 x) { accumulateAdd(to, x); }
QN_DEVICE u32 loadCombined(const s32 *from) {
  u32 x;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];"
               : "=r"(x)
               : "l"(__cvta_generic_to_global(from))
               : "memory");
  return x;
}

/// Adds this tile's words to those of the other tiles: word i of `count` goes
/// to `to[place(i)]`, or nowhere where that is negative.
template <class Config, class Op, class Place>
QN_DEVICE void gatherParts(Op op, const u32 *part, int count, s32 *to,
                           const Place &place) {
#pragma unroll 1
  for (int i = threadIdx.x; i < count; i += Gemm<Config>::threads) {
    const s64 at = place(i);
    if (at >= 0)
      combineInto(op, to + at, part[i]);
  }
}

/// Brings back what all tiles gathered.
template <class Config, class Place>
QN_DEVICE void fetchParts(u32 *part, int count, const s32 *from,
                          const Place &place) {
#pragma unroll 1
  for (int i = threadIdx.x; i < count; i += Gemm<Config>::threads) {
    const s64 at = place(i);
    if (at >= 0)
      part[i] = loadCombined(from + at);
  }
  __syncthreads();
}

//===----------------------------------------------------------------------===//
// The queue of a persistent kernel
//===----------------------------------------------------------------------===//

/// What a ticket of the queue stands for: a tile to make or, in kernels that
/// leave the value in memory, to finish.
struct PanelItem {
  GemmTile tile;
  s32 panel;
  bool finishes;
};

template <class Config> struct PanelQueue {
  s32 *state;
  u32 tilesM, tilesN, panels;

  __device__ PanelQueue(s32 *state, s32 batches, s32 M, s32 N)
      : state(state), tilesM(ceilDiv((u32)M, (u32)Config::tileM)),
        tilesN(ceilDiv((u32)N, (u32)Config::tileN)), panels(batches * tilesM) {
  }

  /// The next ticket, once all threads are done with the last one's shared
  /// memory.
  __device__ u32 take() const {
    __shared__ u32 ticket;
    __syncthreads();
    if (threadIdx.x == 0)
      ticket = atomicAdd(reinterpret_cast<u32 *>(state), 1u);
    __syncthreads();
    return ticket;
  }

  __device__ GemmTile tileOf(u32 panel, u32 column) const {
    return {(s32)(panel / tilesM), (s32)(panel % tilesM) * Config::tileM,
            (s32)column * Config::tileN};
  }
  /// Tickets are tiles, panel by panel.
  __device__ bool next(PanelItem &item) const {
    const u32 ticket = take();
    if (ticket >= panels * tilesN)
      return false;
    const u32 panel = ticket / tilesN;
    item = {tileOf(panel, ticket % tilesN), (s32)panel, false};
    return true;
  }
  /// A panel's tiles are made, then those of the panel before it are finished.
  __device__ bool nextOfTwo(PanelItem &item) const {
    u32 ticket = take();
    if (ticket >= 2 * panels * tilesN)
      return false;
    // The first round only makes, the last only finishes.
    ticket += ticket >= tilesN ? tilesN : 0;
    const u32 round = ticket / (2 * tilesN), within = ticket % (2 * tilesN);
    const bool finishes = within >= tilesN || round == panels;
    const u32 panel = finishes ? round - 1 : round;
    item = {tileOf(panel, within % tilesN), (s32)panel, finishes};
    return true;
  }

  __device__ s32 *counter(int meeting, s32 panel) const {
    return state + 1 + meeting * panels + panel;
  }
  /// This tile's part is in memory.
  __device__ void arrive(int meeting, s32 panel) const {
    __syncthreads();
    // Predicated, not branched around: a barrier of whole warps comes next.
    asm volatile("{\n\t.reg .pred first;\n\t"
                 "setp.eq.u32 first, %1, 0;\n\t"
                 "@first fence.acq_rel.gpu;\n\t"
                 "@first red.relaxed.gpu.global.add.u32 [%0], 1;\n\t}" ::"l"(
                     __cvta_generic_to_global(counter(meeting, panel))),
                 "r"(threadIdx.x)
                 : "memory");
  }
  /// Waits for the part of every tile of the panel.
  __device__ void await(int meeting, s32 panel) const {
    if (threadIdx.x == 0) {
      u32 arrived;
      do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                     : "=r"(arrived)
                     : "l"(__cvta_generic_to_global(counter(meeting, panel)))
                     : "memory");
      } while (arrived < tilesN);
    }
    __syncthreads();
  }
};

//===----------------------------------------------------------------------===//
// Clusters
//===----------------------------------------------------------------------===//

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// The tile of this thread block where the `Size` blocks of a cluster are the
/// tiles of a panel.
template <class Config, int Size> QN_DEVICE GemmTile clusterTile(s32 M) {
  const u32 tilesM = ceilDiv((u32)M, (u32)Config::tileM);
  const u32 panel = blockIdx.x / Size;
  return {(s32)(panel / tilesM), (s32)(panel % tilesM) * Config::tileM,
          (s32)(blockIdx.x % Size) * Config::tileN};
}

QN_DEVICE void clusterArrive() {
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
}
QN_DEVICE void clusterWait() {
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}
QN_DEVICE u32 loadOfBlock(u32 address, u32 rank) {
  u32 x;
  asm volatile("{\n\t.reg .b32 there;\n\t"
               "mapa.shared::cluster.u32 there, %1, %2;\n\t"
               "ld.shared::cluster.u32 %0, [there];\n\t}"
               : "=r"(x)
               : "r"(address), "r"(rank)
               : "memory");
  return x;
}

/// Combines each word with the same word of the cluster's other blocks; those
/// whose place is negative are nobody's.
template <class Config, int Size, class Op, class Place>
QN_DEVICE void shareParts(Op op, const u32 *part, u32 *whole, int count,
                          const Place &place) {
  const u32 rank = blockIdx.x % Size;
#pragma unroll 1
  for (int i = threadIdx.x; i < count; i += Gemm<Config>::threads) {
    if (place(i) < 0)
      continue;
    u32 x = part[i];
#pragma unroll
    for (int r = 1; r < Size; ++r)
      x = op(x, loadOfBlock(sharedAddress(part + i), (rank + r) % Size));
    whole[i] = x;
  }
}

#endif

} // namespace quern

#endif // QUERN_CUDA_GEMM_MMA_STAGES_CUH
