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

#include <numeric>

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

Result<bool> KernelWriter::writeReducePieces(tile::ReduceOp reduce) {
  Block &block = reduce.getBody().front();
  if (block.getNumArguments() != 1 || reduce.getClamp() ||
      reduce.getKind() == tile::ReduceKind::AddF)
    return false;
  // The load of neighbouring elements, from memory nobody writes here.
  BlockArgument along = block.getArgument(0);
  tile::LoadOp value;
  AffineMap begin;
  int64_t bytes = 0;
  for (auto load : block.getOps<tile::LoadOp>()) {
    Type type = load.getType();
    auto argument = dyn_cast<BlockArgument>(load.getBuffer());
    AffineMap map = load.getMap();
    auto at = llvm::find(load.getIndices(), along);
    if (value || !(type.isF16() || type.isBF16() || type.isF32()) ||
        !argument || isWritten(argument) || at == load.getIndices().end())
      continue;
    unsigned position = at - load.getIndices().begin();
    AffineExpr dim = getAffineDimExpr(position, map.getContext());
    AffineExpr zero = getAffineConstantExpr(0, map.getContext());
    AffineMap first = map.replace({{dim, zero}});
    if (llvm::any_of(
            map.getResults().drop_back(),
            [&](AffineExpr e) { return e.isFunctionOfDim(position); }) ||
        simplifyAffineExpr(map.getResults().back() - first.getResults().back(),
                           map.getNumDims(), map.getNumSymbols()) != dim)
      continue;
    int64_t width = type.getIntOrFloatBitWidth() / 8;
    AffineExpr stride = getAffineConstantExpr(1, map.getContext());
    AffineMap shape = load.getBuffer().getType().getShape();
    bytes = 16;
    for (size_t i = first.getNumResults(); i-- > 0;
         stride = stride * shape.getResult(i))
      bytes =
          std::gcd(bytes, symbols.divisor(first.getResult(i) * stride) * width);
    if (bytes < 4)
      continue;
    value = load;
    begin = first;
  }
  std::vector<Index> extent =
      symbols.affine(reduce.getExtents(), body.indicesOf(reduce.getPoint()));
  if (!value || extent[0].isWide())
    return false;
  StringRef function = "reduceUMaxOf", stem = "largest";
  if (reduce.getKind() == tile::ReduceKind::MaximumF)
    function = "reduceMaximumFOf", stem = "maximum";
  else if (reduce.getKind() == tile::ReduceKind::AddI)
    function = "reduceAddIOf", stem = "total";
  std::string result = names.make(stem), k = names.make("k"),
              x = names.make("element");
  body.bindIndex(along, Index::constant(0));
  auto type = value.getBuffer().getType();
  Index offset = symbols.offset(
      type, symbols.affine(begin, body.indicesOf(value.getIndices())));
  out.add(
      fmt::format("const {} {} = {}<Team, {}>({}, {} + {}, [&](int {}, {} {}) "
                  "{{",
                  typeText(reduce.getType()), result, function.str(), bytes,
                  extent[0].text, body.bufferName(value.getBuffer()).str(),
                  offset.text, k, typeText(value.getType()), x),
      Place::of(reduce.getLoc()));
  out.indent();
  body.bindIndex(along, Index::variable(k, extent[0].hi));
  body.bindScalar(value, x);
  for (Operation &op : block.without_terminator())
    if (&op != value.getOperation())
      if (Result<void> done = body.emit(&op); !done)
        return done.error();
  Value yielded = block.getTerminator()->getOperand(0);
  out.add(fmt::format("return {};", body.scalar(yielded)),
          Place::of(yielded.getLoc()));
  out.dedent();
  out.add("});");
  body.bindScalar(reduce.getResult(), result);
  return true;
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
  // One tile of a row panel stores what others read; of a batch that shares the
  // rows, one element.
  std::string guard = "tile.n0 == 0";
  for (unsigned i = 0; i < batch.size(); ++i)
    if (llvm::none_of(stage.points, [&](const EncodeAxis &axis) {
          return axis.kind == EncodeAxis::Batch && axis.batch == i;
        }))
      guard += fmt::format(" && {} == 0", batch[i].unit());
  body.setMemoryGuard(guard);
  readsPieces = true;
  if (Result<void> done = writeOps(stage.stage, layout, number,
                                   [](Operation *) { return Doing::Emit; });
      !done)
    return done;
  readsPieces = false;
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
