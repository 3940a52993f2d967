//===- KernelText.h - One tile kernel as a CUDA kernel ----------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Writes the `__global__` function of one tile.kernel, with the configuration
// struct it needs, and says how it is launched. Two families: products
// (ContractText.cpp, over gemm_mma.cuh), possibly with stages behind them
// (StagesText.cpp, over stages.cuh) or before them (EncodeText.cpp, over
// encode_rows.cuh), and with right operands that are decoded on load
// (DecodeText.cpp, over packed_rows.cuh); and blocks (BlocksText.cpp, over
// rowwise.cuh), possibly in several stages (StripsText.cpp, over strips.cuh).
//
// Parameters are the buffers' addresses in argument order, then those of the
// kernel's own buffers, then every symbol of the layer as `long long`.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_EMIT_CUDA_KERNELTEXT_H
#define QUERN_COMPILER_EMIT_CUDA_KERNELTEXT_H

#include "compiler/emit/cuda/BodyText.h"
#include "compiler/emit/cuda/DecodeFit.h"
#include "compiler/emit/cuda/EncodeFit.h"
#include "compiler/emit/cuda/Schedule.h"
#include "compiler/emit/cuda/StageFit.h"
#include "compiler/emit/cuda/StripsFit.h"
#include "runtime/module/Module.h"

namespace quern::emit {

/// A kernel's text and launch. `launch.kernel`, `phase` and `buffers` are left
/// to the caller.
struct KernelText {
  SourceText text;
  std::string schedule;
  std::string header;       ///< The template it includes.
  bool accumulates = false; ///< And common/accumulate.cuh.
  bool unpacks = false;     ///< And common/packed.cuh.
  bool decodes = false;     ///< And gemm_mma/packed_rows.cuh.
  LaunchDesc launch;
  /// Buffers the kernel wants beside those of its launch, one set per launch:
  /// state, and values that are too many to be held.
  std::vector<BufferDesc> ownBuffers;
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
  /// Several of them.
  Result<KernelText> writeStrips();

private:
  /// Puts signature, symbols and the body written so far together.
  /// `declarations` stand before the kernel; `threads` is an expression.
  void finish(KernelText &result, const SourceText &declarations,
              llvm::StringRef threads);

  bool isWritten(mlir::BlockArgument arg);

  // Products.
  /// Declares the block's tile; the batch indices.
  std::vector<Index> writeTile(tile::ContractOp contract,
                               llvm::ArrayRef<Index> extents);
  /// Pointer and stride of one side's operands, one entry per term or one for
  /// all.
  Result<std::string> rowsOf(tile::ContractOp contract, bool isLhs,
                             unsigned entries, llvm::ArrayRef<Index> batch);
  void writePromotion(unsigned terms);
  /// Accumulations into one word, whatever the element, gather in registers
  /// first: declares the variables, and after the product empties them.
  void declareAccumulators(tile::ContractOp contract);
  void emptyAccumulators();
  void writeConfig(SourceText &declarations, tile::ContractOp contract,
                   const GemmProblem &problem, const GemmSchedule &schedule);
  Result<void> writeRescale(tile::ContractOp contract,
                            llvm::ArrayRef<Index> batch, const Index &M,
                            const Index &N);
  Result<void> writeEpilogue(tile::ContractOp contract,
                             llvm::ArrayRef<Index> batch, const Index &M,
                             const Index &N);

  // Stages behind a product (StagesText.cpp). `fused` is set for them.

  /// Everything that is known of the stages while they are written.
  struct Fused {
    HeldValues held;
    StageFit fit;
    tile::Placement placement;
    Index M, N; ///< The product's extents.
    std::vector<Index> batch;
    int cluster = 1; ///< Tiles in one.
    // State of kernels whose tiles meet in memory.
    std::string state, queue, item, gathered;
    std::string place; ///< The function of writePlace.
    int meetings = 0;  ///< So far.
    Index gatheredWords = Index::constant(0);
    SymExpr gatheredSize;

