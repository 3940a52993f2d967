//===- Materialise.cpp - Operands brought into rows of contiguous K -------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/Materialise.h"

#include "compiler/emit/cuda/BodyText.h"
#include "compiler/emit/cuda/EncodeFit.h"
#include "compiler/emit/cuda/OperandRows.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::emit;

namespace {

/// Groups of `length` elements of K that take up `padded` in a buffer. A
/// length of 0 is K in one piece.
struct Groups {
  int64_t length = 0, padded = 0;

  /// What the product's split asks for.
  static Groups of(tile::ContractOp contract) {
    Type element = contract.getElementType(contract.getLhsRegion(0));
    int64_t length = contract.getSplit().value_or(0);
    int64_t step = 32 / (element.getIntOrFloatBitWidth() / 8);
    if (length % step == 0)
      return {};
    return {length, (length + step - 1) / step * step};
  }
  /// Elements in a buffer for `k` of them.
  AffineExpr extent(AffineExpr k, int64_t unit) const {
    return length ? k.ceilDiv(length) * padded : k.ceilDiv(unit) * unit;
  }
};

/// An operand made of weights that was written already.
struct Prepared {
  tile::KernelOp writer;
  SmallVector<Value> sources;
  Value buffer;
};

/// Rewrites one operand of one launched product.
class OperandWriter {
public:
  OperandWriter(tile::ProgramOp program, tile::LaunchOp launch,
                tile::KernelOp kernel, tile::ContractOp contract,
                SmallVector<Prepared> &prepared)
      : program(program), launch(launch), kernel(kernel), contract(contract),
        prepared(prepared), groups(Groups::of(contract)),
        builder(program.getContext()) {}

  /// Gives the launch and kernel with the operand in a buffer of its own.
  void rewrite(unsigned operand, llvm::StringRef name, StringRef label);
  bool padsGroups() const { return groups.length != 0; }
  /// Makes the product's K and split those of padded groups, once all
  /// operands have them.
  void padContract();

private:
  Value write(Region &region, tile::BufferType type, ArrayRef<unsigned> read,
              ArrayRef<unsigned> dims, llvm::StringRef name, StringRef label);
  Value paddedElement(Region &region, Value k, IRMapping &mapping);
  tile::KernelOp makeWriter(Region &region, tile::BufferType type,
                            ArrayRef<unsigned> read, ArrayRef<unsigned> dims,
                            llvm::StringRef name, StringRef label);

  tile::ProgramOp program;
  tile::LaunchOp launch;
  tile::KernelOp kernel;
  tile::ContractOp contract;
  SmallVector<Prepared> &prepared;
  Groups groups;
  OpBuilder builder;
};

} // namespace

/// The kernel arguments a region loads from.
static SmallVector<unsigned> argumentsRead(Region &region) {
  llvm::SetVector<unsigned> read;
  region.walk([&](tile::LoadOp load) {
    read.insert(cast<BlockArgument>(load.getBuffer()).getArgNumber());
  });
  return llvm::to_vector(read);
}

/// The region's index arguments its element depends on: used batch dimensions,
/// then row and k.
static SmallVector<unsigned> dimensionsUsed(Region &region, unsigned batch) {
  SmallVector<unsigned> dims;
  for (unsigned i = 0; i < batch; ++i)
    if (!region.getArgument(i).use_empty())
      dims.push_back(i);
  dims.push_back(batch);
  dims.push_back(batch + 1);
  return dims;
}

