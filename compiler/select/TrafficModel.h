//===- TrafficModel.h - Predicting what a program moves ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Fills the structs of Traffic.h, which has the model, for a program whose
// quantizations are placed.
//
// InvalidArgument where the sizes overflow a buffer. A kernel the model has no
// rules for, or that the back end refuses, says so in its `unknown`.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_SELECT_TRAFFICMODEL_H
#define QUERN_COMPILER_SELECT_TRAFFICMODEL_H

#include "compiler/emit/cuda/CudaTarget.h"
#include "compiler/select/Traffic.h"
#include "runtime/core/Result.h"

#include "mlir/IR/BuiltinOps.h"

namespace quern::select {

/// The launches are those of the emitted unit: operands that a product cannot
/// read as they lie are brought into form first (emit/cuda/Materialise.h).
Result<ProgramTraffic> predictTraffic(mlir::ModuleOp module,
                                      const emit::CudaTarget &target,
                                      const Sizes &sizes);

/// The same on a CPU, where sectors are not counted.
Result<ProgramTraffic> predictCpuTraffic(mlir::ModuleOp module,
                                         const Sizes &sizes);

} // namespace quern::select

#endif // QUERN_COMPILER_SELECT_TRAFFICMODEL_H
