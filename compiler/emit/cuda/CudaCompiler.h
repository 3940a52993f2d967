//===- CudaCompiler.h - A tile program as code for a GPU --------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The whole way of a tile module to a variant that runs: emission
// (CudaEmitter.h), NVRTC, and what the assembler reports of each kernel. The
// variant holds three code objects: the cubin that is loaded, the PTX it was
// assembled from (which the simulator executes), and the CUDA source for
// people.
//
// Errors NVRTC finds in emitted text carry the place in the layer's file that
// the `#line` directives name. They are bugs of Quern (Errc::Internal), except
// a missing library (CompilerMissing).
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_CUDACOMPILER_H
#define QUERN_COMPILER_EMIT_CUDA_CUDACOMPILER_H

#include "compiler/emit/cuda/CudaEmitter.h"

#include <string>
#include <vector>

namespace quern::emit {

struct CudaOptions {
  /// Line tables in the code, for profilers and the simulator's reports.
  bool lineInfo = false;
};

/// What NVRTC is called with for strict numerics on an architecture.
std::vector<std::string> strictOptions(const CudaTarget &target,
                                       const CudaOptions &options = {});

/// What the assembler said of one kernel.
struct KernelFigures {
  std::string name;
  uint32_t registers = 0, staticSharedBytes = 0, spillBytes = 0;
};

/// Reads the figures of every kernel from a log made with `-v`.
std::vector<KernelFigures> readFigures(const std::string &log);

struct CudaCompilation {
  VariantDesc variant;
  double emitMilliseconds = 0;
  double compileMilliseconds = 0; ///< NVRTC alone.
};

/// Compiles with the timings; `compileForCuda` is its variant alone.
Result<CudaCompilation> compileTimed(mlir::ModuleOp tileModule,
                                     const CudaTarget &target,
                                     const CudaOptions &options);
Result<VariantDesc> compileForCuda(mlir::ModuleOp tileModule,
                                   const CudaTarget &target,
                                   const CudaOptions &options = {});

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_CUDACOMPILER_H
