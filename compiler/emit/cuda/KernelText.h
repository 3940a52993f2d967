//===- KernelText.h - One tile kernel as a CUDA kernel ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Writes the `__global__` function of one tile.kernel, with the configuration
// struct it needs, and says how it is launched. Two families: products
// (ContractText.cpp, over gemm_mma.cuh) and blocks (BlocksText.cpp, over
// rowwise.cuh).
//
// Parameters are the buffers' addresses in argument order, then every symbol
// of the layer as `long long`.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_KERNELTEXT_H
#define QUERN_COMPILER_EMIT_CUDA_KERNELTEXT_H

#include "compiler/emit/cuda/BodyText.h"
#include "compiler/emit/cuda/Schedule.h"
#include "runtime/module/Module.h"

namespace quern::emit {

/// A kernel's text and launch. `launch.kernel`, `phase` and `buffers` are left
/// to the caller.
struct KernelText {
  SourceText text;
  std::string schedule;
  std::string header; ///< The template it includes.
  LaunchDesc launch;
};

/// What a kernel and its parameters are called in the unit.
struct KernelNames {
  std::string symbol;    ///< The extern "C" name.
  std::string shortName; ///< Unique in the unit; for comments and structs.
  std::vector<std::string> buffers;
};

Result<KernelText> emitKernel(tile::KernelOp kernel, const KernelNames &names,
                              const CudaTarget &target);

/// What the two families share: scope, parameters and symbols of a kernel.
class KernelWriter {
public:
  KernelWriter(tile::KernelOp kernel, const KernelNames &kernelNames,
               const CudaTarget &target);

  Result<KernelText> writeContract(tile::ContractOp contract);
  Result<KernelText> writeBlocks(tile::BlocksOp blocks);

private:
  /// Puts signature, symbols and the body written so far together.
  /// `declarations` stand before the kernel; `threads` is an expression.
  void finish(KernelText &result, const SourceText &declarations,
              llvm::StringRef threads);

  // Products.
  /// Declares the block's tile; the batch indices.
  std::vector<Index> writeTile(tile::ContractOp contract,
                               llvm::ArrayRef<Index> extents);
  /// Pointer and stride of one side's operands, one entry per term or one for
  /// all; lowers `alignment` to theirs.
  Result<std::string> rowsOf(tile::ContractOp contract, bool isLhs,
                             unsigned entries, llvm::ArrayRef<Index> batch,
                             int64_t &alignment);
  void writePromotion(unsigned terms);
  void writeConfig(SourceText &declarations, tile::ContractOp contract,
                   const GemmProblem &problem, const GemmSchedule &schedule);
  Result<void> writeRescale(tile::ContractOp contract,
                            llvm::ArrayRef<Index> batch, const Index &M,
                            const Index &N);
  Result<void> writeEpilogue(tile::ContractOp contract,
                             llvm::ArrayRef<Index> batch, const Index &M,
                             const Index &N);

  // Blocks.
  Result<void> writeStage(mlir::Operation *op, BlocksKind kind);
  Result<void> writeReduce(tile::ReduceOp reduce, BlocksKind kind);
  Result<void> writeMap(tile::MapOp map);
  Result<void> writeElements(tile::BlocksOp blocks,
                             llvm::ArrayRef<Index> domain, KernelText &result);
  /// Extents of a box at the current point, clamped.
  template <typename OpTy> std::vector<Index> boxOf(OpTy op);
  /// Declares one coordinate per extent from the row-major number `linear`
  /// and binds them to the arguments.
  void delinearise(const Index &linear, llvm::ArrayRef<Index> extents,
                   mlir::Block::BlockArgListType args,
                   llvm::ArrayRef<llvm::StringRef> defaults);

  tile::KernelOp kernel;
  std::string name, shortName;
  std::string config; ///< The product's configuration struct.
  const CudaTarget &target;
  Symbols symbols;
  NameScope names;
  SourceText out; ///< The kernel's body.
  BodyText body;
  std::vector<std::string> bufferNames;
  std::vector<std::string> wideSymbols; ///< Parameters the symbols come in.
};

/// The product of extents.
Index count(llvm::ArrayRef<Index> extents);

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_KERNELTEXT_H