tile::KernelOp OperandWriter::makeWriter(Region &region, tile::BufferType type,
                                         ArrayRef<unsigned> read,
                                         ArrayRef<unsigned> dims,
                                         llvm::StringRef name,
                                         StringRef label) {
  Location loc = contract.getLoc();
  builder.setInsertionPoint(kernel);
  SmallVector<bool> writes(read.size() + 1, false);
  writes.back() = true;
  std::string reason =
      fmt::format("the {} operand of {} as rows of contiguous K", label.str(),
                  kernel.getSymName().str());
  if (groups.length)
    reason += fmt::format(", groups of {} padded to {} for the matrix "
                          "instructions",
                          groups.length, groups.padded);
  auto writer = tile::KernelOp::create(
      builder, loc, name, kernel.getSymbolsAttr(), writes,
      tile::NumericsClass::Exact, reason, Attribute(), tile::PlacementAttr());
  Block *body = builder.createBlock(&writer.getBody());
  IRMapping mapping;
  for (unsigned i : read) {
    BlockArgument arg = kernel.getBody().getArgument(i);
    mapping.map(arg, body->addArgument(arg.getType(), loc));
  }
  Value target = body->addArgument(type, loc);

  // Every point is one row; a map runs along K.
  AffineMap extents = contract.getExtents();
  unsigned batch = contract.getNumBatch();
  bool isLhs = label == "left";
  SmallVector<AffineExpr> domain;
  for (unsigned i : dims)
    if (i < batch)
      domain.push_back(extents.getResult(i));
  domain.push_back(extents.getResult(isLhs ? batch : batch + 1));
  unsigned symbols = extents.getNumSymbols();
  auto mapOf = [&](unsigned numDims, ArrayRef<AffineExpr> results) {
    return AffineMap::get(numDims, symbols, results, builder.getContext());
  };
  builder.setInsertionPointToEnd(body);
  auto blocks = tile::BlocksOp::create(builder, loc, mapOf(0, domain));
  Block *point = builder.createBlock(&blocks.getBody());
  for (unsigned i = 0; i < domain.size(); ++i)
    point->addArgument(builder.getIndexType(), loc);

  AffineExpr length = extents.getResult(batch + 2);
  builder.setInsertionPointToEnd(point);
  auto map = tile::MapOp::create(
      builder, loc, point->getArguments(),
      AffineMapAttr::get(mapOf(
          domain.size(), {groups.length ? groups.extent(length, 1) : length})),
      AffineMapAttr());
  Block *element = builder.createBlock(&map.getBody());
  Value k = element->addArgument(builder.getIndexType(), loc);

  for (auto [at, i] : llvm::enumerate(dims))
    mapping.map(region.getArgument(i),
                at < domain.size() ? Value(point->getArgument(at)) : k);
  builder.setInsertionPointToEnd(element);
  Value value = paddedElement(region, k, mapping);
  SmallVector<Value> at(point->getArguments());
  at.push_back(k);
  tile::StoreOp::create(
      builder, loc, value, target, at,
      AffineMap::getMultiDimIdentityMap(at.size(), builder.getContext()));
  tile::YieldOp::create(builder, loc, ValueRange());
  return writer;
}

/// Emits the element that stands at place `k` of a row: the region's, or zero
/// in a group's padding.
Value OperandWriter::paddedElement(Region &region, Value k,
                                   IRMapping &mapping) {
  Location loc = contract.getLoc();
  AffineMap extents = contract.getExtents();
  unsigned batch = contract.getNumBatch(), symbols = extents.getNumSymbols();
  auto index = [&](AffineExpr expr) -> Value {
    bool usesK = expr.isFunctionOfDim(0);
    return tile::IndexOp::create(
        builder, loc, builder.getIndexType(),
        usesK ? ValueRange(k) : ValueRange(),
        AffineMap::get(usesK ? 1 : 0, symbols, expr, builder.getContext()));
  };
  auto below = [&](Value a, Value b) -> Value {
    return arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::slt, a, b);
  };
  Value exists;
  if (groups.length) {
    AffineExpr place = builder.getAffineDimExpr(0);
    AffineExpr within = place % groups.padded;
    AffineExpr end = extents.getResult(batch + 2);
    Value source =
        index(place.floorDiv(groups.padded) * groups.length + within);
    Value inGroup = index(within);
    Value groupEnd = index(builder.getAffineConstantExpr(groups.length));
    Value isOfGroup = below(inGroup, groupEnd);
    Value rowEnd = index(end);
    Value isOfRow = below(source, rowEnd);
    exists = arith::AndIOp::create(builder, loc, isOfGroup, isOfRow);
    // Padding reads the last element, and forgets it.
    Value last = index(end - 1);
    mapping.map(region.getArgument(batch + 1),
                arith::MinSIOp::create(builder, loc, source, last));
  }
  for (Operation &op : region.front())
    if (!isa<tile::YieldOp>(op))
      builder.clone(op, mapping);
  Value value = mapping.lookup(region.front().getTerminator()->getOperand(0));
  if (!exists)
    return value;
  Value zero = arith::ConstantOp::create(builder, loc,
                                         builder.getZeroAttr(value.getType()));
  return arith::SelectOp::create(builder, loc, exists, value, zero);
}

