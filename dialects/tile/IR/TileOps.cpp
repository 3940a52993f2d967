//===- TileOps.cpp - Syntax and verifiers of the tile dialect -------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "dialects/tile/IR/Tile.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace quern;
using namespace quern::tile;

#define GET_OP_CLASSES
#include "dialects/tile/IR/TileOps.cpp.inc"

//===----------------------------------------------------------------------===//
// Syntax shared by the ops with element bodies
//===----------------------------------------------------------------------===//

/// Prints `{...}` after `(%arg: type, ...)`.
static void printBody(OpAsmPrinter &printer, Region &region) {
  printer << " (";
  llvm::interleaveComma(region.getArguments(), printer, [&](BlockArgument arg) {
    printer.printRegionArgument(arg);
  });
  printer << ") ";
  printer.printRegion(region, /*printEntryBlockArgs=*/false);
}

static ParseResult parseBody(OpAsmParser &parser, Region &region) {
  SmallVector<OpAsmParser::Argument> args;
  if (parser.parseArgumentList(args, OpAsmParser::Delimiter::Paren,
                               /*allowType=*/true) ||
      parser.parseRegion(region, args))
    return failure();
  return success();
}

//===----------------------------------------------------------------------===//
// Launch
//===----------------------------------------------------------------------===//

LogicalResult LaunchOp::verify() {
  auto program = (*this)->getParentOfType<ProgramOp>();
  if (!getWhen() || !program)
    return success();
  auto broken = [&] { return emitOpError("tile_launch_c2: "); };
  if (getPhase() == LaunchPhase::Prepare)
    return broken() << "a prepare launch happens whatever the sizes";
  llvm::StringMap<SymbolAttr> open;
  for (auto symbol : program.getSymbols().getAsRange<SymbolAttr>())
    open[symbol.getName()] = symbol;
  for (auto range : getWhen()->getAsRange<RangeAttr>()) {
    StringRef name = range.getSymbol();
    SymbolAttr symbol = open.lookup(name);
    if (!symbol)
      return broken() << "the program has no symbol " << name
                      << ", or it has a range already";
    open.erase(name);
    if (range.getMin() > range.getMax() || range.getMin() < symbol.getMin() ||
        range.getMax() > symbol.getMax())
      return broken() << range.getMin() << ".." << range.getMax()
                      << " is no range of " << name << " within "
                      << symbol.getMin() << ".." << symbol.getMax();
  }
  return success();
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &tables) {
  auto program = (*this)->getParentOfType<ProgramOp>();
  if (!program)
    return success();
  auto kernel = tables.lookupNearestSymbolFrom<KernelOp>(program->getParentOp(),
                                                         getKernelAttr());
  if (!kernel)
    return success(); // Whoever compiles the program says so.
  llvm::StringMap<std::pair<int64_t, int64_t>> launched;
  for (auto symbol : program.getSymbols().getAsRange<SymbolAttr>())
    launched[symbol.getName()] = {symbol.getMin(), symbol.getMax()};
  if (getWhen())
    for (auto range : getWhen()->getAsRange<RangeAttr>())
      launched[range.getSymbol()] = {range.getMin(), range.getMax()};
  for (auto symbol : kernel.getSymbols().getAsRange<SymbolAttr>()) {
    auto found = launched.find(symbol.getName());
    if (found == launched.end())
      continue;
    auto [min, max] = found->second;
    if (min < symbol.getMin() || max > symbol.getMax())
      return emitOpError("tile_launch_c3: ")
             << symbol.getName() << " is " << min << ".." << max << ", and @"
             << getKernel() << " is for " << symbol.getMin() << ".."
             << symbol.getMax();
  }
  return success();
}

SmallVector<SymbolRange> tile::getRanges(LaunchOp launch) {
  SmallVector<SymbolRange> ranges;
  auto program = launch->getParentOfType<ProgramOp>();
  if (!launch.getWhen())
    return ranges;
  for (auto range : launch.getWhen()->getAsRange<RangeAttr>())
    for (auto [i, symbol] :
         llvm::enumerate(program.getSymbols().getAsRange<SymbolAttr>()))
      if (symbol.getName() == range.getSymbol())
        ranges.push_back(
            {static_cast<unsigned>(i), range.getMin(), range.getMax()});
  return ranges;
}

