//===- Describe.cpp - Filling a layer's report ----------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Describe.h"

#include "compiler/diagnostics/Diagnostics.h"
#include "compiler/emit/cuda/BodyText.h"
#include "dialects/tile/IR/Tile.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

using namespace mlir;
using namespace quern;
using namespace quern::pipelines;

//===----------------------------------------------------------------------===//
// Types and names
//===----------------------------------------------------------------------===//

static std::vector<std::string> symbolNames(func::FuncOp layer) {
  std::vector<std::string> names;
  if (auto symbols = layer->getAttrOfType<ArrayAttr>(ir::symbolsAttrName))
    for (Attribute attr : symbols)
      names.push_back(cast<ir::SymbolAttr>(attr).getName().str());
  return names;
}

/// `f16[M, 4096]`
static std::string tensorText(RankedTensorType type,
                              const std::vector<std::string> &symbols) {
  std::vector<std::string> shape;
  for (AffineExpr dim : ir::getDims(type))
    shape.push_back(tile::toSymExpr(dim).print(symbols));
  std::string element = emit::languageName(type.getElementType());
  return fmt::format("{}[{}]", element == "ui8" ? "u8" : element,
                     fmt::join(shape, ", "));
}

static std::string typeText(Type type,
                            const std::vector<std::string> &symbols) {
  if (auto tensor = dyn_cast<RankedTensorType>(type))
    return tensorText(tensor, symbols);
  auto quantized = dyn_cast<ir::QTensorType>(type);
  if (!quantized)
    return {};
  std::string codes = tensorText(quantized.getCodes(), symbols);
  if (quantized.hasZeros())
    codes = fmt::format("({} - {})", codes,
                        tensorText(quantized.getZerosType(), symbols));
  return fmt::format("{} * {}", codes,
                     tensorText(quantized.getScalesType(), symbols));
}

static std::string nameOf(Value value) {
  auto name = dyn_cast<NameLoc>(value.getLoc());
  return name ? name.getName().str() : std::string();
}

static std::string argumentName(func::FuncOp layer, unsigned i) {
  auto name = layer.getArgAttrOfType<StringAttr>(i, ir::nameAttrName);
  return name ? name.getValue().str() : fmt::format("operand {}", i);
}

//===----------------------------------------------------------------------===//
// The graph
//===----------------------------------------------------------------------===//

/// How far an operation's result is determined.
static NumericsClass classOf(Operation *op) {
  if (auto product = dyn_cast<ir::MatmulOp>(op)) {
    for (Value side : {product.getLhs(), product.getRhs()}) {
      auto type = dyn_cast<ir::QTensorType>(side.getType());
      if (!type || !type.getCodes().getElementType().isInteger())
        return NumericsClass::Bounded;
    }
    return NumericsClass::Exact;
  }
  if (auto reduce = dyn_cast<ir::ReduceOp>(op)) {
    bool sums = reduce.getKind() == ir::ReduceKind::Sum ||
                reduce.getKind() == ir::ReduceKind::Mean;
    return sums ? NumericsClass::Ordered : NumericsClass::Exact;
  }
  return isa<ir::SoftmaxOp, ir::RmsNormOp, ir::LayerNormOp>(op)
             ? NumericsClass::Ordered
             : NumericsClass::Exact;
}

