//===- ContractText.cpp - Products as CUDA kernels ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/KernelText.h"
#include "compiler/emit/cuda/OperandRows.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::emit;

/// Element type of an operand as the template spells it.
static std::string elementText(Type type, bool isUnsigned) {
  return type.isInteger(8) ? (isUnsigned ? "u8" : "s8") : typeText(type);
}

void KernelWriter::writeConfig(SourceText &declarations,
                               tile::ContractOp contract,
                               const GemmProblem &problem,
                               const GemmSchedule &schedule) {
  // Only what differs from GemmDefaults is said.
  GemmSchedule standard;
  std::vector<std::string> members;
  auto member = [&](auto... values) {
    std::string list;
    (
        [&](auto &value) {
          if (value.second.first != value.second.second)
            list += fmt::format("{}{} = {}", list.empty() ? "" : ", ",
                                value.first, value.second.first);
        }(values),
        ...);
    if (!list.empty())
      members.push_back("static constexpr int " + list + ";");
  };
  auto pick = [](const char *what, int64_t value, int64_t otherwise) {
    return std::pair(what, std::pair(value, otherwise));
  };
  unsigned lhs = contract.getTerms()[0], rhs = contract.getTerms()[1];
  std::string left =
      elementText(contract.getElementType(contract.getLhsRegion(lhs)),
                  contract.getLhsUnsigned());
  std::string right =
      elementText(contract.getElementType(contract.getRhsRegion(rhs)),
                  contract.getRhsUnsigned());
  if (left != "s8")
    members.push_back(fmt::format("using Lhs = {};", left));
  if (encoding)
    members.push_back(
        fmt::format("using Value = {};", typeText(encoding->value.getType())));
  if (decoding)
    right = typeText(decoding->element);
  if (right != "s8")
    members.push_back(fmt::format("using Rhs = {};", right));
  member(pick("tileM", schedule.tileM, standard.tileM),
         pick("tileN", schedule.tileN, standard.tileN),
         pick("tileK", schedule.tileK, standard.tileK));
  member(pick("stages", schedule.stages, standard.stages),
         pick("warpsM", schedule.warpsM, standard.warpsM),
         pick("warpsN", schedule.warpsN, standard.warpsN));
  member(pick("lhsCopy", schedule.lhsCopy, standard.lhsCopy),
         pick("rhsCopy", schedule.rhsCopy, standard.rhsCopy));
  member(pick("terms", problem.terms, 1), pick("split", problem.split, 0));
  if (decoding && decoding->becomesFloat())
    member(pick("factors", decoding->numFactors(), 1),
           pick("factorsEvery", decoding->every, 0));
  if (decoding && decoding->halves)
    members.push_back("static constexpr bool halves = true;");
  if (problem.held > problem.terms)
    member(pick("held", problem.held, 0));
  if (!problem.sharedLhs)
    members.push_back("static constexpr bool sharedLhs = false;");
  if (!problem.sharedRhs)
    members.push_back("static constexpr bool sharedRhs = false;");
  if (fused && fused->queues())
    members.push_back("static constexpr bool repeats = true;");
  if (contract.hasAddends())
    members.push_back("static constexpr bool corrects = true;");

  if (members.empty()) {
    declarations.add(fmt::format("struct {} : GemmDefaults {{}};", config));
  } else {
    declarations.add(fmt::format("struct {} : GemmDefaults {{", config));
    for (const std::string &line : members)
      declarations.add("  " + line);
    declarations.add("};");
  }
  declarations.add(fmt::format("static_assert(Gemm<{}>::sharedBytes == {}, "
                               "\"what the launch provides\");",
                               config, schedule.sharedBytes));
  declarations.add("");
}

/// Binds the batch indices to a region's leading arguments.
static void bindBatch(BodyText &body, Block &block, ArrayRef<Index> batch) {
  for (auto [arg, index] :
       llvm::zip(block.getArguments().take_front(batch.size()), batch))
    body.bindIndex(arg, index);
}

