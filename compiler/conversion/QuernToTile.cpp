//===- QuernToTile.cpp - Layers become programs ---------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/conversion/QuernToTile.h"

#include "compiler/conversion/Kernels.h"
#include "dialects/quern/Transforms/Passes.h"

#include "mlir/IR/BuiltinOps.h"

#include <fmt/format.h>

#include <set>

using namespace mlir;
using namespace quern;
using namespace quern::conversion;
using namespace quern::ir;

namespace {

/// Converts one layer.
class LayerConverter {
public:
  explicit LayerConverter(func::FuncOp layer)
      : layer(layer), context(layer.getContext()), builder(layer) {
    if (auto symbols = layer->getAttrOfType<ArrayAttr>(symbolsAttrName))
      quernSymbols = symbols.getValue();
    for (Attribute attr : quernSymbols)
      if (auto symbol = dyn_cast<ir::SymbolAttr>(attr))
        tileSymbols.push_back(
            tile::SymbolAttr::get(context, symbol.getName(), symbol.getMin(),
                                  symbol.getMax(), symbol.getMultiple()));
  }

  LogicalResult run();

private:
  /// One buffer of the signature's results.
  struct Output {
    std::string name, part;
    BufferKey source;
    bool isInout = false; ///< Also an argument's buffer of that name.
  };

  LogicalResult verifyBody();
  LogicalResult verifyInout(StringRef name, Type type);
  LogicalResult collectOutputs();
  void declareSignature();
  void declare(const BufferKey &key, StringRef name, StringRef part,
               tile::BufferRole role);
  void declareTemporary(ir::KernelOp group, OpResult result);
  LogicalResult convertGroup(ir::KernelOp group);
  KernelScope startKernel(StringRef role, StringRef reason,
                          tile::NumericsClass numericsClass, Location loc);
  void finishKernel(KernelScope &scope, Location loc,
                    tile::LaunchPhase phase = tile::LaunchPhase::Run);
  bool isMadeOfWeights(ir::KernelOp group);
  std::string getName(DictionaryAttr attrs, const std::string &otherwise);

  func::FuncOp layer;
  MLIRContext *context;
  OpBuilder builder;
  ArrayRef<Attribute> quernSymbols;
  SmallVector<Attribute> tileSymbols;
  tile::ProgramOp program;
  std::vector<Output> outputs;
  std::map<BufferKey, Value> buffers;
  unsigned numKernels = 0;
  unsigned numTemporaries = 0;
  std::set<std::string> temporaryNames;
};

} // namespace

std::string LayerConverter::getName(DictionaryAttr attrs,
                                    const std::string &otherwise) {
  auto name = attrs ? attrs.getAs<StringAttr>(nameAttrName) : StringAttr();
  return name ? name.str() : otherwise;
}

LogicalResult LayerConverter::verifyBody() {
  if (!layer.getBody().hasOneBlock())
    return layer.emitOpError("convert_quern_c1: a layer is one block");
  for (Value argument : layer.getArguments())
    if (!isa<RankedTensorType, QTensorType>(argument.getType()))
      return layer.emitOpError("convert_quern_c1: an argument of type ")
             << argument.getType() << "; layers take tensors";
  for (Operation &op : layer.getBody().front()) {
    if (!isa<ir::KernelOp, CodesOp, ScalesOp, ZerosOp, MakeQTensorOp,
             func::ReturnOp>(op))
      return op.emitOpError("convert_quern_c1: stands outside of any kernel; "
                            "run quern-form-kernels first");
    for (Value operand : op.getOperands())
      if (failed(verifyRank(operand)))
        return failure();
  }
  return success();
}

LogicalResult LayerConverter::verifyInout(StringRef name, Type type) {
  for (auto [i, argument] : llvm::enumerate(layer.getArguments()))
    if (getName(layer.getArgAttrDict(i), "") == name &&
        layer.getArgAttr(i, inoutAttrName) && argument.getType() == type &&
        isa<RankedTensorType>(type) && !layer.getArgAttr(i, weightAttrName))
      return success();
  return layer.emitOpError("convert_quern_c6: result '")
         << name << "' of type " << type
         << " is inout, and no inout argument has its name and type";
}

