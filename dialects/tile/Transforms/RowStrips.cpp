//===- RowStrips.cpp - Programs that may run some rows at a time ----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "dialects/tile/Transforms/RowStrips.h"

#include "dialects/tile/Transforms/StageFusion.h"

#include "llvm/ADT/DenseSet.h"

using namespace quern;
using namespace quern::tile;

namespace {

/// Looks at a program with one symbol in mind.
class RowReader {
public:
  explicit RowReader(unsigned symbol) : symbol(symbol) {}

  bool accepts(ProgramOp program);

private:
  bool acceptsBuffers(ProgramOp program);
  bool acceptsKernel(KernelOp kernel);
  bool findRows(KernelOp kernel);
  std::optional<unsigned> numberOfRows(mlir::AffineMap extents) const;
  bool packsInEveryStrip(LaunchOp launch) const;
  bool acceptsAccess(BufferType type, mlir::AffineMap map,
                     mlir::ValueRange indices);

  bool uses(mlir::AffineMap map) const {
    return map && llvm::any_of(map.getResults(), [&](mlir::AffineExpr expr) {
             return expr.isFunctionOfSymbol(symbol);
           });
  }
  bool isSymbol(mlir::AffineExpr expr) const {
    auto found = llvm::dyn_cast<mlir::AffineSymbolExpr>(expr);
    return found && found.getPosition() == symbol;
  }
  /// Whether its outermost extent is the symbol, and no other depends on it.
  bool hasRows(BufferType type) const {
    auto extents = type.getShape().getResults();
    return !extents.empty() && isSymbol(extents.front()) &&
           llvm::none_of(extents.drop_front(), [&](mlir::AffineExpr expr) {
             return expr.isFunctionOfSymbol(symbol);
           });
  }

  unsigned symbol;
  llvm::DenseSet<mlir::Value> rows; ///< The indices of the rows of a kernel.
};

} // namespace

bool RowReader::acceptsBuffers(ProgramOp program) {
  bool between = false;
  for (BufferOp buffer : program.getBody().getOps<BufferOp>()) {
    BufferType type = buffer.getResult().getType();
    switch (buffer.getRole()) {
    case BufferRole::Input:
      if (uses(type.getShape()) && !hasRows(type))
        return false;
      break;
    case BufferRole::Temporary:
      between = true;
      [[fallthrough]];
    case BufferRole::Output:
      if (!hasRows(type))
        return false;
      break;
    case BufferRole::State:
      return false;
    default:
      if (uses(type.getShape()))
        return false;
    }
  }
  return between;
}

/// The number of the one extent that depends on the symbol, and is it.
std::optional<unsigned> RowReader::numberOfRows(mlir::AffineMap extents) const {
  std::optional<unsigned> found;
  for (auto [number, extent] : llvm::enumerate(extents.getResults())) {
    if (!extent.isFunctionOfSymbol(symbol))
      continue;
    if (found || !isSymbol(extent))
      return std::nullopt;
    found = number;
  }
  return found;
}

bool RowReader::findRows(KernelOp kernel) {
  for (mlir::Operation &op : kernel.getBody().front()) {
    if (auto blocks = llvm::dyn_cast<BlocksOp>(op)) {
      std::optional<unsigned> number = numberOfRows(blocks.getDomain());
      if (!number)
        return false;
      rows.insert(blocks.getBody().getArgument(*number));
    } else if (auto contract = llvm::dyn_cast<ContractOp>(op)) {
      unsigned m = contract.getNumBatch();
      std::optional<unsigned> number = numberOfRows(contract.getExtents());
      if (!number || *number > m)
        return false;
      rows.insert(contract.getEpilogue().getArgument(*number));
      if (!contract.getRescale().empty())
        rows.insert(contract.getRescale().getArgument(*number));
      for (auto [i, region] : llvm::enumerate(contract.getOperandRegions()))
        if (*number < m || i < contract.getNumLhs())
          rows.insert(region.getArgument(*number));
    } else if (!llvm::isa<LocalOp>(op)) {
      return false;
    }
  }
  return true;
}

