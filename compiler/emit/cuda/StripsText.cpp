//===- StripsText.cpp - Several stages of blocks in one kernel ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Writes what strips.cuh describes: per stage a loop over the strip's blocks
// with the body the stage would have in a kernel of its own.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/KernelText.h"
#include "compiler/emit/cuda/StripsFit.h"

#include <fmt/format.h>

#include <bit>

using namespace mlir;
using namespace quern;
using namespace quern::emit;

bool emit::isHeld(const tile::StageStrips &strips,
                  const tile::StripValue &value) {
  for (const tile::StageStrips::Stage &stage : strips.stages) {
    bool stores = false, loads = false;
    for (Operation *user : value.buffer.getUsers()) {
      tile::BlocksOp op = stage.op;
      if (!op->isAncestor(user))
        continue;
      stores |= isa<tile::StoreOp>(user);
      loads |= isa<tile::LoadOp>(user);
    }
    if (stores || loads)
      return stores;
  }
  return false;
}

StripTeams emit::teamsOf(const tile::StageStrips &strips, Symbols &symbols,
                         ArrayRef<Attribute> declared) {
  StripTeams teams;
  constexpr int64_t mostOfLanes = 256;
  bool allShort = true;
  for (const tile::StageStrips::Stage &stage : strips.stages) {
    int64_t most = blocksProblem(stage.op, symbols).maxBox;
    bool isShort = most <= mostOfLanes;
    allShort &= isShort;
    uint64_t lanes = std::bit_ceil<uint64_t>(std::max<int64_t>(most, 1));
    teams.lanes.push_back(isShort ? std::min<uint64_t>(lanes, 32) : 0);
  }
  for (const tile::StripValue &value : strips.values)
    if (isHeld(strips, value)) {
      int64_t more = tile::bytesPerStrip(value, declared);
      teams.heldBytes = more > INT64_MAX - teams.heldBytes
                            ? INT64_MAX
                            : teams.heldBytes + more;
    }
  constexpr unsigned warps = 8;
  if (allShort && teams.heldBytes <= stripBytes / warps)
    teams.threads = 32;
  return teams;
}

void KernelWriter::declareHeldStrip(const tile::StripValue &value,
                                    const StripTeams &teams) {
  auto type = cast<tile::BufferType>(value.buffer.getType());
  unsigned rank = type.getRank();
  ArrayRef<Attribute> declared = kernel.getSymbols().getValue();
  auto kept = [&](unsigned axis) {
    int64_t length = tile::largest(type.getShape().getResult(axis), declared);
    int64_t extent = value.extents[axis];
    return std::max<int64_t>(extent ? std::min(extent, length) : length, 1);
  };
  auto first = [&](unsigned axis) {
    int64_t extent = value.extents[axis];
    if (extent == 0)
      return Index::constant(0);
    Index at = stripAt[axis] * Index::constant(extent);
    return at.isWide()
               ? Index{fmt::format("(int)({})", at.text), 2, 0, INT32_MAX}
               : at;
  };
  int64_t rows = kept(rank - 2), pitch = kept(rank - 1);
  // Of a local nothing else has a name.
  if (value.buffer.getDefiningOp<tile::LocalOp>())
    body.bindBuffer(value.buffer, "", true);
  StringRef inMemory = body.bufferName(value.buffer);
  std::string element = typeText(type.getElementType());
  std::string words = names.make("kept");
  std::string held =
      names.make(inMemory.empty() ? "held" : "held_" + inMemory.str());
  unsigned together = teams.stripsPerBlock();
  out.add(fmt::format("__shared__ __align__(16) {} {}[{}{}];", element, words,
                      together > 1 ? fmt::format("{} * ", together) : "",
                      rows * pitch));
  std::string begin = together > 1
                          ? fmt::format("{} + threadIdx.x / {} * {}", words,
                                        teams.threads, rows * pitch)
                          : words;
  out.add(fmt::format("const HeldStrip<{}, {}> {}{{{}, {}, {}}};", element,
                      pitch, held, begin, first(rank - 2).text,
                      first(rank - 1).text));
  body.bindHeld(value.buffer, held);
}

std::string KernelWriter::writeStripPoint(const tile::StageStrips &strips,
                                          const tile::StageStrips::Stage &stage,
                                          ArrayRef<Index> counts,
                                          const Index &number) {
  tile::BlocksOp op = stage.op;
  Block &block = op.getBody().front();
  std::vector<Index> domain = symbols.affine(op.getDomain());
  delinearise(number, counts, block.getArguments(), pointNames(domain.size()));
  std::string conditions;
  for (auto [d, axis] : llvm::enumerate(stage.geometry.axes)) {
    std::optional<int64_t> count = strips.blocksPerStrip(stage, d);
    if (axis.point < 0 || !count)
      continue;
    BlockArgument arg = block.getArgument(axis.point);
    Index strip = stripAt[d];
    if (*count == 1) {
      body.bindIndex(arg, strip);
      continue;
    }
    Index at = strip * Index::constant(*count) + body.index(arg);
    std::string name = names.make("g");
    out.add(fmt::format("const int {} = {};", name, at.text));
    const Index &extent = domain[axis.point];
    body.bindIndex(arg, Index::variable(name, extent.hi));
    if (!extent.isConstant() || extent.hi % *count != 0)
      conditions += fmt::format("{}{} < {}", conditions.empty() ? "" : " && ",
                                name, extent.text);
  }
  return conditions;
}

