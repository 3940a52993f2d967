//===- Schedule.h - How a kernel will run on a GPU --------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Schedules are plain structs made by plain functions from what a kernel needs
// and what the architecture has; `describe` is their line in `quern explain`.
//
// Products. The tile follows the largest number of rows M may reach: up to 16,
// 32 or 64 rows a tile of as many rows, else 128. Two accumulators per element
// (gated units, partial sums) halve the tile's width, more halve its height,
// so that no accumulator leaves the registers. Rows of a tile in shared memory
// are 64 bytes with four stages, 128 bytes for small M, where memory latency
// and not capacity decides. A split of K into blocks of g bounds the tile's K:
// one must be a multiple of the other. Where stages that follow the product
// need tiles of whole blocks, the tile nearest to the preferred one is taken
// that is a multiple of them, as long as its sums stay in the registers; a tile
// that holds all rows, or all columns, there ever are holds their blocks too.
//
// Where the left operand is encoded on load, that is most of the work (a code
// takes as long as some hundred multiplications): tiles are at most 32 rows
// high, so that many multiprocessors share it, and as wide as N, up to 256
// columns, so that it is done once. Values and codes take shared memory beside
// the ring; three stages then leave room for more blocks.
//
// Right operands of four-bit codes are half as wide in shared memory as their
// left ones are, or a quarter. Rows of 64 elements, where they may be had, are
// whole sectors of memory. Those that become f16 or bf16 take registers for
// scales and for eight codes at once: one block per multiprocessor may have
// them all.
//
// 8-bit floats. Where the machine multiplies them in one instruction, that
// instruction sums with fewer bits than f32 has, and its error grows with the
// length of the sum. So a product without a split is given one there, every
// `promoteEvery` elements: the instruction's sums stay short and are added up
// in f32. Where no instruction exists they are decoded to f16 in registers.
//
// Blocks. One map over everything and nothing else runs a thread per element;
// boxes of at most 256 elements run a warp per point; all others a thread
// block per point.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_SCHEDULE_H
#define QUERN_COMPILER_EMIT_CUDA_SCHEDULE_H

#include "compiler/emit/cuda/CudaTarget.h"

#include <cstdint>
#include <string>

namespace quern::emit {

/// What a product asks for.
struct GemmProblem {
  int64_t maxM = 0, maxN = 0; ///< Largest extents.
  unsigned terms = 1;
  bool sharedLhs = true, sharedRhs = true;
  unsigned elementBytes = 1;
  /// Bytes of the values that left elements are encoded from; 0: none.
  unsigned valueBytes = 0;
  bool float8 = false; ///< 8-bit floats on both sides.
  /// Right elements share bytes, two to one, and are decoded on load.
  bool packedRhs = false;
  int64_t split = 0; ///< Elements of K per partial sum; 0: one sum.
  /// Bytes every row and base of what is copied is known to be a multiple of.
  int64_t lhsAlignment = 16, rhsAlignment = 16;
  /// Bytes of so many right elements.
  double rhsBytes(double elements) const {
    return elements * (packedRhs ? 0.5 : elementBytes);
  }
  /// The tile is a multiple of this, or has room for all rows (columns).
  int64_t blockRows = 1, blockColumns = 1;
  /// At most so many tiles side by side, as one cluster holds; 0: any number.
  int64_t maxTilesN = 0;
  unsigned held = 0; ///< Values per element that stay in shared memory.
  /// Shared memory the stages need beside the tile, at most.
  uint32_t stageBytes = 0;
};

struct GemmSchedule {
  unsigned tileM = 128, tileN = 128, tileK = 64, stages = 4;
  unsigned warpsM = 2, warpsN = 4;
  unsigned lhsCopy = 16, rhsCopy = 16;
  uint32_t sharedBytes = 0;
  /// One block per multiprocessor is enough: shared memory or accumulators
  /// allow few, and for more of them the assembler would spill.
  bool fewBlocks = false;
  /// Blocks per multiprocessor the registers are limited for; 0: left to the
  /// assembler. Set where stages follow the product: left alone, the assembler
  /// gives them either registers that cost half the blocks, or spills.
  unsigned minBlocks = 0;
  std::string remark; ///< What `explain` should say beside the tile.

  static constexpr int64_t promoteEvery = 128;

  unsigned threads() const { return warpsM * warpsN * 32; }
  std::string describe() const;
};

/// Thread blocks that are resident together on the smallest device of the
/// architecture that is in common use, as far as threads and shared memory
/// decide. What a device really holds is asked when a module is loaded.
unsigned residentBlocks(const GemmProblem &problem,
                        const GemmSchedule &schedule, const CudaTarget &target);

/// Whether partial sums of `promoteEvery` are added up in f32 though no scale
/// asks for a split; `maxK` is the largest extent of K.
bool promotesSums(const GemmProblem &problem, int64_t maxK,
                  const CudaTarget &target);

/// Unsupported, with the reason, when no tile fits the problem.
Result<GemmSchedule> scheduleGemm(const GemmProblem &problem,
                                  const CudaTarget &target);

enum class BlocksKind : uint8_t { Elements, Warp, Block };

/// What a block kernel asks for.
struct BlocksProblem {
  /// One map whose box does not depend on the point, and no reduction.
  bool isOneMap = false;
  int64_t maxBox = 0; ///< Elements of the largest box.
};

struct BlocksSchedule {
  BlocksKind kind = BlocksKind::Block;
  static constexpr unsigned threads = 256;
  std::string describe() const;
};

BlocksSchedule scheduleBlocks(const BlocksProblem &problem);

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_SCHEDULE_H
