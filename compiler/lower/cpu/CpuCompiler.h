//===- CpuCompiler.h - Tile programs to CPU code ----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The CPU back end: one tile.program and its kernels become a VariantDesc, a
// plan of launches and one relocation-free image of code
// (runtime/device/cpu/KernelAbi.h). It goes straight from the tile dialect to
// LLVM IR; docs/decisions/0003-cpu-code-is-written-as-llvm-ir.md says why.
//
// Buffers of the variant are the program's, in order, and then the packed
// right operands of contractions. Weights are packed by prepare launches, other
// operands before each run of the product.
//
// Kernels assume the floating-point environment programs start with: rounding
// to nearest, subnormals kept.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_LOWER_CPU_CPUCOMPILER_H
#define QUERN_COMPILER_LOWER_CPU_CPUCOMPILER_H

#include "compiler/lower/cpu/Schedules.h"
#include "mlir/IR/BuiltinOps.h"
#include "runtime/module/Module.h"

#include <string>

namespace quern::cpugen {

/// The most that stages of a strip hand each other in a thread's scratch: what
/// stays in most cores' second-level caches, and few enough bytes for each of a
/// thousand threads. A longer row is shared out among threads instead.
inline constexpr int64_t stripBytes = 512 * 1024;

/// Texts for people; filled where a pointer to one is given.
struct CpuDumps {
  std::string tile; ///< Tile dialect with schedules.
  std::string llvm; ///< LLVM IR as it goes to the code generator.
  std::string assembly;
};

/// Where a compilation's time went, in milliseconds.
struct CpuCompileTimes {
  double emit = 0, optimize = 0, codegen = 0, link = 0;
};

/// Compiles the one tile.program of a module and the kernels it launches. The
/// module is changed only in that its kernels receive schedules. `schedules`
/// are of the target's level; `products` receives those that were compiled.
/// Errors: InvalidSource for a program that does not hold together, Unsupported
/// for operations this target does not know, Internal for bugs.
Result<VariantDesc>
compileForCpu(mlir::ModuleOp tileModule, const CpuTarget &target,
              CpuDumps *dumps = nullptr, CpuCompileTimes *times = nullptr,
              const Schedules *schedules = nullptr,
              std::vector<ScheduledProduct> *products = nullptr);

} // namespace quern::cpugen

#endif // QUERN_COMPILER_LOWER_CPU_CPUCOMPILER_H