LogicalResult LayerConverter::collectOutputs() {
  auto ret = cast<func::ReturnOp>(layer.getBody().front().getTerminator());
  for (auto [i, value] : llvm::enumerate(ret.getOperands())) {
    std::string otherwise =
        ret.getNumOperands() == 1 ? "result" : fmt::format("result{}", i);
    std::string name = getName(layer.getResultAttrDict(i), otherwise);
    if (layer.getResultAttr(i, inoutAttrName)) {
      if (failed(verifyInout(name, value.getType())))
        return failure();
      outputs.push_back({name, "values", resolveBuffer(value), true});
      continue;
    }
    if (auto type = dyn_cast<QTensorType>(value.getType())) {
      outputs.push_back({name, "codes", resolveBuffer(value, Part::Codes)});
      outputs.push_back({name, "scales", resolveBuffer(value, Part::Scales)});
      if (type.hasZeros())
        outputs.push_back({name, "zeros", resolveBuffer(value, Part::Zeros)});
    } else {
      outputs.push_back({name, "values", resolveBuffer(value)});
    }
  }
  return success();
}

void LayerConverter::declare(const BufferKey &key, StringRef name,
                             StringRef part, tile::BufferRole role) {
  RankedTensorType type = conversion::getTensorType(key);
  auto shape = AffineMap::get(0, tileSymbols.size(), getDims(type), context);
  auto buffer = tile::BufferOp::create(
      builder, key.value.getLoc(),
      tile::BufferType::get(context, shape, type.getElementType()), name, part,
      role);
  buffers.try_emplace(key, buffer);
}

void LayerConverter::declareSignature() {
  for (auto [i, argument] : llvm::enumerate(layer.getArguments())) {
    std::string name =
        getName(layer.getArgAttrDict(i), fmt::format("arg{}", i));
    auto role = layer.getArgAttr(i, weightAttrName) ? tile::BufferRole::Weight
                                                    : tile::BufferRole::Input;
    if (auto type = dyn_cast<QTensorType>(argument.getType())) {
      declare({argument, Part::Codes}, name, "codes", role);
      declare({argument, Part::Scales}, name, "scales", role);
      if (type.hasZeros())
        declare({argument, Part::Zeros}, name, "zeros", role);
    } else {
      declare({argument}, name, "values", role);
    }
  }
}

KernelScope LayerConverter::startKernel(StringRef role, StringRef reason,
                                        tile::NumericsClass numericsClass,
                                        Location loc) {
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPoint(layer);
  std::string name = fmt::format("quern_{}_{}_{}", layer.getName().str(),
                                 numKernels++, role.str());
  auto kernel = tile::KernelOp::create(
      builder, loc, name, builder.getArrayAttr(tileSymbols), ArrayRef<bool>(),
      numericsClass, reason, Attribute(), tile::PlacementAttr());
  kernel.getBody().emplaceBlock();
  KernelScope scope{kernel,       static_cast<unsigned>(tileSymbols.size()),
                    quernSymbols, layer,
                    {},           {}};
  return scope;
}

/// Sums of a weight's codes are the same in every run: they are made once, when
/// weights are bound.
bool LayerConverter::isMadeOfWeights(ir::KernelOp group) {
  Block &body = group.getBody().front();
  bool sums = false;
  for (Operation &op : body.without_terminator()) {
    if (!isa<SumCodesOp, CodesOp, ZerosOp>(op))
      return false;
    sums |= isa<SumCodesOp>(op);
    for (Value operand : op.getOperands()) {
      Value source = resolveBuffer(operand).value;
      auto argument = dyn_cast<BlockArgument>(source);
      bool weight = argument && argument.getOwner()->getParentOp() == layer &&
                    layer.getArgAttr(argument.getArgNumber(), weightAttrName);
      if (!weight)
        return false;
    }
  }
  return sums;
}

