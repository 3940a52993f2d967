//===- Materialise.cpp - Operands brought into rows of contiguous K -------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/emit/cuda/Materialise.h"

#include "compiler/emit/cuda/BodyText.h"
#include "compiler/emit/cuda/DecodeFit.h"
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

/// A kernel that writes an operand, and what it reads of its product's buffers.
struct Writer {
  tile::KernelOp kernel;
  tile::BufferType type;
  SmallVector<unsigned> read;
  std::string name; ///< Of the operand.
};

/// An operand made of weights that was written already.
struct Prepared {
  tile::KernelOp writer;
  SmallVector<Value> sources;
  Value buffer;
};

/// Launches the writers of a program's operands, each kernel once for all
/// operands that it can write.
class Writers {
public:
  explicit Writers(tile::ProgramOp program)
      : program(program), builder(program.getContext()) {}

  /// The same kernel, if there is one already; the given one is erased then.
  tile::KernelOp unique(tile::KernelOp kernel);
  /// Gives the launch the buffer that the operand is in when it happens, as its
  /// last.
  tile::LaunchOp addOperand(tile::LaunchOp launch, Writer &writer);

private:
  Value write(tile::LaunchOp launch, Writer &writer);

  tile::ProgramOp program;
  OpBuilder builder;
  SmallVector<tile::KernelOp> kernels;
  SmallVector<Prepared> prepared;
};

/// Rewrites the operands of one product.
class OperandWriter {
public:
  OperandWriter(tile::ProgramOp program, tile::KernelOp kernel,
                tile::ContractOp contract, Writers &writers)
      : program(program), kernel(kernel), contract(contract), writers(writers),
        groups(Groups::of(contract)), builder(program.getContext()) {}

  /// Gives the kernel the operand in a buffer of its own, its last; its
  /// launches have to be given one.
  Writer rewrite(unsigned operand, llvm::StringRef name, StringRef label);
  bool padsGroups() const { return groups.length != 0; }
  /// Makes the product's K and split those of padded groups, once all
  /// operands have them.
  void padContract();

private:
  Value paddedElement(Region &region, Value k, IRMapping &mapping);
  tile::KernelOp makeWriter(Region &region, tile::BufferType type,
                            ArrayRef<unsigned> read, ArrayRef<unsigned> dims,
                            llvm::StringRef name, StringRef label);