bool tile::happens(LaunchOp launch, ArrayRef<int64_t> sizes) {
  return llvm::all_of(getRanges(launch), [&](const SymbolRange &range) {
    return sizes[range.symbol] >= range.min && sizes[range.symbol] <= range.max;
  });
}

//===----------------------------------------------------------------------===//
// Kernel
//===----------------------------------------------------------------------===//

ParseResult KernelOp::parse(OpAsmParser &parser, OperationState &result) {
  StringAttr name;
  if (parser.parseSymbolName(name, getSymNameAttrName(result.name),
                             result.attributes))
    return failure();
  if (parser.parseOptionalAttrDictWithKeyword(result.attributes))
    return failure();
  return parseBody(parser, *result.addRegion());
}

void KernelOp::print(OpAsmPrinter &printer) {
  printer << ' ';
  printer.printSymbolName(getSymName());
  printer.printOptionalAttrDictWithKeyword((*this)->getAttrs(),
                                           {getSymNameAttrName()});
  printBody(printer, getBody());
}

SmallVector<Operation *> KernelOp::getStages() {
  SmallVector<Operation *> stages;
  for (Operation &op : getBody().front())
    if (!isa<LocalOp>(op))
      stages.push_back(&op);
  return stages;
}

ContractOp KernelOp::getContract() {
  auto contracts = getBody().front().getOps<ContractOp>();
  return contracts.empty() ? ContractOp() : *contracts.begin();
}

/// Locals are stored to before they are loaded from.
static LogicalResult verifyLocals(KernelOp kernel) {
  llvm::DenseSet<Value> stored;
  for (Operation *stage : kernel.getStages()) {
    stage->walk([&](StoreOp store) { stored.insert(store.getBuffer()); });
    auto loaded = stage->walk([&](LoadOp load) {
      Value buffer = load.getBuffer();
      if (!buffer.getDefiningOp<LocalOp>() || stored.contains(buffer))
        return WalkResult::advance();
      load.emitOpError("tile_kernel_c4: loads from a local that no stage "
                       "before has stored to");
      return WalkResult::interrupt();
    });
    if (loaded.wasInterrupted())
      return failure();
  }
  return success();
}

LogicalResult KernelOp::verify() {
  Block &body = getBody().front();
  SmallVector<Operation *> stages = getStages();
  bool wellFormed = !stages.empty();
  for (Operation &op : body)
    wellFormed &= isa<LocalOp, ContractOp, BlocksOp>(op);
  for (Operation *stage : stages)
    wellFormed &=
        stage == stages.front() || !isa<LocalOp>(stage->getPrevNode());
  if (!wellFormed || llvm::count_if(stages, llvm::IsaPred<ContractOp>) > 1)
    return emitOpError("tile_kernel_c1: the body is tile.local ops, then one "
                       "or more stages: tile.blocks and at most one "
                       "tile.contract");
  if (getWrites().size() != body.getNumArguments())
    return emitOpError("tile_kernel_c2: ")
           << getWrites().size() << " entries of `writes` for "
           << body.getNumArguments() << " buffers";
  auto stored = getBody().walk([&](Operation *op) {
    Value buffer;
    if (auto store = dyn_cast<StoreOp>(op))
      buffer = store.getBuffer();
    else if (auto accumulate = dyn_cast<AccumulateOp>(op))
      buffer = accumulate.getBuffer();
    else
      return WalkResult::advance();
    auto arg = dyn_cast<BlockArgument>(buffer);
    if (arg ? arg.getOwner() == &body && getWrites()[arg.getArgNumber()]
            : isa<StoreOp>(op))
      return WalkResult::advance();
    op->emitOpError("tile_kernel_c2: stores to a buffer the kernel does not "
                    "write");
    return WalkResult::interrupt();
  });
  if (stored.wasInterrupted())
    return failure();
  if (getPlacement().has_value() != (stages.size() > 1) ||
      getPlacement() == Placement::Separate)
    return emitOpError("tile_kernel_c3: `placement` is given exactly with "
                       "several stages, and is not `separate`");
  return verifyLocals(*this);
}

//===----------------------------------------------------------------------===//
// Contract
//===----------------------------------------------------------------------===//