LayerGraph pipelines::describeLayer(func::FuncOp layer) {
  using Node = LayerGraph::Node;
  LayerGraph graph;
  std::vector<std::string> symbols = symbolNames(layer);
  llvm::DenseMap<Value, uint32_t> numbers;
  for (BlockArgument arg : layer.getArguments()) {
    unsigned i = arg.getArgNumber();
    Node node;
    node.kind = layer.getArgAttr(i, ir::weightAttrName) ? Node::Kind::Weight
                                                        : Node::Kind::Input;
    node.label = node.name = argumentName(layer, i);
    node.type = typeText(arg.getType(), symbols);
    numbers[arg] = graph.nodes.size();
    graph.nodes.push_back(std::move(node));
  }
  for (Operation &op : layer.getBody().front()) {
    Node node;
    for (Value operand : op.getOperands())
      if (auto known = numbers.find(operand); known != numbers.end())
        node.inputs.push_back(known->second);
    if (isa<func::ReturnOp>(op)) {
      for (auto [i, operand] : llvm::enumerate(op.getOperands())) {
        Node output;
        output.kind = Node::Kind::Output;
        auto name = layer.getResultAttrOfType<StringAttr>(i, ir::nameAttrName);
        output.label = output.name = name ? name.getValue().str() : "result";
        output.type = typeText(operand.getType(), symbols);
        output.inputs = {numbers.lookup(operand)};
        graph.nodes.push_back(std::move(output));
      }
      continue;
    }
    if (op.getNumResults() == 0)
      continue;
    node.kind = Node::Kind::Operation;
    node.label = op.getName().stripDialect().str();
    node.name = nameOf(op.getResult(0));
    node.type = typeText(op.getResult(0).getType(), symbols);
    node.klass = std::string(quern::name(classOf(&op)));
    if (FileLineColLoc place = findFileLocation(op.getLoc()))
      node.line = place.getLine();
    for (Value result : op.getResults())
      numbers[result] = graph.nodes.size();
    graph.nodes.push_back(std::move(node));
  }
  return graph;
}

//===----------------------------------------------------------------------===//
// Scales
//===----------------------------------------------------------------------===//

QuantizedTypes pipelines::describeTypes(func::FuncOp layer) {
  QuantizedTypes types;
  std::vector<std::string> symbols = symbolNames(layer);
  for (BlockArgument arg : layer.getArguments())
    if (isa<ir::QTensorType>(arg.getType()))
      types.entries.push_back({argumentName(layer, arg.getArgNumber()),
                               typeText(arg.getType(), symbols), false});
  layer.walk([&](ir::QuantizeOp op) {
    Value result = op->getResult(0);
    types.entries.push_back({nameOf(result),
                             typeText(result.getType(), symbols),
                             op->getNumOperands() == 1});
  });
  return types;
}

/// What an access to scales does, by where it stands in its kernel.
static std::string useText(Operation *access, bool zeros) {
  Region *region = access->getParentRegion();
  Operation *parent = region->getParentOp();
  if (auto product = dyn_cast<tile::ContractOp>(parent)) {
    if (region == &product.getEpilogue())
      return isa<tile::StoreOp>(access)
                 ? "computed in the epilogue of the product"
                 : "applied in the epilogue of the product";
    if (region == &product.getRescale())
      return fmt::format("applied to each partial sum of {} elements of K",
                         product.getSplit().value_or(0));
    return "applied to the operand on load, before the product";
  }
  if (isa<tile::StoreOp, tile::AccumulateOp>(access))
    return zeros ? "computed, once per block, and stored"
                 : "computed from the block's reduction and stored";
  if (isa<tile::ReduceOp>(parent))
    return "read by a reduction";
  return "applied to each element of a block";
}