/// The buffer that holds the operand when the product's launch happens.
Value OperandWriter::write(Region &region, tile::BufferType type,
                           ArrayRef<unsigned> read, ArrayRef<unsigned> dims,
                           llvm::StringRef name, StringRef label) {
  Location loc = contract.getLoc();
  SmallVector<Value> sources;
  for (unsigned i : read)
    sources.push_back(launch.getBuffers()[i]);
  bool isWeight = llvm::all_of(sources, [](Value source) {
    auto role = source.getDefiningOp<tile::BufferOp>().getRole();
    return role == tile::BufferRole::Weight || role == tile::BufferRole::Packed;
  });
  bool prepare = isWeight || launch.getPhase() == tile::LaunchPhase::Prepare;
  tile::KernelOp writer =
      makeWriter(region, type, read, dims, (name + "_rows").str(), label);
  if (prepare) {
    // It happens whatever the sizes.
    writer.setSymbolsAttr(program.getSymbolsAttr());
    for (const Prepared &known : prepared)
      if (known.sources == sources && known.buffer.getType() == type &&
          OperationEquivalence::isRegionEquivalentTo(
              &known.writer->getRegion(0), &writer->getRegion(0),
              OperationEquivalence::IgnoreLocations)) {
        writer.erase();
        return known.buffer;
      }
  }
  tile::BufferOp last;
  for (auto buffer : program.getBody().getOps<tile::BufferOp>())
    last = buffer;
  builder.setInsertionPointAfter(last);
  Value buffer = tile::BufferOp::create(builder, loc, type, name, "rows",
                                        prepare ? tile::BufferRole::Packed
                                                : tile::BufferRole::Temporary);
  if (prepare)
    prepared.push_back({writer, sources, buffer});
  sources.push_back(buffer);
  builder.setInsertionPoint(launch);
  tile::LaunchOp::create(builder, loc, writer.getSymName(), sources,
                         prepare ? tile::LaunchPhase::Prepare
                                 : tile::LaunchPhase::Run,
                         prepare ? ArrayAttr() : launch.getWhenAttr());
  return buffer;
}

void OperandWriter::padContract() {
  unsigned last = contract.getNumBatch() + 2;
  AffineMap extents = contract.getExtents();
  SmallVector<AffineExpr> results(extents.getResults());
  results[last] = groups.extent(results[last], 1);
  contract.setExtents(AffineMap::get(0, extents.getNumSymbols(), results,
                                     builder.getContext()));
  contract.setSplit(groups.padded);
}