Result<void> KernelWriter::writeRescale(tile::ContractOp contract,
                                        ArrayRef<Index> batch, const Index &M,
                                        const Index &N) {
  Block &block = contract.getRescale().front();
  unsigned at = batch.size();
  std::string m = names.make("m");
  std::string n = names.make("n");
  std::string kb = names.make("kb");
  bindBatch(body, block, batch);
  body.bindIndex(block.getArgument(at), Index::variable(m, M.hi));
  body.bindIndex(block.getArgument(at + 1), Index::variable(n, N.hi));
  body.bindIndex(block.getArgument(at + 2), Index::variable(kb, INT32_MAX));
  out.add("// The factor of each partial sum.");
  out.add(fmt::format(
      "auto rescale = [&](int {}, int {}, int {}, float (&factor)[{}]{}) {{", m,
      n, kb, contract.getNumTerms(),
      contract.hasAddends()
          ? fmt::format(", int (&addend)[{}]", contract.getNumTerms())
          : ""));
  out.indent();
  if (Result<void> done = body.emitBody(block); !done)
    return done;
  auto yield = cast<tile::YieldOp>(block.getTerminator());
  unsigned terms = contract.getNumTerms();
  for (auto [t, value] : llvm::enumerate(yield.getValues()))
    out.add(fmt::format("{}[{}] = {};", t < terms ? "factor" : "addend",
                        t % terms, body.scalar(value)),
            Place::of(value.getLoc()));
  out.dedent();
  out.add("};");
  return {};
}

void KernelWriter::declareAccumulators(tile::ContractOp contract) {
  Block &block = contract.getEpilogue().front();
  unsigned at = contract.getNumBatch();
  contract.getEpilogue().walk([&](tile::AccumulateOp op) {
    for (auto [i, index] : llvm::enumerate(op.getIndices())) {
      auto arg = dyn_cast<BlockArgument>(index);
      bool ofTile = arg && arg.getOwner() == &block && arg.getArgNumber() < at;
      if (op.getMap().isFunctionOfDim(i) && !ofTile)
        return;
    }
    std::string name =
        names.make(op.getKind() == tile::ReduceKind::UMax ? "most" : "sum");
    out.add(
        fmt::format("u32 {} = 0; // Over the elements of this thread.", name));
    body.bindAccumulator(op, name);
    accumulators.push_back({op, name});
  });
}

void KernelWriter::emptyAccumulators() {
  for (auto &[op, name] : accumulators)
    out.add(fmt::format("accumulate{}Together({}, {});",
                        op.getKind() == tile::ReduceKind::UMax ? "Max" : "Add",
                        body.targetOf(op), name));
}

Result<void> KernelWriter::writeEpilogue(tile::ContractOp contract,
                                         ArrayRef<Index> batch, const Index &M,
                                         const Index &N) {
  Block &block = contract.getEpilogue().front();
  unsigned at = batch.size();
  std::string m = names.make("m");
  std::string n = names.make("n");
  bindBatch(body, block, batch);
  body.bindIndex(block.getArgument(at), Index::variable(m, M.hi));
  body.bindIndex(block.getArgument(at + 1), Index::variable(n, N.hi));
  for (unsigned t = 0; t < contract.getNumTerms(); ++t)
    body.bindScalar(block.getArgument(at + 2 + t), fmt::format("acc[{}]", t));
  declareAccumulators(contract);
  out.add(fmt::format("auto epilogue = [&](int {}, int {}, bool inside, const "
                      "{} (&acc)[{}]) {{",
                      m, n, typeText(contract.getAccumulatorType()),
                      contract.getNumTerms()));
  out.indent();
  body.setStoreGuard("inside");
  // Of a warp's threads only the column differs.
  body.setLaneIndices(block.getArgument(at + 1));
  if (Result<void> done = body.emitBody(block); !done)
    return done;
  body.setStoreGuard("");
  out.dedent();
  out.add("};");
  return {};
}

/// An extent as an `int`. The language keeps extents below 2^31, and runs with
/// larger ones are refused; what the symbols' ranges allow beyond is never met.
static Index asExtent(Index extent) {
  if (!extent.isWide())
    return extent;
  return {"(int)" + extent.unit(), 2, std::max<int64_t>(extent.lo, 0),
          INT32_MAX};
}

/// The grid: one block for each tile of each batch.
static LaunchDesc launchOf(tile::ContractOp contract,
                           const GemmSchedule &schedule) {
  AffineMap extents = contract.getExtents();
  unsigned numBatch = contract.getNumBatch();
  auto tiles = [&](unsigned axis, int64_t size) {
    return SymExpr::ceilDiv(tile::toSymExpr(extents.getResult(axis)),
                            SymExpr::constant(size));
  };
  SymExpr grid = tiles(numBatch, schedule.tileM);
  grid = grid * tiles(numBatch + 1, schedule.tileN);
  for (unsigned i = 0; i < numBatch; ++i)
    grid = grid * tile::toSymExpr(extents.getResult(i));
  LaunchDesc launch;
  launch.grid[0] = grid;
  launch.block = {schedule.threads(), 1, 1};
  launch.dynamicSharedBytes = SymExpr::constant(schedule.sharedBytes);
  return launch;
}

