//===- Blocking.h - How a product is cut into pieces ------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The one place where sizes are chosen for products on a CPU (Contract.h has
// the layouts). A choice follows from the vector width, the sizes of the
// caches and the product's own sizes, by the arithmetic below: no measurement
// is taken, and for one description of a target it is always the same. Bits
// never depend on it: every sum runs over K in one order. Where a machine is
// known to do better with other sizes, a record names them (Schedules.h);
// `problem` says which are possible at all.
//
// *Register tile*, MR x 2 vectors. A multiply-add takes about 4 cycles and two
// can begin in each, so that 8 accumulators have to be under way; a step loads
// MR + 2 operands for 2 MR multiply-adds, and a core that loads two vectors a
// cycle keeps up from MR = 2 on. MR = 8 with 32 registers gives 16
// accumulators, twice what latency needs (vdpbf16ps takes 6 cycles: 12); MR = 4
// fits 16 registers. Smaller tiles, at the end of a block or of a product, are
// of just as many rows down to MR / 2, with which latency is nearly hidden.
//
// *Few rows.* Below MR / 2 rows a product reads its right operand faster than
// any cache gives it. What is left to do is not to stand in the way: tiles of
// two panels keep two streams and twice the accumulators going. The panels are
// half of all panels apart, so that a stream goes on where the panel before
// ended: the machine's own fetching, which takes a while to find a stream, does
// so once and not for each panel. As a rule nothing is fetched by instructions,
// since more requests only compete with it. The exception is a stream that
// comes from memory and costs many instructions a line, as two steps that share
// a row do: then too few lines are within the instructions that a core holds at
// once, and the tiles ask for lines `fewAhead` bytes ahead. What comes from
// memory is not known to a compilation; a product whose right operands take
// more than half of the last cache finds little of them there, as its other
// data and other layers use that too.
//
// *Panels* of two vectors by K stay in L2 while all row tiles of a block pass
// over them: 16 bytes per cycle, a quarter of what L2 gives. The first pass
// would wait for L3 or memory; so each of the T row tiles of a block fetches
// one T-th of the next panel, and every pass finds its panel in L2. This asks
// of the memory 1 / MC byte per multiply-add (MC rows to a block: 128 rows at
// 1.1 T operations/s are 4.5 GB/s). With a single row tile the panel is
// fetched some KiB ahead of its use instead.
//
// *Chunks.* Two panels of each term, this one and the next, have to fit in
// three quarters of L2. Where K is too long for it, a block runs over one chunk
// of K after the other; its sums wait in scratch meanwhile (MC x 128 bytes).
//
// Panels of four-bit codes are taken apart (but with AVX2, where register tiles
// do that) by chunks of 16 KiB, which stay in L1 while the row tiles pass over
// them: of scaled accumulators too, whose sums are in scratch anyway. The tiles
// fetch the next chunk meanwhile: asked for all at once when it is taken apart,
// its lines would wait for each other. Panels of stored elements are decoded by
// chunks of 128 steps, but for few rows of two panels, which decode in
// registers.
//
// *Blocks* of MC rows. The copied left rows of a block are read once per
// panel, at 4 bytes per cycle: best from L2, where they fit beside the two
// panels (256 rows at most). Where K is too long for that they come from L3,
// and MC is 128, so that panels are not read too often. In any case the copy
// is limited to 2 MiB, so that a thread's scratch stays below 4. M rows
// are shared out evenly over the fewest blocks (129 rows are 72 and 57, not
// 128 and 1, whose pass over the weights would cost as much as that of 16).
//
// *Threads* take ranges of (batch, block, panel), panels fastest: they part the
// product along N, and along M where there are more blocks than one; never
// along K, so that no sum is shared. What a thread pays for a range of its own
// is a copy of the block's left rows, as much as half a panel's work.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_BLOCKING_H
#define QUERN_COMPILER_LOWER_CPU_BLOCKING_H

#include "compiler/lower/cpu/CpuTarget.h"

#include <cstdint>
#include <optional>
#include <string>

namespace quern::cpugen {

/// What the choice depends on besides the target.
struct ProductSizes {
  std::optional<int64_t> k;  ///< Elements, where known.
  unsigned elementBytes = 1; ///< Of a copied left element.
  unsigned terms = 1;        ///< Products accumulated side by side.
  bool split = false;        ///< Scaled within K, every some elements.
  bool widened = false;      ///< Panels are, by chunks.
  // What `choose` asks besides:
  bool halved = false;    ///< Tiles of any rows read two steps from one row,
  bool halvedFew = false; ///< those of few rows do.
  std::optional<int64_t> rightBytes = {}; ///< All right operands, if known.

  /// Chunks are of elements that are decoded.
  bool decoded() const { return widened && elementBytes == 4; }
  /// Bytes of a left row, copied; K is known.
  int64_t rowBytes() const { return *k * elementBytes; }
  /// Steps of four bytes.
  int64_t steps() const { return (rowBytes() + 3) / 4; }
};

struct Blocking {
  static Blocking choose(const CpuTarget &target, const ProductSizes &sizes);

  /// Of a panel's chunk, taken apart.
  static constexpr int64_t wideBytes = 16 << 10;
  /// Of a panel's chunk, decoded to f32.
  static constexpr int64_t decodedSteps = 128;
  /// Of copied left rows, unless a single tile has more.
  static constexpr int64_t leftBytes = 1 << 21;
  /// MR where nothing else is said, and at most: 2 MR accumulators stand beside
  /// two vectors of a panel and an element of a row.
  static unsigned usualRows(unsigned registers) {
    return registers == 32 ? 8 : 4;
  }
  static unsigned mostRows(const CpuTarget &target) {
    return (target.registers() - 3) / 2;
  }
  /// The most rows of two panels at a time, whose accumulators are twice as
  /// many.
  static unsigned mostFewRows(const CpuTarget &target) {
    return (target.registers() - 3) / 4;
  }

  /// Why a product of these sizes cannot be cut so, and what is accepted; empty
  /// where it can.
  std::string problem(const CpuTarget &target, const ProductSizes &sizes) const;

  unsigned rows = 8;        ///< MR.
  unsigned columns = 32;    ///< NR, two vectors.
  unsigned fewRows = 3;     ///< Up to so many rows, two panels at a time.
  unsigned blockRows = 128; ///< MC at most.
  /// Steps of four bytes of K to a chunk; none: all of them.
  std::optional<int64_t> chunkSteps;
  /// With one row tile, bytes from a panel's use to what is fetched.
  unsigned aheadBytes = 8192;
  /// With few rows, the same; none: nothing is fetched.
  std::optional<int64_t> fewAhead;

  /// Whether a tile of so many rows fetches what comes next.
  bool fetches(unsigned tileRows) const { return tileRows > fewRows; }
  /// "tile 8x32 or 3x64", with " fetched 2048 bytes ahead" where that is so.
  std::string text() const;

  bool operator==(const Blocking &) const = default;
};

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_BLOCKING_H
