//===- TrafficModel.cpp - Predicting what a program moves -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/select/TrafficModel.h"

#include "compiler/emit/cuda/BodyText.h"
#include "compiler/emit/cuda/Materialise.h"
#include "compiler/select/Tally.h"
#include "dialects/tile/Transforms/StageFusion.h"

#include "mlir/IR/OwningOpRef.h"

#include <fmt/format.h>

using namespace mlir;
using namespace quern;
using namespace quern::select;

/// Points of a stage on a CPU that are looked at.
static constexpr int64_t maxPoints = 61;

static std::string nameOf(tile::BufferOp buffer) {
  std::string name = buffer.getName().str();
  if (buffer.getPart() != "values")
    name += "." + buffer.getPart().str();
  return name;
}

/// Sizes that no buffer or extent can have are refused here, so that nothing
/// overflows behind it.
static Result<void> checkSizes(tile::ProgramOp program, const Sizes &sizes) {
  if (sizes.size() != program.getSymbols().size())
    return fail(Errc::Internal, "a size for every symbol");
  for (auto [attr, size] : llvm::zip(program.getSymbols(), sizes))
    if (size < 0 || size > INT32_MAX)
      return fail(Errc::InvalidArgument,
                  fmt::format("{} = {}: nothing is predicted for it; sizes "
                              "from 0 to {} are accepted",
                              cast<tile::SymbolAttr>(attr).getName().str(),
                              size, INT32_MAX));
  for (auto buffer : program.getBody().getOps<tile::BufferOp>()) {
    auto type = cast<tile::BufferType>(buffer.getResult().getType());
    SymExpr bytes = SymExpr::constant(8);
    for (AffineExpr extent : type.getShape().getResults())
      bytes = bytes * tile::toSymExpr(extent);
    Result<int64_t> size = bytes.evaluate(sizes);
    if (!size || *size > INT64_MAX / 1024)
      return fail(Errc::InvalidArgument,
                  fmt::format("{} would be larger than any memory for these "
                              "sizes",
                              nameOf(buffer)));
  }
  return {};
}

static std::string typeName(Type type) {
  std::string name = emit::languageName(type);
  return name == "ui8" ? "u8" : name;
}

/// The kinds of arithmetic in a kernel, each once.
static std::vector<KernelPart> partsOf(tile::KernelOp kernel) {
  std::vector<KernelPart> parts;
  auto add = [&](std::string what, const char *klass) {
    KernelPart part{std::move(what), klass};
    if (!llvm::is_contained(parts, part))
      parts.push_back(std::move(part));
  };
  for (Operation *stage : kernel.getStages()) {
    if (auto product = dyn_cast<tile::ContractOp>(stage)) {
      ArrayRef<int64_t> terms = product.getTerms();
      Type left = product.getElementType(product.getLhsRegion(terms[0]));
      Type right = product.getElementType(product.getRhsRegion(terms[1]));
      bool isInteger = left.isInteger();
      add(fmt::format("product of {} by {} in {}", typeName(left),
                      typeName(right), isInteger ? "i32" : "f32"),
          isInteger ? "exact" : "bounded");
      if (product.getSplit())
        add(fmt::format("partial sums of {} in f32, ascending",
                        *product.getSplit()),
            "exact");
      add("scales and element-wise operations in the epilogue", "exact");
      continue;
    }
    stage->walk([&](tile::ReduceOp reduce) {
      switch (reduce.getKind()) {
      case tile::ReduceKind::UMax:
        return add("absolute maximum of a block", "exact");
      case tile::ReduceKind::MaximumF:
        return add("maximum of a block", "exact");
      case tile::ReduceKind::AddF:
        return add("f32 sum of a block in its written order", "ordered");
      case tile::ReduceKind::AddI:
        return add("integer sum of a block", "exact");
      }
    });
    stage->walk([&](tile::MapOp) {
      add("element-wise operations over a block", "exact");
    });
  }
  return parts;
}