Result<void>
KernelWriter::writeStripStage(const tile::StageStrips &strips,
                              const tile::StageStrips::Stage &stage,
                              unsigned lanes, const StripTeams &teams) {
  tile::BlocksOp op = stage.op;
  std::vector<Index> domain = symbols.affine(op.getDomain());
  std::vector<Index> counts(domain.size(), Index::constant(1));
  for (auto [d, axis] : llvm::enumerate(stage.geometry.axes))
    if (axis.point >= 0) {
      std::optional<int64_t> count = strips.blocksPerStrip(stage, d);
      counts[axis.point] = count ? Index::constant(*count) : domain[axis.point];
    }
  Index total = count(counts);
  bool one = total.isConstant() && total.hi == 1;
  out.add("{");
  out.indent();
  out.add(lanes ? fmt::format("using Team = StripLanes<{}, {}>;", teams.threads,
                              lanes)
                : "using Team = StripThreads;");
  BlocksKind kind = lanes ? BlocksKind::Warp : BlocksKind::Block;
  if (one && (lanes == 0 || lanes == teams.threads)) {
    writeStripPoint(strips, stage, counts, Index::constant(0));
    if (Result<void> done = writePointBody(op, kind); !done)
      return done;
  } else {
    std::string number = names.make("block");
    out.add(fmt::format("for (int {0} = Team::index(); {0} < {1}; {0} += "
                        "Team::count) {{",
                        number, total.unit()));
    out.indent();
    std::string exists = writeStripPoint(strips, stage, counts,
                                         Index::variable(number, total.hi));
    if (!exists.empty()) {
      out.add(fmt::format("if (!({}))", exists));
      out.add("  continue;");
    }
    if (Result<void> done = writePointBody(op, kind); !done)
      return done;
    out.dedent();
    out.add("}");
  }
  out.dedent();
  out.add("}");
  return {};
}

Result<KernelText> KernelWriter::writeStrips() {
  std::string why;
  std::optional<tile::StageStrips> strips = tile::getStrips(kernel, why);
  if (!strips)
    return refuse(kernel.getLoc(),
                  "stages that are not computed together: " + why);
  StripTeams teams = teamsOf(*strips, symbols, kernel.getSymbols().getValue());
  if (teams.heldBytes > stripBytes)
    return refuse(kernel.getLoc(),
                  fmt::format("what stages hand each other takes {} bytes of "
                              "shared memory for a {}, and there are {}",
                              teams.heldBytes, strips->describe(), stripBytes));
  tile::BlocksOp lead = strips->leading();
  std::vector<Index> domain = symbols.affine(lead.getDomain());
  Index points = count(domain);
  SymExpr grid = SymExpr::constant(1);
  for (AffineExpr extent : lead.getDomain().getResults())
    grid = grid * tile::toSymExpr(extent);

  KernelText result;
  result.header = "rowwise/strips.cuh";
  result.launch.block = {BlocksSchedule::threads, 1, 1};
  bool warps = teams.threads == 32;
  result.launch.grid[0] =
      warps ? SymExpr::ceilDiv(grid, SymExpr::constant(teams.stripsPerBlock()))
            : grid;
  result.schedule =
      fmt::format("a {} per {}, through {} stages; between them {} bytes in "
                  "shared memory",
                  warps ? "warp" : "thread block of 256", strips->describe(),
                  strips->stages.size(), teams.heldBytes);
  std::string strip = names.make("strip");
  Index point{strip, 2, 0, std::min<int64_t>(points.hi, INT32_MAX) - 1};
  out.add(fmt::format("const int {} = (int){}::index();", strip,
                      warps ? "WarpTeam" : "BlockTeam"));
  if (warps) {
    out.add(fmt::format("if ({} >= {})", strip, points.unit()));
    out.add("  return;");
  }
  Block &block = lead.getBody().front();
  delinearise(point, domain, block.getArguments(), pointNames(domain.size()));
  for (const tile::BlockAxis &axis : strips->strip().axes)
    stripAt.push_back(axis.point < 0
                          ? Index::constant(0)
                          : body.index(block.getArgument(axis.point)));
  for (const tile::StripValue &value : strips->values)
    if (isHeld(*strips, value))
      declareHeldStrip(value, teams);
  for (auto [i, stage] : llvm::enumerate(strips->stages)) {
    if (i > 0)
      out.add(warps ? "__syncwarp();" : "__syncthreads();");
    if (Result<void> done =
            writeStripStage(*strips, stage, teams.lanes[i], teams);
        !done)
      return done.error();
  }
  finish(result, SourceText(), "256");
  return result;
}
