//===- encode_rows.cuh - Left operands that are encoded on load -*- CUDA -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A product may read values and multiply codes: what would be written by a
// quantization and read again is made where it is read, by every thread block
// for the tile of the left operand it is about to multiply. The value passes
// memory once as it is, and the codes never do.
//
// How a tile of codes is made. Config::Value is what the rows hold, f16, bf16
// or float. A tile of tileM x tileK values is cut into pieces of 16 bytes,
// numbered row by row; piece i belongs to thread i mod threads, from its way
// out of memory to its codes in shared memory, so that no barrier stands between
// its copy and its use: a thread waits for its own copies and no others.
//
//     load     copies the pieces asynchronously to a ring of tiles of values,
//              in the order of their numbers, which no bank minds
//     encode   reads them back, calls `encode(m, k, value)` for each element,
//              and stores 8 (4 of a float) codes at once where `ldmatrix` will
//              look for them: in the swizzled rows of gemm_mma.cuh
//
// There are two tiles of codes. In step kt of the product all threads pass one
// barrier, after which tile kt of the codes is everybody's; then the threads
// encode tile kt + 1, whose values they waited for before the barrier, while
// others still multiply, and multiply tile kt. The tile encoded into is the one
// multiplied in step kt - 1, which the barrier has ended. Values of tile kt + 1
// travel in one commit group with tile kt of the right operand.
//
// Rows beyond M and elements beyond K have the code zero, and no value: nothing
// is copied for them, and `encode` is not asked about rows beyond M; for
// elements beyond K its answer for the last one is thrown away.
//
// Scales. `encode` finds them in shared memory (`TileValues`), where a stage run
// before the product left them for the rows of the tile: the reductions it
// needs are done by then, in another kernel's epilogue (state that maxima were
// gathered in) or by this thread block, in a pass of its own over its rows
// (`reducePieces`: as many bytes at once as rows are aligned to).
//
// What it costs. Every tile of a row panel encodes the panel's values again, so
// this is for products of few columns; and the ring of values takes the shared
// memory of a second block.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_CUDA_GEMM_MMA_ENCODE_ROWS_CUH
#define QUERN_CUDA_GEMM_MMA_ENCODE_ROWS_CUH

#include "gemm_mma/gemm_mma.cuh"
#include "gemm_mma/stages.cuh"

