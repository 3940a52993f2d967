//===- CudaPlacement.h - Placements on a GPU --------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What the CUDA back end says of placements: compiler/emit/cuda/StageFit.h
// tells which there are, in the words `explain` shows.
//
// Costs, beyond the same layer with a static scale, come from what a placement
// adds: bytes between kernels or within one, at the rate of the cache or memory
// they stay in; a kernel's start; what tiles wait for each other; and what the
// product loses by the tile it has to take, in waves of thread blocks. Rates
// are estimates that no device has confirmed; they have to order placements.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_SELECT_CUDAPLACEMENT_H
#define QUERN_COMPILER_SELECT_CUDAPLACEMENT_H

#include "compiler/emit/cuda/StageFit.h"
#include "compiler/select/Placement.h"
#include "compiler/select/Roofline.h"

namespace quern::select {

struct GpuRates {
  double launchMicroseconds = 2.5;  ///< From one kernel to the next.
  double meetingMicroseconds = 1.5; ///< Tiles of a row panel, once.
  double clusterMicroseconds = 0.5; ///< Tiles of a cluster, once.
  double memoryBytesPerMicrosecond = 1.5e6;
  double cacheBytesPerMicrosecond = 4e6;
  int64_t cacheBytes = 32 << 20;
  /// Multiply-adds of 8-bit integers and microsecond, one multiprocessor.
  double productPerMicrosecond = 2.0e6;
  /// Elements made into codes on load and microsecond, one multiprocessor: four
  /// of the instructions for one go to the unit that takes 16 at a time.
  double encodePerMicrosecond = 6e3;
  /// Other operations and microsecond, one multiprocessor: 128 lanes.
  double scalarPerMicrosecond = 200e3;
};

/// The same rates as what bounds a kernel, all multiprocessors together.
Peaks peaksOf(const GpuRates &rates, const emit::CudaTarget &target);

class CudaPlacement final : public PlacementModel {
public:
  explicit CudaPlacement(const emit::CudaTarget &target, GpuRates rates = {})
      : target(target), rates(rates) {}

  std::string refuse(const Site &site,
                     tile::Placement placement) const override;
  double products(const Site &site, const Sizes &sizes) const override;
  Cost costOf(const Site &site, tile::Placement placement,
              const Sizes &sizes) const override;
  Result<ProgramTraffic> traffic(mlir::ModuleOp module,
                                 const Sizes &sizes) const override;
  /// Tiles are 16 rows high for a few rows, where a product does little else
  /// than read its right operand; up to 64; and as high as sums fit into
  /// registers for more.
  std::vector<int64_t> bucketEnds() const override { return {16, 64}; }
  std::string schedule(tile::KernelOp kernel) const override;
  std::string apply(const Site &site, tile::Placement placement) const override;

private:
  /// Every tile of columns encodes the value again.
  Cost consumerCost(const Site &site, const Sizes &sizes) const;
  Result<emit::StageFit> fit(const Site &site, tile::Placement placement) const;

  const emit::CudaTarget &target;
  GpuRates rates;
};

} // namespace quern::select

#endif // QUERN_COMPILER_SELECT_CUDAPLACEMENT_H