void LayerConverter::finishKernel(KernelScope &scope, Location loc,
                                  tile::LaunchPhase phase) {
  SmallVector<bool> writes(scope.writes.begin(), scope.writes.end());
  scope.kernel.setWrites(writes);
  SmallVector<Value> operands;
  for (const BufferKey &key : scope.arguments)
    operands.push_back(buffers.at(key));
  tile::LaunchOp::create(builder, loc, scope.kernel.getSymName(), operands,
                         phase);
}

LogicalResult LayerConverter::convertGroup(ir::KernelOp group) {
  auto yield = cast<ir::YieldOp>(group.getBody().front().getTerminator());
  if (yield.getValues().empty())
    return success();
  for (Operation &op : group.getBody().front())
    for (Value value : llvm::concat<Value>(op.getOperands(), op.getResults()))
      if (failed(verifyRank(value)))
        return failure();
  tile::NumericsClass numericsClass = getNumericsClass(group);
  // A concat whose inputs may be empty is written part by part.
  auto concat = yield.getValues()[0].getDefiningOp<ConcatOp>();
  bool mayBeEmpty = concat && llvm::any_of(concat.getInputs(), [&](Value v) {
                      return getLowerBound(getDims(cast<RankedTensorType>(
                                               v.getType()))[concat.getAxis()],
                                           layer) < 1;
                    });
  if (mayBeEmpty && concat->getBlock() == &group.getBody().front() &&
      yield.getValues().size() == 1) {
    for (unsigned i = 0; i < concat.getInputs().size(); ++i) {
      KernelScope scope = startKernel(group.getName(), group.getReason(),
                                      numericsClass, group.getLoc());
      if (failed(buildConcatPart(scope, group, concat, i)))
        return failure();
      finishKernel(scope, group.getLoc());
    }
    return success();
  }
  KernelScope scope = startKernel(group.getName(), group.getReason(),
                                  numericsClass, group.getLoc());
  bool contracts = !group.getBody().front().getOps<ir::ContractOp>().empty();
  if (failed(contracts ? buildContractKernel(scope, group)
                       : buildBlockKernel(scope, group)))
    return failure();
  finishKernel(scope, group.getLoc(),
               isMadeOfWeights(group) ? tile::LaunchPhase::Prepare
                                      : tile::LaunchPhase::Run);
  return success();
}

void LayerConverter::declareTemporary(ir::KernelOp group, OpResult result) {
  // Named after the text's value where there is one. What belongs to a
  // quantization is told apart as in the signature.
  Value value = group.getBody().front().getTerminator()->getOperand(
      result.getResultNumber());
  Operation *op = value.getDefiningOp();
  StringRef part = "values";
  if (isa_and_nonnull<EncodeOp>(op))
    part = "codes";
  else if (op && op->getAttr(partAttrName) == builder.getStringAttr("quantize"))
    part = cast<RankedTensorType>(value.getType()).getElementType().isInteger(8)
               ? "zeros"
               : "scales";
  std::string name;
  if (auto named = dyn_cast<NameLoc>(value.getLoc()))
    name = named.getName().str();
  else
    name = fmt::format("tmp{}", numTemporaries++);
  // Unfused, several values stem from one name of the text.
  std::string unique = name;
  for (unsigned i = 1; !temporaryNames.insert(unique + "." + part.str()).second;
       ++i)
    unique = fmt::format("{}.{}", name, i);
  declare({result}, unique, part,
          isMadeOfWeights(group) ? tile::BufferRole::Packed
                                 : tile::BufferRole::Temporary);
}