    bool within() const {
      return placement == tile::Placement::Register ||
             placement == tile::Placement::Tile;
    }
    bool queues() const {
      return placement == tile::Placement::Grid ||
             placement == tile::Placement::Panel;
    }
  };
  /// A reduction whose parts lie in shared memory.
  struct PartOf {
    std::string part, whole; ///< This tile's words, and those of all tiles.
    tile::ReduceKind kind;
  };
  /// Where the blocks of a tile lie that reach beyond it: the part within.
  struct Clip {
    int box = -1; ///< The box's dimension along N, or -1: nothing is clipped.
    Index first, columns;
    std::string owns; ///< Where this tile is the block's first; empty: always.
  };
  Result<void> beginFused(tile::ContractOp contract,
                          llvm::ArrayRef<Index> extents, KernelText &result);
  void declareHeld();
  Result<void> writeFusedStages(tile::ContractOp contract);
  void endFused(tile::ContractOp contract, KernelText &result);
  /// Declares the words that hold parts of reductions, and `place`.
  void declareParts(tile::BlocksOp stage, const StageLayout &layout);
  Result<void> writeSharedStage(tile::BlocksOp stage,
                                const StageLayout &layout);
  /// The tiles of a panel combine the results of `level`. Where they leave the
  /// value in memory, what follows is another item of the queue.
  Result<void> writeMeeting(tile::BlocksOp stage, const StageLayout &layout,
                            llvm::ArrayRef<tile::ReduceOp> level,
                            bool leavesValue);
  /// What a loop over the tile's blocks does with an op of the stage: nothing;
  /// emit it; emit a reduction and leave its result for the meeting; take the
  /// result of one that has met.
  enum class Doing : uint8_t { Skip, Emit, Leave, Fetch };
  Result<void> overBlocks(tile::BlocksOp stage, const StageLayout &layout,
                          llvm::function_ref<Doing(mlir::Operation *)> doing);
  Result<void> writeOps(tile::BlocksOp stage, const StageLayout &layout,
                        const std::string &number,
                        llvm::function_ref<Doing(mlir::Operation *)> doing);
  /// Declares the point of the tile's block number `number`; the condition
  /// under which there is one, or nothing.
  std::string writePoint(tile::BlocksOp stage, const StageLayout &layout,
                         const std::string &number);
  /// Sets `clip` for the point.
  void writeClip(tile::BlocksOp stage, const StageLayout &layout);
  /// A function from a block's number in the tile to its number among all.
  void writePlace(tile::BlocksOp stage, const StageLayout &layout,
                  const std::string &name);
  std::optional<Fused> fused;

  // Stages before a product (EncodeText.cpp). `encoding` is set for them.
  Result<void> beginEncoding();
  /// Where scalars are kept, and the function `encode`.
  Result<void> declareEncoding(tile::ContractOp contract,
                               llvm::ArrayRef<Index> batch);
  /// Runs the stages for this tile's rows.
  Result<void> writeEncodeStages(llvm::ArrayRef<Index> batch);
  Result<void> writeEncodeStage(const EncodeStage &stage,
                                llvm::ArrayRef<Index> batch);
  /// As writePoint.
  std::string writeEncodePoint(const EncodeStage &stage,
                               const std::string &number,
                               llvm::ArrayRef<Index> batch);
  /// A reduction over neighbouring elements, many bytes at once; false if it is
  /// none, or its order matters.
  Result<bool> writeReducePieces(tile::ReduceOp reduce);
  std::optional<EncodeFit> encoding;
  bool readsPieces = false; ///< While a stage before the product is written.

  // Right operands that are decoded on load. `decoding` is set for them.

  /// Where codes become floats: the functions `decodes` names.
  Result<void> declareDecoding(tile::ContractOp contract,
                               const GemmProblem &problem,
                               llvm::ArrayRef<Index> batch, const Index &N,
                               const Index &K);
  std::optional<DecodeFit> decoding;
  std::string decodes;

  std::optional<Clip> clip;
  llvm::DenseMap<mlir::Operation *, PartOf> parts;

  // Stages of blocks without a product (StripsText.cpp).

  /// Shared memory for a value's strip.
  void declareHeldStrip(const tile::StripValue &value, const StripTeams &teams);
  /// Declares the point of the strip's block number `number`, of `counts` along
  /// the domain; the condition under which there is one, or nothing.
  std::string writeStripPoint(const tile::StageStrips &strips,
                              const tile::StageStrips::Stage &stage,
                              llvm::ArrayRef<Index> counts,
                              const Index &number);
  Result<void> writeStripStage(const tile::StageStrips &strips,
                               const tile::StageStrips::Stage &stage,
                               unsigned lanes, const StripTeams &teams);
  std::vector<Index> stripAt; ///< Number of the strip along each axis.

  // Blocks.
  /// The ops of one point, run by a team.
  Result<void> writePointBody(tile::BlocksOp blocks, BlocksKind kind);
  Result<void> writeStage(mlir::Operation *op, BlocksKind kind);
  Result<void> writeReduce(tile::ReduceOp reduce, BlocksKind kind);
  Result<void> writeMap(tile::MapOp map);
  Result<void> writeElements(tile::BlocksOp blocks,
                             llvm::ArrayRef<Index> domain, KernelText &result);
  /// Declares the coordinates of element `linear` of a box.
  void writeBoxIndices(const Index &linear, llvm::ArrayRef<Index> box,
                       mlir::Block &block);
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
  std::vector<std::string> ownParameters;
  std::vector<std::pair<tile::AccumulateOp, std::string>> accumulators;
  std::vector<std::string> wideSymbols; ///< Parameters the symbols come in.
};

/// The product of extents.
Index count(llvm::ArrayRef<Index> extents);

/// Names for the coordinates of a point of a blocks stage, by its rank.
llvm::ArrayRef<llvm::StringRef> pointNames(unsigned rank);
/// The only map of a kernel that is one map, or null.
tile::MapOp onlyMap(tile::BlocksOp blocks);
/// What a kernel of blocks asks of its schedule.
BlocksProblem blocksProblem(tile::BlocksOp blocks, Symbols &symbols);
/// Whether a stage reads a buffer that it stores, other than to skip it.
bool readsWhatItWrites(tile::BlocksOp stage);

} // namespace quern::emit

#endif // QUERN_COMPILER_EMIT_CUDA_KERNELTEXT_H