ParseResult ContractOp::parse(OpAsmParser &parser, OperationState &result) {
  if (parser.parseOptionalAttrDict(result.attributes) ||
      parser.parseKeyword("epilogue"))
    return failure();
  Region *epilogue = result.addRegion();
  Region *rescale = result.addRegion();
  if (parseBody(parser, *epilogue))
    return failure();
  if (succeeded(parser.parseOptionalKeyword("rescale")) &&
      parseBody(parser, *rescale))
    return failure();
  while (succeeded(parser.parseOptionalKeyword("operand")))
    if (parseBody(parser, *result.addRegion()))
      return failure();
  return success();
}

void ContractOp::print(OpAsmPrinter &printer) {
  printer.printOptionalAttrDict((*this)->getAttrs());
  printer << " epilogue";
  printBody(printer, getEpilogue());
  if (!getRescale().empty()) {
    printer << " rescale";
    printBody(printer, getRescale());
  }
  for (Region &region : getOperandRegions()) {
    printer << " operand";
    printBody(printer, region);
  }
}

Type ContractOp::getElementType(Region &region) {
  return region.front().getTerminator()->getOperand(0).getType();
}

LoadOp ContractOp::getPlainLoad(Region &region) {
  auto yield = cast<YieldOp>(region.front().getTerminator());
  auto load = yield.getValues()[0].getDefiningOp<LoadOp>();
  if (!load || load->getBlock() != &region.front() ||
      std::distance(region.front().begin(), region.front().end()) != 2)
    return {};
  // What is widened on the way is not as it lies in memory.
  Type stored = load.getBuffer().getType().getElementType();
  return getWideType(stored) == stored ? load : LoadOp();
}

bool ContractOp::hasAddends() {
  return !getRescale().empty() && !getRescale().front().empty() &&
         getRescale().front().back().getNumOperands() > getNumTerms();
}

Type ContractOp::getAccumulatorType() {
  if (!getSplit() && getElementType(getLhsRegion(0)).isInteger(8))
    return IntegerType::get(getContext(), 32);
  return Float32Type::get(getContext());
}

/// tile_contract_c1 for one region: `indices` index arguments, then `values`.
static LogicalResult verifyArguments(ContractOp op, Region &region,
                                     StringRef what, unsigned indices,
                                     unsigned values, Type valueType) {
  if (region.getNumArguments() != indices + values)
    return op.emitOpError("tile_contract_c1: ")
           << what << " takes " << indices + values << " arguments, not "
           << region.getNumArguments();
  for (BlockArgument arg : region.getArguments()) {
    Type expected = arg.getArgNumber() < indices
                        ? Type(IndexType::get(op.getContext()))
                        : valueType;
    if (arg.getType() != expected)
      return op.emitOpError("tile_contract_c1: argument ")
             << arg.getArgNumber() << " of " << what << " must be " << expected;
  }
  return success();
}

/// The terminator is a yield of that many values.
static LogicalResult verifyYield(Operation *op, Region &region, StringRef what,
                                 unsigned values) {
  if (!isa_and_nonnull<YieldOp>(
          region.front().empty() ? nullptr : &region.front().back()) ||
      region.front().back().getNumOperands() != values)
    return op->emitOpError(what)
           << " must end in tile.yield of " << values << " value(s)";
  return success();
}

static bool isF8(Type type) {
  return isa<Float8E4M3FNType, Float8E5M2Type>(type);
}

