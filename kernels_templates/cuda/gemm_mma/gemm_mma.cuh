//===- gemm_mma.cuh - Products on mma.sync ---------------------*- CUDA -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The contraction family for sm_80 and later: one or more products over tiles
// of rows, each element handed to an epilogue the caller supplies.
//
//     acc_t(m, n) = sum over k of lhs_t(m, k) * rhs_t(n, k)
//
// Both operands are rows of contiguous K. 8-bit integers accumulate in s32,
// f16, bf16 and 8-bit floats in f32. Of the right operand there may be two
// elements to a byte, which are widened on their way out of shared memory
// (packed_rows.cuh). M, N and K are any nonnegative numbers: what lies beyond
// them is filled with zero on the way to shared memory.
//
// How it runs. A thread block computes a tileM x tileN tile. Tiles of tileK
// elements travel through a ring of `stages` buffers in shared memory, copied
// asynchronously; each row of a tile is 16 to 128 bytes, and its 16-byte
// chunks are permuted (`swizzle`) so that neither copies nor `ldmatrix` meet a
// bank conflict. warpsM x warpsN warps each multiply their part. At the end
// the accumulators pass through shared memory once, so that the epilogue is
// one short loop in which neighbouring threads own neighbouring columns: its
// code is compiled once whatever it does, and its stores coalesce. What it
// makes may stay where the accumulators were, for stages that reduce and encode
// it (stages.cuh). Rows of the left operand may hold values that become codes
// on their way to the tile (encode_rows.cuh).
//
// A kernel names its choices in a struct derived from `GemmDefaults`; see
// there. The launch needs `Gemm<Config>::threads` threads and
// `Gemm<Config>::sharedBytes` bytes of dynamic shared memory, and
// batch * ceil(M / tileM) * ceil(N / tileN) blocks along x.
//
// Loops have constant trip counts: the compiler unrolls what is worth it and
// its time halves against open-ended copy loops.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CUDA_GEMM_MMA_GEMM_MMA_CUH
#define QUERN_CUDA_GEMM_MMA_GEMM_MMA_CUH

#include "common/packed.cuh"
#include "common/ptx.cuh"
#include "common/types.cuh"