/// What the launches of a program have in common: names, arithmetic.
static KernelTraffic begin(tile::LaunchOp launch,
                           std::vector<std::string> &names) {
  tile::KernelOp kernel = tile::getKernel(launch);
  KernelTraffic result;
  result.kernel = kernel.getSymName().str();
  result.prepares = launch.getPhase() == tile::LaunchPhase::Prepare;
  result.parts = partsOf(kernel);
  if (tile::ContractOp product = kernel.getContract()) {
    Type type =
        product.getElementType(product.getLhsRegion(product.getTerms()[0]));
    result.elementBytes = type.getIntOrFloatBitWidth() / 8; // As multiplied.
    result.isFloat = !type.isInteger();
  }
  for (auto [i, buffer] : llvm::enumerate(launch.getBuffers())) {
    names.push_back(nameOf(buffer.getDefiningOp<tile::BufferOp>()));
    auto users = kernel.getBody().getArgument(i).getUsers();
    if (kernel.getWrites()[i] || llvm::any_of(users, [](Operation *user) {
          return isa<tile::AccumulateOp>(user);
        }))
      result.writes.push_back(names.back());
  }
  return result;
}

Result<ProgramTraffic> select::predictTraffic(ModuleOp module,
                                              const emit::CudaTarget &target,
                                              const Sizes &sizes) {
  OwningOpRef<ModuleOp> copy = module.clone();
  tile::ProgramOp program = *copy->getOps<tile::ProgramOp>().begin();
  if (Result<void> right = checkSizes(program, sizes); !right)
    return right.error();
  if (Result<void> done = emit::materialiseOperands(program); !done)
    return done.error();
  ProgramTraffic traffic;
  for (auto launch : program.getBody().getOps<tile::LaunchOp>()) {
    std::vector<std::string> names;
    KernelTraffic result = begin(launch, names);
    result.isSkipped = !tile::happens(launch, sizes);
    if (result.isSkipped) {
      traffic.kernels.push_back(std::move(result));
      continue;
    }
    tile::KernelOp kernel = tile::getKernel(launch);
    Tally tally(kernel, sizes);
    if (tile::ContractOp product = kernel.getContract())
      result.unknown = tallyProduct(tally, product, target);
    else if (kernel.getStages().size() == 1)
      tallyBlocks(tally, cast<tile::BlocksOp>(kernel.getStages().front()));
    else if (auto strips = tile::getStrips(kernel, result.unknown))
      tallyStrips(tally, *strips);
    if (result.unknown.empty())
      tally.finish(names, result);
    traffic.kernels.push_back(std::move(result));
  }
  return traffic;
}

//===----------------------------------------------------------------------===//
// CPU
//===----------------------------------------------------------------------===//

namespace {

/// Every access counts once for each value of the indices it depends on.
class LoopTally {
public:
  explicit LoopTally(Tally &tally) : tally(tally) {}

  void product(tile::ContractOp product);
  void blocks(tile::BlocksOp blocks);

private:
  void body(Block &body, ArrayRef<int64_t> extents, bool byBlocks);

  Tally &tally;
};

} // namespace

void LoopTally::body(Block &block, ArrayRef<int64_t> extents, bool byBlocks) {
  Coordinates coordinates(tally.sizes);
  for (unsigned i = 0; i < extents.size(); ++i)
    coordinates.bind(block.getArgument(i), i);
  double all = 1;
  for (int64_t extent : extents)
    all *= double(extent);
  tally.compute(block, all);
  for (const Touch &touch : tally.touchesOf(block, coordinates)) {
    double times = 1;
    for (unsigned i = 0; i < extents.size(); ++i)
      if (touch.kind != Touch::Kind::Load || touch.at.dependsOn(i))
        times *= double(extents[i]);
    tally.add(touch.buffer, touch.kind, times * touch.bytes(), 0, byBlocks);
  }
}