LogicalResult ContractOp::verify() {
  unsigned batch = getNumBatch();
  if (getExtents().getNumDims() != 0 ||
      getExtents().getNumResults() != batch + 3)
    return emitOpError("tile_contract_c1: extents give the batch dimensions, "
                       "M, N and K, as expressions of symbols");
  if (getNumLhs() < 1 || getOperandRegions().size() <= getNumLhs() ||
      getTerms().empty() || getTerms().size() % 2 != 0)
    return emitOpError("tile_contract_c2: at least one left operand, one right "
                       "operand and one term");
  for (Region &region : getOperandRegions()) {
    if (failed(
            verifyArguments(*this, region, "an operand", batch + 2, 0, {})) ||
        failed(verifyYield(*this, region, "tile_contract_c1: an operand", 1)))
      return failure();
    Type type = getElementType(region);
    if (!type.isInteger(8) && !isF8(type) && !type.isF16() && !type.isBF16() &&
        !type.isF32())
      return emitOpError("tile_contract_c1: an operand yields i8, f8E4M3FN, "
                         "f8E5M2, f16, bf16 or f32, not ")
             << type;
  }
  for (unsigned t = 0; t < getNumTerms(); ++t) {
    int64_t l = getTerms()[2 * t], r = getTerms()[2 * t + 1];
    if (l < 0 || l >= static_cast<int64_t>(getNumLhs()) || r < 0 ||
        r >= static_cast<int64_t>(getNumRhs()))
      return emitOpError("tile_contract_c2: term ") << t << " is out of range";
    Type left = getElementType(getLhsRegion(l));
    Type right = getElementType(getRhsRegion(r));
    if (left != right && !(isF8(left) && isF8(right)))
      return emitOpError("tile_contract_c3: term ")
             << t << " multiplies " << left << " with " << right;
  }
  if (bool(getSplit()) == getRescale().empty())
    return emitOpError("tile_contract_c4: `rescale` is present exactly with "
                       "`split`");
  if (getSplit() &&
      (*getSplit() < 1 ||
       failed(
           verifyArguments(*this, getRescale(), "rescale", batch + 3, 0, {})) ||
       failed(verifyYield(*this, getRescale(), "tile_contract_c1: rescale",
                          getNumTerms() * (hasAddends() ? 2 : 1)))))
    return failure();
  if (hasAddends()) {
    bool right = getElementType(getLhsRegion(0)).isInteger(8);
    for (Value addend :
         getRescale().front().back().getOperands().drop_front(getNumTerms()))
      right &= addend.getType().isInteger(32);
    if (!right)
      return emitOpError("tile_contract_c1: addends are i32, in products of "
                         "integers");
  }
  if (failed(verifyArguments(*this, getEpilogue(), "epilogue", batch + 2,
                             getNumTerms(), getAccumulatorType())))
    return failure();
  return verifyYield(*this, getEpilogue(), "tile_contract_c1: epilogue", 0);
}

//===----------------------------------------------------------------------===//
// Blocks, reduce, map
//===----------------------------------------------------------------------===//

ParseResult BlocksOp::parse(OpAsmParser &parser, OperationState &result) {
  AffineMapAttr domain;
  if (parser.parseAttribute(domain, getDomainAttrName(result.name),
                            result.attributes) ||
      parser.parseOptionalAttrDict(result.attributes))
    return failure();
  return parseBody(parser, *result.addRegion());
}

void BlocksOp::print(OpAsmPrinter &printer) {
  printer << ' ' << getDomainAttr();
  printer.printOptionalAttrDict((*this)->getAttrs(), {getDomainAttrName()});
  printBody(printer, getBody());
}

LogicalResult BlocksOp::verify() {
  if (getDomain().getNumDims() != 0 ||
      getDomain().getNumResults() != getBody().getNumArguments())
    return emitOpError("tile_blocks_c1: one index argument per extent of the "
                       "domain, which depends on symbols only");
  return success();
}

/// `(%i, %j) box map clamp map`, the part reduce and map share.
static ParseResult parseBox(OpAsmParser &parser, OperationState &result,
                            StringAttr extentsName, StringAttr clampName) {
  SmallVector<OpAsmParser::UnresolvedOperand> point;
  AffineMapAttr extents, clamp;
  if (parser.parseOperandList(point, OpAsmParser::Delimiter::Paren) ||
      parser.resolveOperands(point, parser.getBuilder().getIndexType(),
                             result.operands) ||
      parser.parseKeyword("box") ||
      parser.parseAttribute(extents, extentsName.strref(), result.attributes))
    return failure();
  if (succeeded(parser.parseOptionalKeyword("clamp")) &&
      parser.parseAttribute(clamp, clampName.strref(), result.attributes))
    return failure();
  return parser.parseOptionalAttrDict(result.attributes);
}

template <typename OpTy>
static void printBox(OpAsmPrinter &printer, OpTy op,
                     ArrayRef<StringRef> printed) {
  printer << '(' << op.getPoint() << ") box " << op.getExtentsAttr();
  if (op.getClampAttr())
    printer << " clamp " << op.getClampAttr();
  SmallVector<StringRef> elided(printed);
  elided.append({op.getExtentsAttrName(), op.getClampAttrName()});
  printer.printOptionalAttrDict(op->getAttrs(), elided);
}

template <typename OpTy> static LogicalResult verifyBox(OpTy op) {
  AffineMap extents = op.getExtents();
  unsigned rank = extents.getNumResults();
  if (extents.getNumDims() != op.getPoint().size() ||
      op.getBody().getNumArguments() != rank)
    return op.emitOpError("tile_box_c1: the box map takes the given point and "
                          "has one result per body argument");
  if (std::optional<AffineMap> clamp = op.getClamp())
    if (clamp->getNumResults() != rank ||
        clamp->getNumDims() != extents.getNumDims())
      return op.emitOpError(
          "tile_box_c2: `clamp` has the shape of the box map");
  return success();
}