bool RowReader::acceptsAccess(BufferType type, mlir::AffineMap map,
                              mlir::ValueRange indices) {
  bool dependent = uses(type.getShape());
  if (dependent && !hasRows(type))
    return false;
  for (auto [number, result] : llvm::enumerate(map.getResults())) {
    auto dim = llvm::dyn_cast<mlir::AffineDimExpr>(result);
    if (dependent && number == 0) {
      if (!dim || !rows.contains(indices[dim.getPosition()]))
        return false;
      continue;
    }
    for (auto [position, index] : llvm::enumerate(indices))
      if (rows.contains(index) && result.isFunctionOfDim(position))
        return false;
  }
  return true;
}

bool RowReader::acceptsKernel(KernelOp kernel) {
  rows.clear();
  if (!findRows(kernel))
    return false;
  for (mlir::Value row : rows)
    for (mlir::Operation *user : row.getUsers())
      if (!llvm::isa<LoadOp, StoreOp, AccumulateOp>(user))
        return false;
  auto result = kernel.walk([&](mlir::Operation *op) {
    bool fits = true;
    auto access = [&](auto typed) {
      fits = !uses(typed.getMap()) &&
             acceptsAccess(typed.getBuffer().getType(), typed.getMap(),
                           typed.getIndices());
    };
    if (auto load = llvm::dyn_cast<LoadOp>(op))
      access(load);
    else if (auto store = llvm::dyn_cast<StoreOp>(op))
      access(store);
    else if (auto accumulate = llvm::dyn_cast<AccumulateOp>(op))
      access(accumulate);
    else if (!llvm::isa<BlocksOp, ContractOp, KernelOp>(op))
      for (mlir::NamedAttribute attribute : op->getAttrs())
        if (auto map =
                llvm::dyn_cast<mlir::AffineMapAttr>(attribute.getValue()))
          fits &= !uses(map.getValue());
    return fits ? mlir::WalkResult::advance() : mlir::WalkResult::interrupt();
  });
  return !result.wasInterrupted();
}

/// A right operand that is neither a weight nor cut into strips itself would be
/// packed for each of them.
bool RowReader::packsInEveryStrip(LaunchOp launch) const {
  bool packs = false;
  for (ContractOp contract : getKernel(launch).getBody().getOps<ContractOp>())
    for (unsigned i = 0; i < contract.getNumRhs(); ++i)
      contract.getRhsRegion(i).walk([&](LoadOp load) {
        auto argument = llvm::dyn_cast<mlir::BlockArgument>(load.getBuffer());
        if (!argument || hasRows(load.getBuffer().getType()))
          return;
        auto buffer = launch.getBuffers()[argument.getArgNumber()]
                          .getDefiningOp<BufferOp>();
        packs |= buffer.getRole() != BufferRole::Weight;
      });
  return packs;
}

bool RowReader::accepts(ProgramOp program) {
  if (!acceptsBuffers(program))
    return false;
  for (LaunchOp launch : program.getBody().getOps<LaunchOp>()) {
    if (launch.getPhase() == LaunchPhase::Prepare)
      continue;
    if (launch.getWhen() ||
        getKernel(launch).getSymbols() != program.getSymbols() ||
        !acceptsKernel(getKernel(launch)) || packsInEveryStrip(launch))
      return false;
  }
  return true;
}

std::optional<unsigned> quern::tile::findRowSymbol(ProgramOp program) {
  for (auto [number, attribute] : llvm::enumerate(program.getSymbols())) {
    auto symbol = llvm::cast<SymbolAttr>(attribute);
    if (symbol.getMin() <= 1 && symbol.getMultiple() == 1 &&
        RowReader(number).accepts(program))
      return number;
  }
  return std::nullopt;
}