/// How often the tiles of a panel meet.
static int meetingsOf(const StageFit &fit) {
  size_t meetings = 0;
  for (const StageLayout &stage : fit.stages)
    meetings += stage.levels.levels.size();
  return static_cast<int>(meetings);
}

std::vector<Index> KernelWriter::writeTile(tile::ContractOp contract,
                                           ArrayRef<Index> extents) {
  unsigned numBatch = contract.getNumBatch();
  StringRef M = extents[numBatch].text, N = extents[numBatch + 1].text;
  if (fused && fused->queues()) {
    Index batches = count(extents.take_front(numBatch));
    out.add(fmt::format("const PanelQueue<{}> {}({}, {}, {}, {});", config,
                        fused->queue, fused->state, batches.text, M.str(),
                        N.str()));
    bool waits = fused->placement == tile::Placement::Grid;
    int meetings = meetingsOf(fused->fit);
    out.add(fmt::format(
        "s32 *const {} = {} + 1 + {}{}.panels;", fused->gathered, fused->state,
        meetings == 1 ? "" : fmt::format("{} * ", meetings), fused->queue));
    out.add(fmt::format("PanelItem {};", fused->item));
    out.add(fmt::format("while ({}.{}({})) {{", fused->queue,
                        waits ? "next" : "nextOfTwo", fused->item));
    out.indent();
    out.add(fmt::format("const GemmTile tile = {}.tile;", fused->item));
  } else if (fused && fused->placement == tile::Placement::Cluster) {
    out.add(fmt::format("const GemmTile tile = clusterTile<{}, {}>({});",
                        config, fused->cluster, M.str()));
  } else {
    out.add(fmt::format("const GemmTile tile = gemmTile<{}>({}, {});", config,
                        M.str(), N.str()));
  }
  if (numBatch == 0)
    return {};
  Block &block = contract.getEpilogue().front();
  static const StringRef defaults[] = {"b", "h", "g"};
  Index linear{"tile.batch", 2, 0, INT32_MAX - 1};
  delinearise(linear, extents.take_front(numBatch), block.getArguments(),
              defaults);
  std::vector<Index> batch;
  for (unsigned i = 0; i < numBatch; ++i)
    batch.push_back(body.index(block.getArgument(i)));
  return batch;
}

Result<std::string> KernelWriter::rowsOf(tile::ContractOp contract, bool isLhs,
                                         unsigned entries,
                                         ArrayRef<Index> batch) {
  ArrayRef<int64_t> terms = contract.getTerms();
  std::string list;
  for (unsigned t = 0; t < entries; ++t) {
    Region &region = isLhs ? contract.getLhsRegion(terms[2 * t])
                           : contract.getRhsRegion(terms[2 * t + 1]);
    std::optional<OperandRows> rows =
        isLhs && encoding    ? encoding->rows
        : !isLhs && decoding ? decoding->operands[terms[2 * t + 1]].rows
                             : OperandRows::of(contract, region);
    if (!rows)
      return refuse(contract.getLoc(),
                    "an operand of the product is not rows of contiguous K",
                    {"operands are brought into that form before emission"});
    Type element = contract.getElementType(region);
    Index offset = rows->offset(symbols, batch);
    std::string pointer = body.bufferName(rows->buffer).str();
    Type held = cast<tile::BufferType>(rows->buffer.getType()).getElementType();
    std::string wanted = elementText(
        element, isLhs ? contract.getLhsUnsigned() : contract.getRhsUnsigned());
    if (wanted != typeText(held) && !(isLhs && encoding) && !rows->packed)
      pointer = fmt::format("(const {} *){}", wanted, pointer);
    if (!offset.isConstant() || offset.lo != 0)
      pointer += " + " + offset.text;
    list += fmt::format("{}{{{}, {}}}", list.empty() ? "" : ", ", pointer,
                        symbols.affine(rows->stride).text);
  }
  return list;
}

void KernelWriter::writePromotion(unsigned terms) {
  out.add("// Partial sums are added as they are.");
  out.add(fmt::format(
      "auto rescale = [&](int, int, int, float (&factor)[{}]) {{", terms));
  for (unsigned t = 0; t < terms; ++t)
    out.add(fmt::format("  factor[{}] = 1.0f;", t));
  out.add("};");
}

