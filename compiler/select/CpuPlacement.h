//===- CpuPlacement.h - Placements on a CPU ---------------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// How each placement is done on a CPU:
//
//     register   behind each panel of the product (compiler/lower/cpu/Stages.h)
//     tile       behind as many panels as a block spans
//     panel      behind all panels of some rows, which stay in the L2 of the
//                thread that computes them; every thread reads all of the right
//                operand
//     grid       the product combines partial reductions into state while it
//                stores the value; its end is the barrier; a second loop
//                encodes
//     consumer   where the product that reads the codes copies its left rows
//                into scratch: each thread encodes the rows it needs.
//                Reductions over a value that a product made stay there, as in
//                `grid`; others run over the rows first
//     separate   a loop of its own over the value, twice: reduce, encode
//     cluster    does not exist
//
// Costs are what a placement takes beyond the same layer with a static scale:
// elements touched and bytes moved, at rates estimated so that the order is
// that of benchmarks/results/2026-11-21-epyc-zen5-dynamic.md. They have to
// order the placements, no more.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_SELECT_CPUPLACEMENT_H
#define QUERN_COMPILER_SELECT_CPUPLACEMENT_H

#include "compiler/lower/cpu/CpuTarget.h"
#include "compiler/select/Placement.h"
#include "compiler/select/Roofline.h"

namespace quern::select {

struct CpuRates {
  double threads = 2;
  double rangesPerThread = 4; ///< Pieces of a launch a thread takes.
  double launchMicroseconds = 0.5;
  double cacheBytesPerMicrosecond = 60e3;  ///< One thread, beyond its L2.
  double memoryBytesPerMicrosecond = 20e3; ///< All threads.
  double reducePerMicrosecond = 16e3;      ///< Elements, one thread.
  /// Elements that a product's epilogue also reduces, one thread.
  double gatherPerMicrosecond = 8e3;
  double encodePerMicrosecond = 2.5e3;  ///< Elements, one thread.
  double productPerMicrosecond = 400e3; ///< Multiply-adds, one thread.
  int64_t sharedCacheBytes = 16 << 20;
};

/// The same rates as what bounds a kernel, all threads together.
Peaks peaksOf(const CpuRates &rates);

class CpuPlacement final : public PlacementModel {
public:
  explicit CpuPlacement(const cpugen::CpuTarget &target, CpuRates rates = {})
      : target(target), rates(rates) {}

  std::string refuse(const Site &site,
                     tile::Placement placement) const override;
  double products(const Site &site, const Sizes &sizes) const override;
  Cost costOf(const Site &site, tile::Placement placement,
              const Sizes &sizes) const override;
  Result<ProgramTraffic> traffic(mlir::ModuleOp module,
                                 const Sizes &sizes) const override;
  std::string apply(const Site &site, tile::Placement placement) const override;

private:
  const cpugen::CpuTarget &target;
  CpuRates rates;
};

} // namespace quern::select

#endif // QUERN_COMPILER_SELECT_CPUPLACEMENT_H
