//===- Placement.h - Where dynamic quantizations are computed ---*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// A dynamic scale needs a reduction over data that was just made. Computed by a
// kernel of its own it costs passes over memory that a static scale does not;
// computed where the data is, it costs next to nothing. For every dynamic
// quantization of a program the places it could be computed at are enumerated,
// each is asked of the target (possible? at what cost?), one is chosen, the
// program is changed accordingly, and all of it is kept as a report: what was
// refused and why, and what every possible one was predicted to cost.
//
//     register, tile   in the product that makes the value, tile by tile: its
//                      blocks lie within a tile
//     cluster, grid    in the product: tiles exchange partial reductions
//     panel            in the product, once all of a row panel is there
//     consumer         in the product that reads the codes, on load
//     separate         a kernel of its own
//
// A *site* is one such quantization: the launch that quantizes, the value it
// reads with the launch that makes it (none for an input of the layer), and the
// codes it makes with the product that reads them. Sites are placed in program
// order, each in the program that the choices before it left.
//
// Placing changes no bits: see docs/numerics.md.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_SELECT_PLACEMENT_H
#define QUERN_COMPILER_SELECT_PLACEMENT_H

#include "compiler/select/Traffic.h"
#include "dialects/tile/Transforms/StageFusion.h"
#include "dialects/tile/Transforms/StageGeometry.h"
#include "runtime/core/Result.h"

#include "mlir/IR/BuiltinOps.h"

#include <array>
#include <string>
#include <vector>

namespace quern::select {

/// A dynamic quantization in a program.
struct Site {
  tile::LaunchOp quantize;
  mlir::Value value;       ///< What it reads; the buffer in the program.
  mlir::Value codes;       ///< What it makes; null where it makes scales alone.
  tile::LaunchOp producer; ///< What makes `value`; null for inputs.
  tile::LaunchOp consumer; ///< The only reader of `codes`, or null.
  /// The blocks in the value; absent, with the reason, where they follow no
  /// pattern.
  std::optional<tile::StageGeometry> geometry;
  std::string irregular;
  tile::ReductionLevels levels;

  std::string name() const; ///< What the text calls the codes.
  tile::ContractOp producerProduct() const;
  tile::ContractOp consumerProduct() const;
};

/// A spread over the range of every symbol.
std::vector<Sizes> spread(tile::ProgramOp program);
/// An extent for these sizes; 0 where it has no value.
double evaluate(mlir::AffineExpr extent, const Sizes &sizes);
/// Multiply-adds of the products beside a site.
double multiplyAdds(const Site &site, const Sizes &sizes);

/// "1 tile", "2 tiles".
std::string counted(double number, const char *noun);

/// A predicted time in microseconds, as the sum of what it is made of.
struct Cost {
  /// What a term is spent on.
  enum class Kind : uint8_t {
    Bytes,    ///< moving data between kernels, or within one through memory
    Launch,   ///< starting a kernel
    Waiting,  ///< tiles or threads for each other
    Tiles,    ///< tiles or row panels that suit the product less
    Reduce,   ///< taking maxima and sums of elements in hand
    Reencode, ///< encoding elements more than once
  };
  struct Term {
    Kind kind;
    double microseconds = 0;
    std::string text; ///< What exactly, with the numbers.
  };
  std::vector<Term> terms;

  /// Adds a term, unless it is nothing.
  Cost &add(Kind kind, double microseconds, std::string text) {
    if (microseconds != 0)
      terms.push_back({kind, microseconds, std::move(text)});
    return *this;
  }
  double total() const {
    double sum = 0;
    for (const Term &term : terms)
      sum += term.microseconds;
    return sum;
  }
};
/// "bytes", "launch", ...
const char *name(Cost::Kind kind);

/// What a target says of placements.
class PlacementModel {
public:
  virtual ~PlacementModel() = default;
  /// Why the placement is impossible; empty where it is not.
  virtual std::string refuse(const Site &site,
                             tile::Placement placement) const = 0;
  /// Predicted time of the products beside the quantization, in microseconds:
  /// what its cost is measured by.
  virtual double products(const Site &site, const Sizes &sizes) const = 0;
  /// Predicted time beyond that of the same layer with a static scale.
  virtual Cost costOf(const Site &site, tile::Placement placement,
                      const Sizes &sizes) const = 0;
  double cost(const Site &site, tile::Placement placement,
              const Sizes &sizes) const {
    return costOf(site, placement, sizes).total();
  }
  /// What a program with placed quantizations moves in a run.
  virtual Result<ProgramTraffic> traffic(mlir::ModuleOp module,
                                         const Sizes &sizes) const = 0;
  /// The numbers of rows behind which another schedule of products begins.
  virtual std::vector<int64_t> bucketEnds() const { return {}; }
  /// What is decided of a kernel by the ranges of its symbols, as text to be
  /// compared: kernels of which it is the same run alike.
  virtual std::string schedule(tile::KernelOp kernel) const { return {}; }
  /// Changes the program. Where that fails, the reason, and a program that is
  /// of no use any more: it is tried on a copy first.
  virtual std::string apply(const Site &site,
                            tile::Placement placement) const = 0;
};

/// What became of one placement of one site.
struct Option {
  tile::Placement placement;
  bool possible = false;
  bool chosen = false;
  std::string reason;
  /// For the sizes of the report, where possible: microseconds.
  std::vector<double> costs;
  /// For the sizes that predictions were asked for, where possible.
  std::vector<Cost> predicted;
  /// The same: what the program moves with the quantization placed here, those
  /// before it placed and those behind it not yet.
  std::vector<ProgramTraffic> traffic;
};

struct SiteReport {
  mlir::Location location;
  std::string name;
  std::vector<Sizes> sizes; ///< For which costs were computed.
  /// Time of the products beside it, for each of them.
  std::vector<double> products;
  std::vector<Option> options;
  /// The value that is quantized, as the layer calls it, and its codes.
  std::string value, codes;
  /// The scales and zero points made with them. Without a name in the text
  /// they are called otherwise than the codes.
  std::vector<std::string> scales;
  bool ofProduct = false; ///< A product makes the value.
  /// The chosen placement was asked for; or why what was cannot be.
  bool isWished = false;
  std::string refusedWish;
  /// Bytes of the value for the sizes that predictions were asked for.
  std::vector<double> valueBytes;
};

struct PlacementOptions {
  /// `auto`, `PLACE`, or `NAME:PLACE` for one site; several by commas.
  std::string wanted = "auto";
  /// Sizes for which costs are given with their terms and the traffic, beside
  /// those by which placements are chosen.
  std::vector<Sizes> predictFor;
};

class Wishes;

/// Places every site of the module's program, one after the other: where
/// `wishes` say, or else where it costs least over a spread of sizes.
Result<std::vector<SiteReport>>
placeQuantizations(mlir::ModuleOp module, const PlacementModel &model,
                   const PlacementOptions &options, Wishes &wishes);

/// All placements, in the order reports list them.
std::span<const tile::Placement> allPlacements();

} // namespace quern::select

#endif // QUERN_COMPILER_SELECT_PLACEMENT_H