Result<KernelText> KernelWriter::writeContract(tile::ContractOp contract) {
  std::vector<Index> extents;
  for (const Index &extent : symbols.affine(contract.getExtents())) {
    if (extent.lo > INT32_MAX)
      return refuse(contract.getLoc(),
                    fmt::format("an extent of the product is {} or more; at "
                                "most {} is accepted",
                                extent.lo, INT32_MAX));
    extents.push_back(asExtent(extent));
  }
  unsigned numBatch = contract.getNumBatch();
  const Index &M = extents[numBatch], &N = extents[numBatch + 1],
              &K = extents[numBatch + 2];
  int64_t maxK = 0;
  Result<GemmProblem> problem = gemmProblem(contract, symbols, maxK);
  if (!problem)
    return problem.error();
  KernelText result;
  if (kernel.getStages().back() != contract.getOperation())
    if (Result<void> done = beginFused(contract, extents, result); !done)
      return done.error();
  if (encodesOnLoad(kernel))
    if (Result<void> done = beginEncoding(); !done)
      return done.error();
  decoding = DecodeFit::of(contract);

  // Operands, in the order of terms; one entry where all terms share it.
  std::vector<Index> batch = writeTile(contract, extents);
  Result<std::string> lhs =
      rowsOf(contract, true, problem->sharedLhs ? 1 : problem->terms, batch);
  if (!lhs)
    return lhs.error();
  Result<std::string> rhs =
      rowsOf(contract, false, problem->sharedRhs ? 1 : problem->terms, batch);
  if (!rhs)
    return rhs.error();

  bool promotes = promotesSums(*problem, maxK, target);
  if (promotes)
    problem->split = GemmSchedule::promoteEvery;
  if (fused) {
    fused->batch = batch;
    problem = fused->fit.problem;
  } else if (encoding) {
    problem = encoding->problem;
  }
  Result<GemmSchedule> schedule = scheduleGemm(*problem, target);
  if (!schedule) {
    const quern::Diagnostic &why = schedule.error();
    return refuse(contract.getLoc(), why.message, why.notes);
  }
  SourceText declarations;
  writeConfig(declarations, contract, *problem, *schedule);
  if (encoding)
    if (Result<void> done = declareEncoding(contract, batch); !done)
      return done.error();
  if (promotes) {
    schedule->remark =
        fmt::format("sums of {} added up in f32", problem->split);
    writePromotion(problem->terms);
  } else if (problem->split) {
    if (Result<void> done = writeRescale(contract, batch, M, N); !done)
      return done.error();
  }
  if (decoding && decoding->becomesFloat())
    if (Result<void> done = declareDecoding(contract, *problem, batch, N, K);
        !done)
      return done.error();
  if (fused && fused->placement == tile::Placement::Panel) {
    declareParts(fused->held.stages[0].stage, fused->fit.stages[0]);
    out.add(fmt::format("if (!{}.finishes) {{", fused->item));
    out.indent();
  }
  if (encoding)
    if (Result<void> done = writeEncodeStages(batch); !done)
      return done.error();
  if (fused)
    declareHeld();
  if (Result<void> done = writeEpilogue(contract, batch, M, N); !done)
    return done.error();
  // What is left unsaid does nothing, up to the last that is said.
  std::vector<std::string> more = {problem->split ? "rescale" : "",
                                   encoding ? "encode" : "", decodes};
  while (!more.empty() && more.back().empty())
    more.pop_back();
  std::string functions;
  for (const std::string &function : more)
    functions += ", " + (function.empty() ? "NoRescale()" : function);
  out.add(fmt::format("gemm<{}>(tile, {}, {}, {}, {{{}}}, {{{}}}, epilogue{});",
                      config, M.text, N.text, K.text, *lhs, *rhs, functions));

  emptyAccumulators();
  result.schedule = schedule->describe();
  if (encoding)
    result.schedule += "; left encoded on load";
  if (decoding)
    result.schedule += "; right decoded on load";
  result.decodes = decoding.has_value();
  result.header = "gemm_mma/gemm_mma.cuh";
  result.launch = launchOf(contract, *schedule);
  if (fused) {
    if (Result<void> done = writeFusedStages(contract); !done)
      return done.error();
    endFused(contract, result);
  }
  if (encoding)
    result.header = "gemm_mma/encode_rows.cuh";
  unsigned minBlocks = fused ? schedule->minBlocks : schedule->fewBlocks;
  finish(result, declarations,
         fmt::format("Gemm<{}>::threads{}", config,
                     minBlocks ? fmt::format(", {}", minBlocks) : ""));
  return result;
}
