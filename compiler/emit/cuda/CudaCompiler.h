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
// a missing library (CompilerMissing) and an architecture this NVRTC does not
// know (Unsupported).
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_CUDACOMPILER_H
#define QUERN_COMPILER_EMIT_CUDA_CUDACOMPILER_H

#include "compiler/emit/cuda/CudaEmitter.h"

namespace quern::emit {

struct CudaOptions {
  /// Line tables in the code, for profilers and the simulator's reports.
  bool lineInfo = false;
};

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