void OperandWriter::rewrite(unsigned operand, llvm::StringRef name,
                            StringRef label) {
  Region &region = contract.getOperandRegions()[operand];
  Location loc = contract.getLoc();
  unsigned batch = contract.getNumBatch();
  SmallVector<unsigned> read = argumentsRead(region);
  SmallVector<unsigned> dims = dimensionsUsed(region, batch);
  bool isLhs = label == "left";

  // The buffer: K rounded up to 16 bytes, or groups of it to 32.
  AffineMap extents = contract.getExtents();
  Type element = contract.getElementType(region);
  bool isUnsigned =
      isLhs ? contract.getLhsUnsigned() : contract.getRhsUnsigned();
  if (element.isInteger(8) && isUnsigned)
    element = builder.getIntegerType(8, /*isSigned=*/false);
  int64_t unit = 16 / (element.getIntOrFloatBitWidth() / 8);
  SmallVector<AffineExpr> shape;
  for (unsigned i : dims)
    if (i < batch)
      shape.push_back(extents.getResult(i));
  shape.push_back(extents.getResult(isLhs ? batch : batch + 1));
  shape.push_back(groups.extent(extents.getResult(batch + 2), unit));
  auto type = tile::BufferType::get(
      builder.getContext(),
      AffineMap::get(0, extents.getNumSymbols(), shape, builder.getContext()),
      element);

  // The product gets the buffer as a further argument and reads it plainly.
  SmallVector<Value> operands(launch.getBuffers());
  operands.push_back(write(region, type, read, dims, name, label));
  builder.setInsertionPoint(launch);
  tile::LaunchOp replaced =
      tile::LaunchOp::create(builder, loc, launch.getKernel(), operands,
                             launch.getPhase(), launch.getWhenAttr());
  launch.erase();
  launch = replaced;
  BlockArgument rows = kernel.getBody().front().addArgument(type, loc);
  SmallVector<bool> writes(kernel.getWrites());
  writes.push_back(false);
  kernel.setWrites(writes);

  Block &block = region.front();
  while (!block.empty())
    block.back().erase();
  builder.setInsertionPointToEnd(&block);
  SmallVector<Value> at;
  for (unsigned i : dims)
    at.push_back(region.getArgument(i));
  Type loaded = contract.getContext() && element.isUnsignedInteger(8)
                    ? builder.getI8Type()
                    : element;
  Value value = tile::LoadOp::create(
      builder, loc, loaded, rows, at,
      AffineMap::getMultiDimIdentityMap(at.size(), builder.getContext()));
  tile::YieldOp::create(builder, loc, value);
}

/// Whether the product reads the operand as it is, or encodes it on load.
static bool isReadAsIs(tile::KernelOp kernel, tile::ContractOp contract,
                       unsigned operand) {
  if (operand < contract.getNumLhs() && encodesOnLoad(kernel))
    return true;
  return Groups::of(contract).length == 0 &&
         OperandRows::of(contract, contract.getOperandRegions()[operand]);
}

/// A kernel launched more than once is copied where its launches have to be
/// rewritten apart.
static void separateLaunches(tile::ProgramOp program, SymbolTable &table) {
  llvm::SmallDenseSet<Operation *> seen;
  for (auto launch : program.getBody().getOps<tile::LaunchOp>()) {
    auto kernel = table.lookup<tile::KernelOp>(launch.getKernel());
    auto contract = kernel ? kernel.getContract() : tile::ContractOp();
    if (!contract || seen.insert(kernel).second ||
        llvm::all_of(llvm::seq<unsigned>(contract.getOperandRegions().size()),
                     [&](unsigned operand) {
                       return isReadAsIs(kernel, contract, operand);
                     }))
      continue;
    auto copy = cast<tile::KernelOp>(kernel->clone());
    table.insert(copy, std::next(Block::iterator(kernel)));
    launch.setKernel(copy.getSymName());
    seen.insert(copy);
  }
}

Result<void> emit::materialiseOperands(tile::ProgramOp program) {
  SymbolTable table(program->getParentOfType<ModuleOp>());
  separateLaunches(program, table);
  SmallVector<Prepared> prepared;
  for (auto launch :
       llvm::to_vector(program.getBody().getOps<tile::LaunchOp>())) {
    auto kernel = table.lookup<tile::KernelOp>(launch.getKernel());
    auto contract = kernel ? kernel.getContract() : tile::ContractOp();
    if (!contract)
      continue;
    OperandWriter writer(program, launch, kernel, contract, prepared);
    for (unsigned i = 0; i < contract.getOperandRegions().size(); ++i) {
      Region &region = contract.getOperandRegions()[i];
      if (contract.getElementType(region).isF32())
        return refuse(contract.getLoc(),
                      "f32 products are not available on "
                      "CUDA: the matrix instructions used take 8-bit integers, "
                      "8-bit floats, f16 and bf16",
                      {"convert the operands (x as bf16), or use --target "
                       "cpu"});
      if (isReadAsIs(kernel, contract, i))
        continue;
      bool isLhs = i < contract.getNumLhs();
      std::string name = fmt::format(
          "{}_{}{}", kernel.getSymName().str(), isLhs ? "lhs" : "rhs",
          isLhs ? i : i - static_cast<unsigned>(contract.getNumLhs()));
      writer.rewrite(i, name, isLhs ? "left" : "right");
    }
    if (writer.padsGroups())
      writer.padContract();
  }
  return {};
}