namespace quern {

/// Scalars that belong to blocks of this tile's rows: a window into what all
/// tiles have, which begins at (first, begin) and is `Columns` wide.
template <class Element, int Columns> struct TileValues {
  Element *data;
  s32 first, begin;

  __device__ Element &operator()(s32 i, s32 j) const {
    return data[(i - first) * Columns + (j - begin)];
  }
};

/// Some bytes of a row, moved at once.
template <int Bytes> struct __align__(Bytes) Piece {
  u32 word[Bytes / 4];
};

/// Element `e` of a piece.
QN_DEVICE void takeElement(const u32 *piece, int e, f16 &value) {
  value.bits = (u16)(piece[e / 2] >> 16 * (e % 2));
}
QN_DEVICE void takeElement(const u32 *piece, int e, bf16 &value) {
  value.bits = (u16)(piece[e / 2] >> 16 * (e % 2));
}
QN_DEVICE void takeElement(const u32 *piece, int e, float &value) {
  value = floatOf(piece[e]);
}

/// Reduces `body(i, row[i])` for i in [0, n), where the order cannot matter.
/// `row` is a multiple of `Bytes` (16, 8 or 4); four pieces are on their way at
/// once.
template <class Team, int Bytes, class T, class Op, class Element, class Body>
QN_DEVICE T reducePieces(T start, Op op, int n, const Element *row,
                         const Body &body) {
  constexpr int perPiece = Bytes / (int)sizeof(Element);
  const int whole = n / perPiece * perPiece;
  T x = start;
#pragma unroll 4
  for (int i = Team::rank() * perPiece; i < whole; i += Team::size * perPiece) {
    const Piece<Bytes> piece = *reinterpret_cast<const Piece<Bytes> *>(row + i);
#pragma unroll
    for (int e = 0; e < perPiece; ++e) {
      Element element;
      takeElement(piece.word, e, element);
      x = op(x, body(i + e, element));
    }
  }
  for (int i = whole + Team::rank(); i < n; i += Team::size)
    x = op(x, body(i, row[i]));
  return Team::combine(x, op);
}

/// As the functions of rowwise.cuh.
template <class Team, int Bytes, class Element, class Body>
QN_DEVICE s32 reduceUMaxOf(int n, const Element *row, const Body &body) {
  return (s32)reducePieces<Team, Bytes>(
      0u, TakeMaxU(), n, row,
      [&](int i, Element x) { return (u32)body(i, x); });
}
template <class Team, int Bytes, class Element, class Body>
QN_DEVICE float reduceMaximumFOf(int n, const Element *row, const Body &body) {
  return reducePieces<Team, Bytes>(floatOf(0xff800000u), TakeMaxF(), n, row,
                                   body);
}
template <class Team, int Bytes, class Element, class Body>
QN_DEVICE s32 reduceAddIOf(int n, const Element *row, const Body &body) {
  return (s32)reducePieces<Team, Bytes>(
      0u, TakeAddU(), n, row,
      [&](int i, Element x) { return (u32)body(i, x); });
}

template <class Config> struct EncodedRows {
  using G = Gemm<Config>;
  using Value = typename Config::Value;
  static constexpr int width = sizeof(Value), perPiece = 16 / width;
  static constexpr int perRow = Config::tileK / perPiece;
  static constexpr int pieces = Config::tileM * perRow;
  static constexpr int turns = (pieces + G::threads - 1) / G::threads;
  static_assert(width == 2 || width == 4, "values of 16 or 32 bits");

  /// Starts the copy of the tile of values that begins at (m0, k0).
  static __device__ __forceinline__ void load(u32 to,
                                              const GemmRows<Value> &from,
                                              s32 m0, s32 M, s32 k0, s32 K,
                                              u32 thread) {
    constexpr int copy = Config::lhsCopy == 0 ? 4 : Config::lhsCopy;
#pragma unroll
    for (int u = 0; u < turns; ++u) {
      const int i = u * G::threads + (int)thread;
      if (pieces % G::threads != 0 && i >= pieces)
        break;
      const s32 m = m0 + i / perRow, k = k0 + i % perRow * perPiece;
      const bool any = m < M && k < K;
      const s32 bytes = any ? smaller((K - k) * width, 16) : 0;
      const Value *src = any ? from.data + m * from.stride + k : from.data;
#pragma unroll
      for (int b = 0; b < 16; b += copy) {
        const u32 dst = to + i * 16 + b;
        const s32 valid = smaller(larger(bytes - b, 0), copy);
        if constexpr (Config::lhsCopy != 0) {
          copyAsync<copy>(dst, valid ? src + b / width : from.data,
                          (u32)valid);
        } else {
          u32 word = 0;
#pragma unroll
          for (int e = 0; e < 4 / width; ++e)
            if (e * width < valid)
              word |= storedBits(src[b / width + e]) << (8 * width * e);
          storeShared(dst, word);
        }
      }
    }
  }

  /// Makes the codes of this thread's pieces. Its copies have ended.
  template <class Encode>
  static __device__ __forceinline__ void encode(u32 from, u32 to,
                                                const Encode &code, s32 m0,
                                                s32 M, s32 k0, s32 K,
                                                u32 thread) {
    // Unrolled it would be longer, not faster: a piece is work enough.
#pragma unroll 1
    for (int u = 0; u < turns; ++u) {
      const int i = u * G::threads + (int)thread;
      if (pieces % G::threads != 0 && i >= pieces)
        break;
      const int r = i / perRow, column = i % perRow * perPiece;
      const s32 m = m0 + r, k = k0 + column;
      u32 words[perPiece / 4] = {};
      if (m < M && k < K) {
        u32 piece[4];
        loadShared4(piece, from + i * 16);
#pragma unroll
        for (int e = 0; e < perPiece; ++e) {
          Value value;
          takeElement(piece, e, value);
          const u32 bits = storedBits(code(m, smaller(k + e, K - 1), value));
          words[e / 4] |= (k + e < K ? bits : 0u) << (8 * (e % 4));
        }
      }
      storeShared(to + swizzle<G::rowBytes, G::leftSlot>(r, column), words);
    }
  }
};

} // namespace quern

#endif // QUERN_CUDA_GEMM_MMA_ENCODE_ROWS_CUH