ParseResult ReduceOp::parse(OpAsmParser &parser, OperationState &result) {
  StringRef kind;
  auto loc = parser.getCurrentLocation();
  if (parser.parseKeyword(&kind))
    return failure();
  std::optional<ReduceKind> symbol = symbolizeReduceKind(kind);
  if (!symbol)
    return parser.emitError(loc, "unknown reduction ") << kind;
  result.addAttribute(getKindAttrName(result.name),
                      ReduceKindAttr::get(parser.getContext(), *symbol));
  Type type;
  if (parseBox(parser, result, getExtentsAttrName(result.name),
               getClampAttrName(result.name)) ||
      parseBody(parser, *result.addRegion()) || parser.parseColonType(type))
    return failure();
  result.addTypes(type);
  return success();
}

void ReduceOp::print(OpAsmPrinter &printer) {
  printer << ' ' << stringifyReduceKind(getKind()) << ' ';
  printBox(printer, *this, {getKindAttrName()});
  printBody(printer, getBody());
  printer << " : " << getResult().getType();
}

LogicalResult ReduceOp::verify() {
  bool integer = getKind() == ReduceKind::UMax || getKind() == ReduceKind::AddI;
  if (getResult().getType().isInteger(32) != integer)
    return emitOpError("tile_reduce_c1: ")
           << stringifyReduceKind(getKind()) << " gives "
           << (integer ? "i32" : "f32");
  if (failed(verifyYield(*this, getBody(), "tile_reduce_c1: the body", 1)))
    return failure();
  if (getBody().front().back().getOperand(0).getType() != getResult().getType())
    return emitOpError("tile_reduce_c1: the body yields another type than the "
                       "result");
  return verifyBox(*this);
}

ParseResult MapOp::parse(OpAsmParser &parser, OperationState &result) {
  if (parseBox(parser, result, getExtentsAttrName(result.name),
               getClampAttrName(result.name)))
    return failure();
  return parseBody(parser, *result.addRegion());
}

void MapOp::print(OpAsmPrinter &printer) {
  printer << ' ';
  printBox(printer, *this, {});
  printBody(printer, getBody());
}

LogicalResult MapOp::verify() {
  if (failed(verifyYield(*this, getBody(), "tile_map_c1: the body", 0)))
    return failure();
  return verifyBox(*this);
}

//===----------------------------------------------------------------------===//
// Access
//===----------------------------------------------------------------------===//

static LogicalResult verifyAccess(Operation *op, StringRef label,
                                  BufferType buffer, size_t indices,
                                  AffineMap map, Type element) {
  if (map.getNumDims() != indices || map.getNumResults() != buffer.getRank())
    return op->emitOpError(label)
           << "_c1: a map of " << map.getNumDims() << " dimensions to "
           << map.getNumResults() << " results, for " << indices
           << " indices and a buffer of rank " << buffer.getRank();
  Type expected = getWideType(buffer.getElementType());
  if (expected.isUnsignedInteger(8))
    expected = IntegerType::get(op->getContext(), 8);
  if (element != expected)
    return op->emitOpError(label)
           << "_c2: the element is " << expected << ", not " << element;
  return success();
}

LogicalResult LoadOp::verify() {
  return verifyAccess(*this, "tile_load", getBuffer().getType(),
                      getIndices().size(), getMap(), getResult().getType());
}

LogicalResult StoreOp::verify() {
  Type stored = getBuffer().getType().getElementType();
  if (getWideType(stored) != stored)
    return emitOpError("tile_store_c3: elements of ")
           << stored << " share their bytes and are only read";
  return verifyAccess(*this, "tile_store", getBuffer().getType(),
                      getIndices().size(), getMap(), getValue().getType());
}

LogicalResult AccumulateOp::verify() {
  if (getKind() != ReduceKind::UMax && getKind() != ReduceKind::AddI)
    return emitOpError("tile_accumulate_c3: the kind is umax or addi, not ")
           << stringifyReduceKind(getKind());
  return verifyAccess(*this, "tile_accumulate", getBuffer().getType(),
                      getIndices().size(), getMap(), getValue().getType());
}