LogicalResult LayerConverter::run() {
  if (failed(verifyBody()) || failed(collectOutputs()))
    return failure();
  auto numerics = layer->getAttrOfType<StringAttr>(numericsAttrName);
  program = tile::ProgramOp::create(builder, layer.getLoc(), layer.getName(),
                                    builder.getArrayAttr(tileSymbols),
                                    numerics ? numerics.getValue()
                                             : StringRef("strict"));
  builder.setInsertionPointToStart(&program.getBody().emplaceBlock());
  declareSignature();

  // An output is written where it is computed, by the kernel whose result it
  // is; further outputs of the same memory, and arguments, are copied.
  //
  // What an inout argument holds afterwards is copied last, when nobody reads
  // the argument any more: both may be one memory. An argument that becomes
  // another's value is set aside first.
  struct Copy {
    BufferKey source;
    Value from, to;
  };
  std::vector<Copy> copies, updates;
  for (const Output &output : outputs) {
    bool computed = !output.isInout &&
                    output.source.value.getDefiningOp<ir::KernelOp>() &&
                    !buffers.contains(output.source);
    RankedTensorType type = conversion::getTensorType(output.source);
    if (computed) {
      declare(output.source, output.name, output.part,
              tile::BufferRole::Output);
      continue;
    }
    auto shape = AffineMap::get(0, tileSymbols.size(), getDims(type), context);
    auto buffer = tile::BufferOp::create(
        builder, layer.getLoc(),
        tile::BufferType::get(context, shape, type.getElementType()),
        output.name, output.part, tile::BufferRole::Output);
    if (!output.isInout) {
      copies.push_back({output.source, Value(), buffer});
      continue;
    }
    Value aside;
    if (!output.source.value.getDefiningOp<ir::KernelOp>()) {
      aside = tile::BufferOp::create(builder, layer.getLoc(), buffer.getType(),
                                     output.name + ".next", output.part,
                                     tile::BufferRole::Temporary);
      copies.push_back({output.source, Value(), aside});
    }
    updates.push_back({output.source, aside, buffer});
  }
  SmallVector<ir::KernelOp> groups(
      layer.getBody().front().getOps<ir::KernelOp>());
  for (ir::KernelOp group : groups)
    for (Value result : group.getResults())
      if (!buffers.contains({result}))
        declareTemporary(group, cast<OpResult>(result));
  for (ir::KernelOp group : groups)
    if (failed(convertGroup(group)))
      return failure();
  auto copy = [&](const Copy &what, StringRef role, StringRef reason) {
    KernelScope scope =
        startKernel(role, reason, tile::NumericsClass::Exact, layer.getLoc());
    buildCopyKernel(scope, what.source, layer.getLoc());
    SmallVector<bool> writes{false, true};
    scope.kernel.setWrites(writes);
    Value from = what.from ? what.from : buffers.at(what.source);
    tile::LaunchOp::create(builder, layer.getLoc(), scope.kernel.getSymName(),
                           ValueRange{from, what.to}, tile::LaunchPhase::Run);
  };
  for (const Copy &output : copies)
    copy(output, "copy", "an output that is an argument, or is given twice");
  for (const Copy &update : updates)
    copy(update, "update", "what an inout argument holds from now on");
  layer.erase();
  return success();
}

namespace {

struct ConvertQuernToTile
    : PassWrapper<ConvertQuernToTile, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ConvertQuernToTile)

  StringRef getArgument() const override { return "convert-quern-to-tile"; }
  StringRef getDescription() const override {
    return "Layers of quern kernels become tile programs and kernels";
  }
  void getDependentDialects(DialectRegistry &registry) const override {
    registry
        .insert<tile::TileDialect, arith::ArithDialect, math::MathDialect>();
  }
  void runOnOperation() override {
    SmallVector<func::FuncOp> layers(getOperation().getOps<func::FuncOp>());
    for (func::FuncOp layer : layers)
      if (failed(LayerConverter(layer).run()))
        return signalPassFailure();
  }
};

} // namespace

std::unique_ptr<Pass> conversion::createConvertQuernToTilePass() {
  return std::make_unique<ConvertQuernToTile>();
}

void conversion::registerConversionPasses() {
  PassRegistration<ConvertQuernToTile>();
}