namespace quern {

/// What a configuration may leave unsaid.
struct GemmDefaults {
  /// s8 or u8 on either side, e4m3 or e5m2 on either side, or f16 or bf16 on
  /// both. Beside s8, u8, f16 and bf16 on the left, i4x2 or u4x2 on the right.
  using Lhs = s8;
  using Rhs = s8;
  /// What rows of the left operand hold, if something else than Lhs: f16, bf16
  /// or float, which become 8-bit codes on load (encode_rows.cuh).
  using Value = void;
  static constexpr int tileM = 128, tileN = 128, tileK = 64; ///< In elements.
  static constexpr int stages = 4;
  static constexpr int warpsM = 2, warpsN = 4;
  /// Products computed side by side. Each has its own left or right operand,
  /// or all share one.
  static constexpr int terms = 1;
  static constexpr bool sharedLhs = true, sharedRhs = true;
  /// Bytes per asynchronous copy (16, 8 or 4): rows and bases must be multiples
  /// of it. 0 reads element by element and asks for nothing.
  static constexpr int lhsCopy = 16, rhsCopy = 16;
  /// Elements of K per partial sum, or 0 for one sum. A multiple of what a
  /// matrix step takes, and a multiple or a divisor of tileK.
  static constexpr int split = 0;
  /// Of codes that become f16 or bf16: numbers that each is decoded with, and
  /// the elements of K, a multiple of 32, that share them; 0: all.
  static constexpr int factors = 1, factorsEvery = 0;
  /// They are a scale of the left operand's type and perhaps a zero point, and
  /// nothing else is computed: see packed_rows.cuh.
  static constexpr bool halves = false;
  /// Something is added to each partial sum before it is scaled.
  static constexpr bool corrects = false;
  /// Values of each element that stay in shared memory when `gemm` returns
  /// (stages.cuh).
  static constexpr int held = 0;
  /// The kernel computes one tile after another.
  static constexpr bool repeats = false;
};

template <class Element> struct Accumulates {
  using Type = s32;
};
template <> struct Accumulates<f16> {
  using Type = float;
};
template <> struct Accumulates<bf16> {
  using Type = float;
};
template <> struct Accumulates<e4m3> {
  using Type = float;
};
template <> struct Accumulates<e5m2> {
  using Type = float;
};

/// The type sums have: partial sums are scaled, so their total is f32.
template <class Part, bool IsSplit> struct SumType {
  using Type = Part;
};
template <class Part> struct SumType<Part, true> {
  using Type = float;
};

/// What rows of the left operand hold.
template <class Value, class Lhs> struct RowsHold {
  using Type = Value;
  static constexpr int valueBytes = sizeof(Value);
};
template <class Lhs> struct RowsHold<void, Lhs> {
  using Type = Lhs;
  static constexpr int valueBytes = 0;
};

/// Whether two elements share a byte.
template <class Element> struct IsPacked {
  static constexpr bool value = false;
};
template <> struct IsPacked<i4x2> {
  static constexpr bool value = true;
};
template <> struct IsPacked<u4x2> {
  static constexpr bool value = true;
};

/// Values on their way to codes: see encode_rows.cuh.
template <class Config> struct EncodedRows;
/// Codes that share bytes, on their way to what is multiplied: see
/// packed_rows.cuh.
template <class Config> struct PackedRows;

/// The numbers that follow from a configuration.
template <class Config> struct Gemm {
  using Lhs = typename Config::Lhs;
  using Rhs = typename Config::Rhs;
  using Left = RowsHold<typename Config::Value, Lhs>;
  static constexpr bool encodes = Left::valueBytes != 0;
  using Part = typename Accumulates<Lhs>::Type;
  using Acc = typename SumType<Part, Config::split != 0>::Type;
  static constexpr bool packed = IsPacked<Rhs>::value;
  static_assert(packed || sizeof(Lhs) == sizeof(Rhs), "operands of one width");

  static constexpr int threads = Config::warpsM * Config::warpsN * 32;
  static constexpr int warpM = Config::tileM / Config::warpsM;
  static constexpr int warpN = Config::tileN / Config::warpsN;
  static_assert(warpM % 16 == 0 && warpN % 16 == 0, "a warp's tile");
  static_assert(threads % Config::tileN == 0, "the epilogue's columns");

  static constexpr int rowBytes = Config::tileK * (int)sizeof(Lhs);
  static_assert(rowBytes == 32 || rowBytes == 64 || rowBytes == 128,
                "rows the swizzle knows");
  /// Elements of K per matrix step: 32 bytes of the operands; where the right
  /// one is packed, its 16 bytes of a row that `ldmatrix` takes.
  static constexpr int stepK = packed ? 32 : 32 / (int)sizeof(Lhs);
  static constexpr int steps = Config::tileK / stepK; ///< Per tile.
  static_assert(Config::tileK % stepK == 0, "whole steps");
  static constexpr int rhsRowBytes = packed ? Config::tileK / 2 : rowBytes;
  /// Bytes of a left row that neighbouring lanes take at once.
  static constexpr int leftSlot = packed ? 32 * (int)sizeof(Lhs) : 16;
  static constexpr int lhsCount = Config::sharedLhs ? 1 : Config::terms;
  static constexpr int rhsCount = Config::sharedRhs ? 1 : Config::terms;
  static constexpr int lhsBytes = Config::tileM * rowBytes;
  static constexpr int rhsBytes = Config::tileN * rhsRowBytes;
  static constexpr int stageBytes =
      (encodes ? 0 : lhsCount * lhsBytes) + rhsCount * rhsBytes;
  /// Behind the ring: two tiles of codes, then a ring of tiles of values.
  static constexpr int valueBytes =
      Config::tileM * Config::tileK * Left::valueBytes;
  static constexpr int encodeBytes =
      encodes ? 2 * lhsBytes + Config::stages * valueBytes : 0;
  static_assert(!encodes || (lhsCount == 1 && sizeof(Lhs) == 1),
                "one left operand of 8-bit codes");

  /// Words per row of the epilogue's tile; 8 more keep its stores apart.
  static constexpr int pitch = Config::tileN + 8;
  static constexpr int planeBytes = Config::tileM * pitch * 4;
  static constexpr int epilogueBytes =
      (Config::terms > Config::held ? Config::terms : Config::held) *
      planeBytes;
  static constexpr int pipelineBytes =
      Config::stages * stageBytes + encodeBytes;
  static constexpr int sharedBytes =
      pipelineBytes > epilogueBytes ? pipelineBytes : epilogueBytes;

  static constexpr int splitSteps = Config::split / stepK;
  static_assert(Config::split % stepK == 0 &&
                    (splitSteps == 0 || splitSteps % steps == 0 ||
                     steps % splitSteps == 0),
                "partial sums end at a matrix step");
};

/// Where a block works: one tile of one batch element.
struct GemmTile {
  s32 batch, m0, n0;
};

/// The tile of this thread block. Tiles of one column of the grid follow each
/// other, so that blocks in flight share the right operand.
template <class Config> QN_DEVICE GemmTile gemmTile(s32 M, s32 N) {
  const u32 tilesM = ceilDiv((u32)M, (u32)Config::tileM);
  const u32 tilesN = ceilDiv((u32)N, (u32)Config::tileN);
  const u32 column = blockIdx.x / tilesM;
  return {(s32)(column / tilesN), (s32)(blockIdx.x % tilesM) * Config::tileM,
          (s32)(column % tilesN) * Config::tileN};
}

/// An operand: rows of K elements, `stride` elements apart.
template <class Element> struct GemmRows {
  const Element *data;
  s64 stride;
};

/// Byte offset of byte `b` of row `r` of a tile: the slots, of 16 bytes or what
/// else neighbouring lanes take of a row at once, of rows that would meet in the
/// same banks are permuted.
template <int RowBytes, int Slot = 16> QN_DEVICE u32 swizzle(u32 r, u32 b) {
  constexpr u32 slots = RowBytes > Slot ? RowBytes / Slot : 1;
  const u32 turn = r / (128 / RowBytes) % slots;
  return r * RowBytes + (((b / Slot) ^ turn) * Slot) + b % Slot;
}

/// This thread's number in the block. Where one tile follows another the
/// compiler must not keep what follows from it from tile to tile: the registers
/// are needed for the sums.
template <class Config> QN_DEVICE u32 gemmThread() {
  u32 thread = threadIdx.x;
  if constexpr (Config::repeats) {
    asm volatile("" : "+r"(thread));
    thread %= Gemm<Config>::threads;
  }
  return thread;
}

/// Starts the copy of `Rows` rows of a tile, of which those at or beyond
/// `rows` and elements at or beyond `K` become zero.
template <int Rows, int RowBytes, int Slot, int Copy, int Threads,
          class Element>
QN_DEVICE void gemmLoadTile(u32 tile, const GemmRows<Element> &from, s32 row0,
                            s32 rows, s32 k0, s32 K, u32 thread) {
  constexpr int piece = Copy == 0 ? 4 : Copy;
  constexpr int width = sizeof(Element);
  constexpr int perRow = RowBytes / piece;
  constexpr int pieces = Rows * perRow;
#pragma unroll
  for (int u = 0; u < (pieces + Threads - 1) / Threads; ++u) {
    const int i = u * Threads + (int)thread;
    if (pieces % Threads != 0 && i >= pieces)
      break;
    const int r = i / perRow, b = i % perRow * piece;
    const s32 k = k0 + b / width;
    const bool any = row0 + r < rows && k < K;
    const Element *src =
        any ? from.data + (row0 + r) * from.stride + k : from.data;
    const u32 dst = tile + swizzle<RowBytes, Slot>(r, b);
    const u32 valid = any ? smaller((K - k) * width, piece) : 0;
    if constexpr (Copy != 0) {
      copyAsync<Copy>(dst, src, valid);
    } else {
      u32 word = 0;
#pragma unroll
      for (int e = 0; e < 4 / width; ++e)
        if ((u32)(e * width) < valid)
          word |= storedBits(src[e]) << (8 * width * e);
      storeShared(dst, word);
    }
  }
}

/// Neighbouring sums of a fragment, stored at once.
template <class Acc> struct __align__(8) AccPair {
  Acc first, second;
};

/// Does nothing, for products in one sum, or of operands that are copied.
struct NoRescale {
  template <class... Any> __device__ void operator()(Any &&...) const {}
};

/// The products of a warp for operands that lie in shared memory as they are
/// multiplied.
template <class Config> struct PlainRows {
  using G = Gemm<Config>;
  using Left = Multiplied<typename G::Lhs>;
  using Right = Multiplied<typename G::Rhs>;
  static constexpr int T = Config::terms, fragsM = G::warpM / 16,
                       fragsN = G::warpN / 8;
  static constexpr bool unrolls = Left::parts == 1;
  struct Factors {};

  static __device__ __forceinline__ void
  multiply(typename G::Part (&part)[T][fragsM][fragsN][4], u32 lhsTile,
           u32 rhsTile, int step, int warpRow, int warpColumn, int lane) {
    u32 a[G::lhsCount][fragsM][Left::parts][4];
    u32 b[G::rhsCount][fragsN / 2][Right::parts][4];
#pragma unroll
    for (int t = 0; t < G::lhsCount; ++t)
#pragma unroll
      for (int i = 0; i < fragsM; ++i) {
        u32 words[4];
        loadMatrix4(words,
                    lhsTile + t * G::lhsBytes +
                        swizzle<G::rowBytes>(warpRow + i * 16 + lane % 16,
                                             step * 32 + lane / 16 * 16));
        Left::asLeft(words, a[t][i]);
      }
#pragma unroll
    for (int t = 0; t < G::rhsCount; ++t)
#pragma unroll
      for (int j = 0; j < fragsN / 2; ++j) {
        u32 words[4];
        loadMatrix4(words,
                    rhsTile + t * G::rhsBytes +
                        swizzle<G::rowBytes>(warpColumn + j * 16 + lane % 8 +
                                                 lane / 16 * 8,
                                             step * 32 + lane / 8 % 2 * 16));
        Right::asRight(words, b[t][j]);
      }
#pragma unroll
    for (int t = 0; t < T; ++t)
#pragma unroll
      for (int i = 0; i < fragsM; ++i)
#pragma unroll
        for (int j = 0; j < fragsN; ++j)
#pragma unroll
          for (int p = 0; p < Left::parts; ++p) {
            const u32(&left)[4] = a[Config::sharedLhs ? 0 : t][i][p];
            const u32(&right)[4] = b[Config::sharedRhs ? 0 : t][j / 2][p];
            mma(typename Left::Type(), typename Right::Type(), part[t][i][j],
                left, right[j % 2 * 2], right[j % 2 * 2 + 1]);
          }
  }
};

template <class Config, bool IsPacked> struct RowsOf {
  using Type = PlainRows<Config>;
};
template <class Config> struct RowsOf<Config, true> {
  using Type = PackedRows<Config>;
};

/// Computes the tile and calls, for every element (m, n) of it,
///
///     epilogue(m, n, inside, acc)         acc: array of `terms` sums
///
/// where, if not `inside`, the element is beyond M or N: m and n are then
/// clamped, so that loads are safe, and nothing may be stored. With
/// Config::split, `rescale(m, n, kb, factor)` fills the `terms` factors of
/// partial sum kb, and acc = fma(f32(part), factor, acc), kb ascending. With
/// Config::corrects it is `rescale(m, n, kb, factor, addend)` and the part is
/// part + addend, modulo 2^32. With Config::Value, `encode(m, k, value)` is the
/// code of a left element. Packed codes that become f16 or bf16 do so by
/// `decoding` (packed_rows.cuh).
template <class Config, class Epilogue, class Rescale = NoRescale,
          class Encode = NoRescale, class Decoding = NoRescale>
QN_DEVICE void
gemm(const GemmTile &tile, s32 M, s32 N, s32 K,
     const GemmRows<typename Gemm<Config>::Left::Type> (
         &lhs)[Gemm<Config>::lhsCount],
     const GemmRows<typename Config::Rhs> (&rhs)[Gemm<Config>::rhsCount],
     const Epilogue &epilogue, const Rescale &rescale = {},
     const Encode &encode = {}, const Decoding &decoding = {}) {
  using G = Gemm<Config>;
  using Part = typename G::Part;
  constexpr int T = Config::terms, fragsM = G::warpM / 16,
                fragsN = G::warpN / 8;
  extern __shared__ __align__(128) u8 gemmShared[];
  const u32 shared = sharedAddress(gemmShared);
  const u32 thread = gemmThread<Config>();
  const int lane = thread % 32, warp = thread / 32;
  const int warpRow = warp % Config::warpsM * G::warpM;
  const int warpColumn = warp / Config::warpsM * G::warpN;
  // A warp whose rows are all beyond M copies and waits, but multiplies not.
  const bool hasRows = tile.m0 + warpRow < M;

  auto load = [&](int kt) {
    u32 to = shared + kt % Config::stages * G::stageBytes;
    if constexpr (!G::encodes) {
#pragma unroll
      for (int i = 0; i < G::lhsCount; ++i, to += G::lhsBytes)
        gemmLoadTile<Config::tileM, G::rowBytes, G::leftSlot, Config::lhsCopy,
                     G::threads>(to, lhs[i], tile.m0, M, kt * Config::tileK, K,
                                 thread);
    }
    constexpr int perItem = G::packed ? 2 : 1;
#pragma unroll
    for (int i = 0; i < G::rhsCount; ++i, to += G::rhsBytes)
      gemmLoadTile<Config::tileN, G::rhsRowBytes, 16, Config::rhsCopy,
                   G::threads>(to, rhs[i], tile.n0, N,
                               kt * (Config::tileK / perItem),
                               ceilDiv(K, perItem), thread);
  };
  // Tiles of codes are made one step ahead of the products that read them, out
  // of values that come one step ahead of the right operand.
  const u32 codes = shared + Config::stages * G::stageBytes;
  auto valuesOf = [&](int kt) {
    return codes + 2 * G::lhsBytes + kt % Config::stages * G::valueBytes;
  };
  auto loadValues = [&](int kt) {
    if constexpr (G::encodes)
      EncodedRows<Config>::load(valuesOf(kt), lhs[0], tile.m0, M,
                                kt * Config::tileK, K, thread);
  };
  auto encodeTile = [&](int kt) {
    if constexpr (G::encodes)
      EncodedRows<Config>::encode(valuesOf(kt), codes + kt % 2 * G::lhsBytes,
                                  encode, tile.m0, M, kt * Config::tileK, K,
                                  thread);
  };

  Part part[T][fragsM][fragsN][4];
#pragma unroll
  for (int t = 0; t < T; ++t)
#pragma unroll
    for (int i = 0; i < fragsM; ++i)
#pragma unroll
      for (int j = 0; j < fragsN; ++j)
#pragma unroll
        for (int q = 0; q < 4; ++q)
          part[t][i][j][q] = 0;

  // With split accumulation, the sums that partial sums are added to.
  constexpr bool isSplit = Config::split != 0;
  float sum[isSplit ? T : 1][isSplit ? fragsM : 1][isSplit ? fragsN : 1][4];
  if constexpr (isSplit) {
#pragma unroll
    for (int t = 0; t < T; ++t)
#pragma unroll
      for (int i = 0; i < fragsM; ++i)
#pragma unroll
        for (int j = 0; j < fragsN; ++j)
#pragma unroll
          for (int q = 0; q < 4; ++q)
            sum[t][i][j][q] = 0.0f;
  }
  // Row and column of element q of fragment (i, j), within the tile.
  auto rowOf = [&](int i, int q) {
    return warpRow + i * 16 + q / 2 * 8 + lane / 4;
  };
  auto columnOf = [&](int j, int q) {
    return warpColumn + j * 8 + lane % 4 * 2 + q % 2;
  };
  auto addPart = [&](s32 kb) {
    if constexpr (isSplit) {
#pragma unroll
      for (int i = 0; i < fragsM; ++i)
#pragma unroll
        for (int j = 0; j < fragsN; ++j)
#pragma unroll
          for (int q = 0; q < 4; ++q) {
            float factor[T];
            const s32 m = smaller(tile.m0 + rowOf(i, q), M - 1);
            const s32 n = smaller(tile.n0 + columnOf(j, q), N - 1);
            if constexpr (Config::corrects) {
              s32 addend[T];
              rescale(m, n, kb, factor, addend);
#pragma unroll
              for (int t = 0; t < T; ++t)
                part[t][i][j][q] = wrapAdd(part[t][i][j][q], addend[t]);
            } else {
              rescale(m, n, kb, factor);
            }
#pragma unroll
            for (int t = 0; t < T; ++t) {
              sum[t][i][j][q] = __fmaf_rn((float)part[t][i][j][q], factor[t],
                                          sum[t][i][j][q]);
              part[t][i][j][q] = 0;
            }
          }
    }
  };

  using Rows = typename RowsOf<Config, G::packed>::Type;
  typename Rows::Factors factors;
  const int tilesK = ceilDiv(K, Config::tileK);
  if (G::encodes && tilesK > 0)
    loadValues(0);
#pragma unroll
  for (int s = 0; s < Config::stages - 1; ++s) {
    if (s < tilesK)
      load(s);
    if (G::encodes && s + 1 < tilesK)
      loadValues(s + 1);
    copyCommit();
  }
  if (G::encodes && tilesK > 0) {
    copyWait<Config::stages - 2>();
    encodeTile(0);
  }
  for (int kt = 0; kt < tilesK; ++kt) {
    // On their way while the warp waits for its tile.
    if constexpr (G::packed) {
      if (hasRows)
        Rows::fetch(factors, decoding, tile.n0 + warpColumn, N,
                    kt * Config::tileK, K, lane);
    }
    copyWait<Config::stages - 2>();
    __syncthreads();
    if (kt + Config::stages - 1 < tilesK)
      load(kt + Config::stages - 1);
    if (G::encodes && kt + Config::stages < tilesK)
      loadValues(kt + Config::stages);
    copyCommit();
    if (G::encodes && kt + 1 < tilesK)
      encodeTile(kt + 1);
    if (!hasRows)
      continue;
    const u32 ringTile = shared + kt % Config::stages * G::stageBytes;
    const u32 lhsTile =
        G::encodes ? codes + kt % 2 * G::lhsBytes : ringTile;
    const u32 rhsTile =
        ringTile + (G::encodes ? 0 : G::lhsCount * G::lhsBytes);
    // Steps that decode floats are long enough as they are.
#pragma unroll Rows::unrolls ? G::steps : 1
    for (int step = 0; step < G::steps; ++step) {
      if constexpr (G::packed)
        Rows::multiply(part, lhsTile, rhsTile, step, warpRow, warpColumn, lane,
                       factors, decoding, tile.n0, N, kt * Config::tileK, K);
      else
        Rows::multiply(part, lhsTile, rhsTile, step, warpRow, warpColumn, lane);
      if constexpr (isSplit) {
        const int done = kt * G::steps + step + 1;
        const bool last = kt == tilesK - 1 && step == G::steps - 1;
        if constexpr (G::splitSteps <= G::steps) {
          // Blocks that begin beyond K do not exist.
          const int kb = (done - 1) / G::splitSteps;
          if ((step + 1) % G::splitSteps == 0 && kb * Config::split < K)
            addPart(kb);
        } else if (step == G::steps - 1) {
          if (last || done % G::splitSteps == 0)
            addPart((done - 1) / G::splitSteps);
        }
      }
    }
  }

  // Accumulators to shared memory, over the ring: no copy may be under way and
  // no warp still reading.
  copyWait<0>();
  __syncthreads();
  using Acc = typename G::Acc;
  Acc *staged = reinterpret_cast<Acc *>(gemmShared);
#pragma unroll
  for (int t = 0; t < T; ++t)
#pragma unroll
    for (int i = 0; i < fragsM; ++i)
#pragma unroll
      for (int j = 0; j < fragsN; ++j)
#pragma unroll
        for (int q = 0; q < 4; q += 2) {
          AccPair<Acc> pair;
          if constexpr (isSplit)
            pair = {sum[t][i][j][q], sum[t][i][j][q + 1]};
          else
            pair = {part[t][i][j][q], part[t][i][j][q + 1]};
          *reinterpret_cast<AccPair<Acc> *>(
              staged + (t * Config::tileM + rowOf(i, q)) * G::pitch +
              columnOf(j, q)) = pair;
        }
  __syncthreads();

  constexpr int rowsAtOnce = G::threads / Config::tileN;
  const int column = thread % Config::tileN;
  const s32 n = smaller(tile.n0 + column, N - 1);
#pragma unroll 2
  for (int u = 0; u < Config::tileM / rowsAtOnce; ++u) {
    const int row = u * rowsAtOnce + (int)thread / Config::tileN;
    const s32 m = smaller(tile.m0 + row, M - 1);
    Acc acc[T];
#pragma unroll
    for (int t = 0; t < T; ++t)
      acc[t] = staged[(t * Config::tileM + row) * G::pitch + column];
    epilogue(m, n, tile.m0 + row < M && tile.n0 + column < N, acc);
  }
}

} // namespace quern

#endif // QUERN_CUDA_GEMM_MMA_GEMM_MMA_CUH
