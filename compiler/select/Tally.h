//===- Tally.h - Counting one kernel's memory requests ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What the parts of the model of Traffic.h share: the accesses of a kernel in a
// form that addresses can be computed from, and sums per buffer. For one
// launch, for given sizes.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_SELECT_TALLY_H
#define QUERN_COMPILER_SELECT_TALLY_H

#include "compiler/emit/cuda/CudaTarget.h"
#include "compiler/emit/cuda/EncodeFit.h"
#include "compiler/emit/cuda/StageFit.h"
#include "compiler/select/Offsets.h"
#include "compiler/select/Traffic.h"
#include "dialects/tile/Transforms/StageStrips.h"

#include "llvm/ADT/MapVector.h"

#include <array>

namespace quern::select {

/// One load, store or accumulation in a body.
struct Touch {
  enum class Kind : uint8_t { Load, Store, Accumulate } kind = Kind::Load;
  mlir::Operation *op = nullptr;
  mlir::Value buffer;
  unsigned bits = 0; ///< Of an element.
  Offset at;

  double bytes() const { return bits / 8.0; }

  bool operator==(const Touch &other) const;
};

/// The lanes of a warp that take part in a request, each with the values of
/// all coordinates.
using Lanes = llvm::SmallVector<llvm::SmallVector<int64_t, 8>, 32>;

/// Every n-th of `count`, with how many it stands for: all of few, else first,
/// last and some between.
struct Sample {
  int64_t index;
  double weight;
};
std::vector<Sample> sampleOf(int64_t count, int64_t most);

class Tally {
public:
  Tally(tile::KernelOp kernel, const Sizes &sizes)
      : kernel(kernel), sizes(sizes) {}

  /// The accesses in a body, of which such as the compiler finds equal once.
  /// Nested bodies are left out.
  std::vector<Touch> touchesOf(mlir::Block &body,
                               const Coordinates &coordinates) const;
  Touch touchOf(mlir::Operation *op, const Coordinates &coordinates) const;

  /// Accesses to it stay within the kernel: it is in no memory that counts.
  void keep(mlir::Value buffer) { kept.insert(buffer); }
  bool isKept(mlir::Value buffer) const { return kept.contains(buffer); }

  /// One request of a warp, `weight` times.
  void request(const Touch &touch, const Lanes &lanes, double weight,
               bool byBlocks = false);
  /// The same where the sum is known already.
  void add(mlir::Value buffer, Touch::Kind kind, double bytes, double sectors,
           bool byBlocks = false);
  /// Of the kernel's own state.
  void addState(Touch::Kind kind, double bytes, double sectors);

  /// Operations of a body, once for each of `times` elements.
  void compute(mlir::Block &body, double times);

  double bytesOf(mlir::Value buffer) const;
  /// The sums so far, under the names of `names`, one per argument.
  void finish(llvm::ArrayRef<std::string> names, KernelTraffic &result) const;

  tile::KernelOp kernel;
  const Sizes &sizes;
  double multiplyAdds = 0, scalarOps = 0;

private:
  struct Sum {
    Moved moved;
    double bytesByBlocks = 0, sectorsByBlocks = 0;
  };
  static void count(Sum &sum, Touch::Kind kind, double bytes, double sectors,
                    bool byBlocks);
  llvm::DenseSet<mlir::Value> kept;
  llvm::MapVector<mlir::Value, Sum> sums;
  Sum state;
  bool hasState = false;
};

/// Different 32-byte sectors that ranges of `bytes` bytes at these places lie
/// in.
unsigned countSectors(llvm::ArrayRef<int64_t> places, unsigned bytes);

/// A product and the stages before and behind it. Nothing where the back end
/// would not take it, with the reason.
std::string tallyProduct(Tally &tally, tile::ContractOp product,
                         const emit::CudaTarget &target);
/// The stages behind a product, in the sampled tile at (m0, n0).
struct TileAt {
  int64_t m0 = 0, n0 = 0;
  double weight = 1; ///< Tiles it stands for.
};
void tallyStages(Tally &tally, tile::ContractOp product,
                 const emit::HeldValues &held, const emit::StageFit &fit,
                 tile::Placement placement, const TileAt &tile);
/// The stages before a product, in a sampled tile.
void tallyEncoding(Tally &tally, const emit::EncodeFit &encoding,
                   const emit::GemmSchedule &schedule, const TileAt &tile);
/// A kernel of independent blocks.
void tallyBlocks(Tally &tally, tile::BlocksOp blocks);
/// Several stages of them.
void tallyStrips(Tally &tally, const tile::StageStrips &strips);

/// A box's extents at a point.
template <typename OpTy>
llvm::SmallVector<int64_t> boxOf(OpTy op, const Coordinates &coordinates,
                                 llvm::ArrayRef<int64_t> at) {
  llvm::SmallVector<int64_t> box;
  for (const Offset &extent : coordinates.of(op.getExtents(), op.getPoint()))
    box.push_back(extent.at(at));
  if (std::optional<mlir::AffineMap> clamp = op.getClamp())
    for (auto [extent, limit] :
         llvm::zip(box, coordinates.of(*clamp, op.getPoint())))
      extent = std::min(extent, limit.at(at));
  for (int64_t &extent : box)
    extent = std::max<int64_t>(extent, 0);
  return box;
}

} // namespace quern::select

#endif // QUERN_COMPILER_SELECT_TALLY_H