void LoopTally::product(tile::ContractOp product) {
  Coordinates coordinates(tally.sizes);
  llvm::SmallVector<int64_t> extents;
  for (AffineExpr extent : product.getExtents().getResults())
    extents.push_back(coordinates.evaluate(extent));
  unsigned batch = product.getNumBatch();
  auto with = [&](std::initializer_list<int64_t> tail) {
    llvm::SmallVector<int64_t> result(extents.begin(), extents.begin() + batch);
    result.append(tail);
    return result;
  };
  int64_t M = extents[batch], N = extents[batch + 1], K = extents[batch + 2];
  for (unsigned i = 0; i < product.getNumLhs(); ++i)
    body(product.getLhsRegion(i).front(), with({M, K}), false);
  for (unsigned i = 0; i < product.getNumRhs(); ++i)
    body(product.getRhsRegion(i).front(), with({N, K}), false);
  if (!product.getRescale().empty())
    body(product.getRescale().front(),
         with({M, N, llvm::divideCeilSigned(K, *product.getSplit())}), false);
  body(product.getEpilogue().front(), with({M, N}), false);
  double work = double(product.getNumTerms());
  for (int64_t extent : extents)
    work *= double(extent);
  tally.multiplyAdds += work;
}

void LoopTally::blocks(tile::BlocksOp blocks) {
  Coordinates coordinates(tally.sizes);
  Block &block = blocks.getBody().front();
  unsigned numPoint = block.getNumArguments();
  for (unsigned i = 0; i < numPoint; ++i)
    coordinates.bind(block.getArgument(i), i);
  llvm::SmallVector<int64_t> domain;
  int64_t points = 1;
  for (AffineExpr extent : blocks.getDomain().getResults())
    points *= domain.emplace_back(coordinates.evaluate(extent));
  auto boxed = [&](auto op, ArrayRef<int64_t> point, double weight) {
    Block &inner = op.getBody().front();
    for (unsigned i = 0; i < inner.getNumArguments(); ++i)
      coordinates.bind(inner.getArgument(i), numPoint + i);
    llvm::SmallVector<int64_t> box = boxOf(op, coordinates, point);
    double all = weight;
    for (int64_t extent : box)
      all *= double(extent);
    tally.compute(inner, all);
    for (const Touch &touch : tally.touchesOf(inner, coordinates)) {
      double times = weight;
      for (unsigned i = 0; i < box.size(); ++i)
        if (touch.kind != Touch::Kind::Load || touch.at.dependsOn(numPoint + i))
          times *= double(box[i]);
      tally.add(touch.buffer, touch.kind, times * touch.bytes(), 0, true);
    }
  };
  for (const Sample &sample : sampleOf(points, maxPoints)) {
    llvm::SmallVector<int64_t> point(numPoint);
    int64_t left = sample.index;
    for (unsigned i = numPoint; i-- > 0; left /= domain[i])
      point[i] = left % domain[i];
    for (Operation &op : block) {
      if (auto reduce = dyn_cast<tile::ReduceOp>(op)) {
        boxed(reduce, point, sample.weight);
      } else if (auto map = dyn_cast<tile::MapOp>(op)) {
        boxed(map, point, sample.weight);
      } else if (isa<tile::LoadOp, tile::StoreOp, tile::AccumulateOp>(op)) {
        Touch touch = tally.touchOf(&op, coordinates);
        if (!tally.isKept(touch.buffer))
          tally.add(touch.buffer, touch.kind, sample.weight * touch.bytes(), 0,
                    true);
      }
    }
  }
}

Result<ProgramTraffic> select::predictCpuTraffic(ModuleOp module,
                                                 const Sizes &sizes) {
  tile::ProgramOp program = *module.getOps<tile::ProgramOp>().begin();
  if (Result<void> right = checkSizes(program, sizes); !right)
    return right.error();
  ProgramTraffic traffic;
  for (auto launch : program.getBody().getOps<tile::LaunchOp>()) {
    std::vector<std::string> names;
    KernelTraffic result = begin(launch, names);
    result.isSkipped = !tile::happens(launch, sizes);
    if (result.isSkipped) {
      traffic.kernels.push_back(std::move(result));
      continue;
    }
    tile::KernelOp kernel = tile::getKernel(launch);
    Tally tally(kernel, sizes);
    for (auto local : kernel.getBody().getOps<tile::LocalOp>())
      tally.keep(local);
    LoopTally loops(tally);
    for (Operation *stage : kernel.getStages()) {
      if (auto product = dyn_cast<tile::ContractOp>(stage))
        loops.product(product);
      else
        loops.blocks(cast<tile::BlocksOp>(stage));
    }
    tally.finish(names, result);
    traffic.kernels.push_back(std::move(result));
  }
  return traffic;
}