std::vector<ScalePath> pipelines::describeScales(tile::ProgramOp program,
                                                 const QuantizedTypes &types) {
  std::vector<ScalePath> paths;
  std::vector<std::string> symbols;
  for (Attribute attr : program.getSymbols())
    symbols.push_back(cast<tile::SymbolAttr>(attr).getName().str());
  SymbolTable table(program->getParentOp());
  for (auto buffer : program.getBody().getOps<tile::BufferOp>()) {
    StringRef part = buffer.getPart();
    if (part != "scales" && part != "zeros")
      continue;
    ScalePath path;
    path.owner = buffer.getName().str();
    path.buffer = path.owner + "." + part.str();
    auto known = llvm::find_if(types.entries, [&](const auto &entry) {
      return entry.name == path.owner;
    });
    if (known != types.entries.end()) {
      path.type = known->type;
      path.isDynamic = known->isDynamic;
    } else {
      // A value without a name in the text: its scales are all there is.
      auto type = cast<tile::BufferType>(buffer.getResult().getType());
      std::vector<std::string> shape;
      for (AffineExpr extent : type.getShape().getResults())
        shape.push_back(tile::toSymExpr(extent).print(symbols));
      path.type =
          fmt::format("{}[{}]", emit::languageName(type.getElementType()),
                      fmt::join(shape, ", "));
      path.isDynamic = buffer.getRole() == tile::BufferRole::Temporary;
    }
    uint32_t number = 0;
    for (auto launch : program.getBody().getOps<tile::LaunchOp>()) {
      auto kernel = table.lookup<tile::KernelOp>(launch.getKernel());
      SmallVector<Operation *> stages = kernel.getStages();
      for (auto [i, operand] : llvm::enumerate(launch.getBuffers())) {
        if (operand != buffer.getResult())
          continue;
        for (Operation *user : kernel.getBody().getArgument(i).getUsers()) {
          ScalePath::Use use;
          use.launch = number;
          for (auto [s, stage] : llvm::enumerate(stages))
            if (stage->isAncestor(user))
              use.stage = s;
          use.text = useText(user, part == "zeros");
          auto same = [&](const ScalePath::Use &other) {
            return other.launch == use.launch && other.stage == use.stage &&
                   other.text == use.text;
          };
          if (llvm::none_of(path.uses, same))
            path.uses.push_back(std::move(use));
        }
      }
      ++number;
    }
    // A temporary of every bucket's own.
    auto other = llvm::find_if(paths, [&](const ScalePath &other) {
      return other.buffer == path.buffer && other.type == path.type;
    });
    if (other == paths.end())
      other = paths.insert(other, std::move(path));
    else
      llvm::append_range(other->uses, path.uses);
    llvm::sort(other->uses, [](const auto &a, const auto &b) {
      return std::tie(a.launch, a.stage, a.text) <
             std::tie(b.launch, b.stage, b.text);
    });
  }
  return paths;
}

//===----------------------------------------------------------------------===//
// Quantizations
//===----------------------------------------------------------------------===//

namespace {

/// What a program moves for one quantization.
struct SiteBytes {
  bool isKnown = true; ///< Of every kernel.
  double total = 0;    ///< By the whole program.
  double own = 0;      ///< Of the value, its codes and scales.
  double scales = 0;
  double valueRead = 0;    ///< By who quantizes.
  double valueWritten = 0; ///< 0 where others read the value too.
  double passes = 0;       ///< Over the value in memory, by who quantizes.

  /// Of everything else: operands and state. A product moves more of them for
  /// a placement's sake where it reads an operand again. It may also move less,
  /// by the lower tiles it gets, in which fewer warps load the scales of
  /// weights each for itself; that is none of the quantization's bytes.
  double rest() const { return total - own; }
};

} // namespace

static SiteBytes bytesOf(const select::ProgramTraffic &traffic,
                         const select::SiteReport &site, double valueBytes) {
  SiteBytes bytes;
  bytes.isKnown = !traffic.kernels.empty();
  bytes.total = traffic.moved().traffic();
  double written = 0, read = 0;
  bool others = false;
  // What its buffers are called, which the text may call otherwise.
  std::string own = site.codes.ends_with(".codes")
                        ? site.codes.substr(0, site.codes.size() - 6)
                        : site.name;
  auto isScale = [&](const std::string &buffer) {
    return buffer != site.codes && (buffer.starts_with(own + ".") ||
                                    llvm::is_contained(site.scales, buffer));
  };
  // Codes that nobody stores are made where they are read.
  bool onLoad = !site.codes.empty() && traffic.moved(site.codes).bytes() == 0;
  for (const select::KernelTraffic &kernel : traffic.kernels) {
    if (kernel.prepares)
      continue;
    bytes.isKnown &= kernel.unknown.empty();
    bool quantizes = false;
    for (const select::BufferTraffic &buffer : kernel.buffers)
      quantizes |= buffer.moved.bytesWritten > 0 &&
                   (buffer.buffer == site.codes || isScale(buffer.buffer));
    for (const select::BufferTraffic &buffer : kernel.buffers) {
      bool isValue = buffer.buffer == (buffer.isOwn ? "value" : site.value);
      bool isOfScales = isScale(buffer.buffer);
      if (isValue || isOfScales || buffer.buffer == site.codes)
        bytes.own += buffer.moved.traffic();
      if (isOfScales)
        bytes.scales += buffer.moved.traffic();
      if (!isValue)
        continue;
      written += buffer.moved.sectors() > 0 ? 32 * buffer.moved.sectorsWritten
                                            : buffer.moved.bytesWritten;
      if (buffer.moved.bytesRead == 0)
        continue;
      if (quantizes || buffer.isOwn || onLoad) {
        read += buffer.bytesReadByBlocks;
        bytes.valueRead += buffer.trafficOfBlocks();
        // On load it is one pass, however often tiles do it again.
        if (onLoad && buffer.moved.bytesRead > buffer.bytesReadByBlocks)
          bytes.passes += 1;
      } else {
        others = true;
      }
    }
  }
  bytes.passes += std::round(valueBytes > 0 ? read / valueBytes : 0);
  bytes.valueWritten = others ? 0 : written;
  return bytes;
}

