//===- CudaEmitter.h - A tile program as one CUDA unit ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Writes the CUDA C++ of a layer: the templates it includes, then one
// `extern "C"` kernel per tile.kernel, named `quern_<layer>_<kernel>_<hash>`
// where the hash is that of the kernel's text. `#line` directives point back
// into the layer's file. Nothing here needs NVRTC or CUDA.
//
// The launch plan comes with it: buffers and launches in the program's order,
// everything of a VariantDesc but the code.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_CUDAEMITTER_H
#define QUERN_COMPILER_EMIT_CUDA_CUDAEMITTER_H

#include "compiler/emit/cuda/CudaTarget.h"
#include "runtime/module/Module.h"

#include "mlir/IR/BuiltinOps.h"

#include <functional>
#include <string>

namespace quern::emit {

struct CudaUnit {
  std::string name;   ///< What directives call it: `/quern/quern_<layer>.cu`.
  std::string source; ///< The whole translation unit, with `#line`.
  /// The same for people: comments name the layer's lines.
  std::string readable;
  /// Where errors of the text belong (SourceText.h).
  std::function<std::string(const std::string &file)> originalOf;
  VariantDesc plan; ///< Without code, registers and shared-memory figures.
};

/// Emits the module's only tile.program. The module is not changed: operands
/// that products cannot read as they lie are rewritten in a copy
/// (Materialise.h).
Result<CudaUnit> emitCuda(mlir::ModuleOp tileModule, const CudaTarget &target);

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_CUDAEMITTER_H