  tile::ProgramOp program;
  tile::KernelOp kernel;
  tile::ContractOp contract;
  Writers &writers;
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
      builder, loc, name, program.getSymbolsAttr(), writes,
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

tile::KernelOp Writers::unique(tile::KernelOp kernel) {
  for (tile::KernelOp known : kernels)
    if (OperationEquivalence::isRegionEquivalentTo(
            &known.getBody(), &kernel.getBody(),
            OperationEquivalence::IgnoreLocations)) {
      kernel.erase();
      return known;
    }
  kernels.push_back(kernel);
  return kernel;
}

Value Writers::write(tile::LaunchOp launch, Writer &writer) {
  SmallVector<Value> sources;
  for (unsigned i : writer.read)
    sources.push_back(launch.getBuffers()[i]);
  bool isWeight = llvm::all_of(sources, [](Value source) {
    auto role = source.getDefiningOp<tile::BufferOp>().getRole();
    return role == tile::BufferRole::Weight || role == tile::BufferRole::Packed;
  });
  bool prepare = isWeight || launch.getPhase() == tile::LaunchPhase::Prepare;
  if (prepare)
    for (const Prepared &known : prepared)
      if (known.writer == writer.kernel && known.sources == sources)
        return known.buffer;
  tile::BufferOp last;
  for (auto buffer : program.getBody().getOps<tile::BufferOp>())
    last = buffer;
  builder.setInsertionPointAfter(last);
  Value buffer = tile::BufferOp::create(
      builder, launch.getLoc(), writer.type, writer.name, "rows",
      prepare ? tile::BufferRole::Packed : tile::BufferRole::Temporary);
  if (prepare)
    prepared.push_back({writer.kernel, sources, buffer});
  sources.push_back(buffer);
  builder.setInsertionPoint(launch);
  tile::LaunchOp::create(
      builder, launch.getLoc(), writer.kernel.getSymName(), sources,
      prepare ? tile::LaunchPhase::Prepare : tile::LaunchPhase::Run,
      prepare ? ArrayAttr() : launch.getWhenAttr());
  return buffer;
}

tile::LaunchOp Writers::addOperand(tile::LaunchOp launch, Writer &writer) {
  SmallVector<Value> operands(launch.getBuffers());
  operands.push_back(write(launch, writer));
  builder.setInsertionPoint(launch);
  tile::LaunchOp replaced =
      tile::LaunchOp::create(builder, launch.getLoc(), launch.getKernel(),
                             operands, launch.getPhase(), launch.getWhenAttr());
  launch.erase();
  return replaced;
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

Writer OperandWriter::rewrite(unsigned operand, llvm::StringRef name,
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

  Writer writer{writers.unique(makeWriter(region, type, read, dims,
                                          (name + "_rows").str(), label)),
                type, read, name.str()};

  // The product gets the buffer as a further argument and reads it plainly.
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
  return writer;
}

int64_t emit::materialisedSplit(tile::ContractOp contract) {
  Groups groups = Groups::of(contract);
  return groups.length ? groups.padded : contract.getSplit().value_or(0);
}

/// Rewrites a product: its operands that it cannot read as they are.
static Result<SmallVector<Writer>> rewriteProduct(tile::ProgramOp program,
                                                  tile::KernelOp kernel,
                                                  Writers &writers) {
  tile::ContractOp contract = kernel.getContract();
  OperandWriter writer(program, kernel, contract, writers);
  SmallVector<Writer> rewritten;
  bool decodes = DecodeFit::of(contract).has_value();
  for (unsigned i = 0; i < contract.getOperandRegions().size(); ++i) {
    Region &region = contract.getOperandRegions()[i];
    if (contract.getElementType(region).isF32())
      return refuse(contract.getLoc(),
                    "f32 products are not available on "
                    "CUDA: the matrix instructions used take 8-bit integers, "
                    "8-bit floats, f16 and bf16",
                    {"convert the operands (x as bf16), or use --target "
                     "cpu"});
    if (!writer.padsGroups() && OperandRows::of(contract, region))
      continue;
    bool isLhs = i < contract.getNumLhs();
    // Encoded or decoded on its way to the product.
    if (isLhs ? encodesOnLoad(kernel) : decodes)
      continue;
    std::string name = fmt::format(
        "{}_{}{}", kernel.getSymName().str(), isLhs ? "lhs" : "rhs",
        isLhs ? i : i - static_cast<unsigned>(contract.getNumLhs()));
    rewritten.push_back(writer.rewrite(i, name, isLhs ? "left" : "right"));
  }
  if (writer.padsGroups())
    writer.padContract();
  return rewritten;
}

Result<void> emit::materialiseOperands(tile::ProgramOp program) {
  SymbolTable table(program->getParentOfType<ModuleOp>());
  Writers writers(program);
  llvm::DenseMap<Operation *, SmallVector<Writer>> products;
  for (auto launch :
       llvm::to_vector(program.getBody().getOps<tile::LaunchOp>())) {
    auto kernel = table.lookup<tile::KernelOp>(launch.getKernel());
    if (!kernel || !kernel.getContract())
      continue;
    if (!products.contains(kernel)) {
      Result<SmallVector<Writer>> rewritten =
          rewriteProduct(program, kernel, writers);
      if (!rewritten)
        return rewritten.error();
      products[kernel] = std::move(*rewritten);
    }
    for (Writer &writer : products[kernel])
      launch = writers.addOperand(launch, writer);
  }
  return {};
}
