//===- EncodeText.cpp - Operands that are encoded on load -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Writes what encode_rows.cuh describes: windows of shared memory for the
// scalars of this tile's blocks, the stages that fill them, and the function
// that makes a code of a value. Stages and function have the bodies they would
// have in a kernel of their own. What other kernels read of the scalars is
// stored by the tiles of the first column.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/KernelText.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::emit;

/// The number of the first block of an axis that this tile's rows lie in.
static std::string firstOf(const EncodeAxis &axis, ArrayRef<Index> batch) {
  switch (axis.kind) {
  case EncodeAxis::Rows:
    return axis.per == 1 ? "tile.m0" : fmt::format("tile.m0 / {}", axis.per);
  case EncodeAxis::Batch:
    return batch[axis.batch].text;
  default:
    return "0";
  }
}

Result<void> KernelWriter::beginEncoding() {
  GemmSchedule schedule;
  Result<EncodeFit> fit = fused ? findEncoding(kernel, symbols, target)
                                : fitEncoding(kernel, target, schedule);
  if (!fit)
    return fit.error();
  encoding.emplace(std::move(*fit));
  if (fused)
    encoding->lay(symbols, fused->fit.schedule.tileM);
  for (const EncodeScalars &scalars : encoding->scalars)
    if (scalars.buffer.getDefiningOp<tile::LocalOp>())
      body.bindBuffer(scalars.buffer, "", true);
  // What only stages see of each other has no place among the product's blocks.
  llvm::SmallPtrSet<Value, 4> left;
  for (const EncodeStage &stage : encoding->stages) {
    tile::BlocksOp op = stage.stage;
    op.walk([&](tile::StoreOp store) { left.insert(store.getBuffer()); });
  }
  for (auto local : kernel.getBody().getOps<tile::LocalOp>())
    if (left.contains(local) &&
        llvm::none_of(encoding->scalars, [&](const EncodeScalars &scalars) {
          return scalars.buffer == local.getResult();
        }))
      return refuse(local.getLoc(),
                    "a stage leaves something that the product does not read");
  return {};
}

std::string KernelWriter::writeEncodePoint(const EncodeStage &stage,
                                           const std::string &number,
                                           ArrayRef<Index> batch) {
  tile::BlocksOp op = stage.stage;
  Block &block = op.getBody().front();
  std::string conditions;
  for (auto [arg, axis, extent] : llvm::zip(block.getArguments(), stage.points,
                                            symbols.affine(op.getDomain()))) {
    if (axis.kind == EncodeAxis::One) {
      body.bindIndex(arg, Index::constant(0));
      continue;
    }
    if (axis.kind == EncodeAxis::Batch) {
      body.bindIndex(arg, batch[axis.batch]);
      continue;
    }
    bool isRow = axis.kind == EncodeAxis::Rows;
    std::string within = number, text = firstOf(axis, batch);
    if (stage.countRows > 1 && stage.countDepth > 1)
      within =
          fmt::format("{} {} {}", number, isRow ? '/' : '%', stage.countDepth);
    bool single = (isRow ? stage.countRows : stage.countDepth) == 1;
    if (!isRow)
      text = single ? "0" : within;
    else if (!single)
      text += " + " + within;
    std::string name = names.make(isRow ? (axis.per == 1 ? "m" : "mb") : "g");
    out.add(fmt::format("const int {} = {};", name, text));
    bool allExist = !isRow && extent.isConstant();
    if (!allExist)
      conditions += fmt::format("{}{} < {}", conditions.empty() ? "" : " && ",
                                name, extent.text);
    body.bindIndex(arg, Index::variable(name, extent.hi));
  }
  return conditions;
}

Result<void> KernelWriter::writeEncodeStage(const EncodeStage &stage,
                                            ArrayRef<Index> batch) {
  out.add("{");
  out.indent();
  out.add(stage.lanes ? fmt::format("using Team = TileLanes<{}, {}>;", config,
                                    stage.lanes)
                      : fmt::format("using Team = TileThreads<{}>;", config));
  std::string number = names.make("block");
  out.add(fmt::format("for (int {0} = Team::index(); {0} < {1}; {0} += "
                      "Team::count) {{",
                      number, stage.countRows * stage.countDepth));
  out.indent();
  std::string exists = writeEncodePoint(stage, number, batch);
  if (!exists.empty()) {
    out.add(fmt::format("if (!({}))", exists));
    out.add("  continue;");
  }
  StageLayout layout;
  layout.lanes = stage.lanes;
  body.setMemoryGuard("tile.n0 == 0");
  if (Result<void> done = writeOps(stage.stage, layout, number,
                                   [](Operation *) { return Doing::Emit; });
      !done)
    return done;
  body.setMemoryGuard("");
  out.dedent();
  out.add("}");
  out.dedent();
  out.add("}");
  out.add("__syncthreads();");
  return {};
}

Result<void> KernelWriter::declareEncoding(tile::ContractOp contract,
                                           ArrayRef<Index> batch) {
  for (const EncodeScalars &scalars : encoding->scalars) {
    auto type = cast<tile::BufferType>(scalars.buffer.getType());
    StringRef inMemory = body.bufferName(scalars.buffer);
    std::string stem = inMemory.empty() ? "scale" : inMemory.str() + "_here";
    std::string element = typeText(type.getElementType());
    std::string words = names.make(stem + "_words"), name = names.make(stem);
    out.add(fmt::format("__shared__ {} {}[{}];", element, words,
                        scalars.count[0] * scalars.count[1]));
    out.add(fmt::format("const TileValues<{}, {}> {}{{{}, {}, {}}};", element,
                        scalars.count[1], name, words,
                        firstOf(scalars.axes[0], batch),
                        firstOf(scalars.axes[1], batch)));
    body.bindHeld(scalars.buffer, name);
  }
  Block &block = contract.getLhsRegion(0).front();
  unsigned at = batch.size();
  std::string m = names.make("m"), k = names.make("k"),
              value = names.make("value");
  for (auto [arg, index] :
       llvm::zip(block.getArguments().take_front(at), batch))
    body.bindIndex(arg, index);
  std::vector<Index> extents = symbols.affine(contract.getExtents());
  body.bindIndex(block.getArgument(at), Index::variable(m, extents[at].hi));
  body.bindIndex(block.getArgument(at + 1),
                 Index::variable(k, extents[at + 2].hi));
  out.add("// The code of a value of the left operand.");
  out.add(fmt::format("auto encode = [&](int {}, int {}, {} {}) {{", m, k,
                      typeText(encoding->value.getType()), value));
  out.indent();
  body.bindScalar(encoding->value, value);
  for (Operation &op : block.without_terminator())
    if (&op != encoding->value.getOperation())
      if (Result<void> done = body.emit(&op); !done)
        return done;
  Value code = block.getTerminator()->getOperand(0);
  out.add(fmt::format("return {};", body.scalar(code)),
          Place::of(code.getLoc()));
  out.dedent();
  out.add("};");
  return {};
}

Result<void> KernelWriter::writeEncodeStages(ArrayRef<Index> batch) {
  for (const EncodeStage &stage : encoding->stages)
    if (Result<void> done = writeEncodeStage(stage, batch); !done)
      return done;
  return {};
}