static QuantizationPlacement
describe(const select::SiteReport &site,
         const std::vector<select::Sizes> &predictFor) {
  QuantizationPlacement out;
  if (FileLineColLoc place = findFileLocation(site.location)) {
    out.line = place.getLine();
    out.column = place.getColumn();
  }
  out.value = site.name;
  out.sizes = site.sizes;
  out.predictedFor = predictFor;
  out.isWished = site.isWished;
  out.refusedWish = site.refusedWish;
  const select::Option *separate = nullptr;
  for (const select::Option &option : site.options)
    if (option.placement == tile::Placement::Separate && option.possible)
      separate = &option;
  std::vector<SiteBytes> apart;
  for (size_t s = 0; separate && s < predictFor.size(); ++s) {
    apart.push_back(bytesOf(separate->traffic[s], site, site.valueBytes[s]));
    const SiteBytes &bytes = apart.back();
    // With a static scale a product encodes what it made; anything else is
    // read once, not twice.
    double spared = site.ofProduct ? bytes.valueRead + bytes.valueWritten
                                   : bytes.valueRead / 2;
    out.staticBytes.push_back(
        std::max(0.0, bytes.own - bytes.scales - std::max(0.0, spared)));
  }
  for (const select::Option &option : site.options) {
    QuantizationPlacement::Option described{
        tile::stringifyPlacement(option.placement).str(),
        option.possible,
        option.chosen,
        option.reason,
        option.costs,
        {},
        {}};
    for (const select::Cost &cost : option.predicted) {
      std::vector<QuantizationPlacement::Term> terms;
      for (const select::Cost::Term &term : cost.terms)
        terms.push_back(
            {select::name(term.kind), term.microseconds, term.text});
      described.terms.push_back(std::move(terms));
    }
    for (size_t s = 0; s < option.traffic.size() && s < apart.size(); ++s) {
      SiteBytes bytes = bytesOf(option.traffic[s], site, site.valueBytes[s]);
      std::optional<QuantizationPlacement::Moves> moves;
      if (bytes.isKnown && apart[s].isKnown)
        moves = {bytes.own + std::max(0.0, bytes.rest() - apart[s].rest()),
                 std::max(0, int(apart[s].passes - bytes.passes))};
      described.moves.push_back(moves);
    }
    out.options.push_back(std::move(described));
  }
  return out;
}

std::vector<QuantizationPlacement>
pipelines::describe(const select::Bucket &one,
                    const std::vector<select::Sizes> &predictFor) {
  std::vector<select::Sizes> within = predictFor;
  if (one.range)
    llvm::erase_if(within, [&](const select::Sizes &sizes) {
      int64_t rows = sizes[one.range->symbol];
      return rows < one.range->min || rows > one.range->max;
    });
  std::vector<QuantizationPlacement> placements;
  for (const select::SiteReport &site : one.sites) {
    placements.push_back(::describe(site, within));
    if (one.range)
      placements.back().when = {
          {one.range->symbol, one.range->min, one.range->max}};
  }
  return placements;
}
