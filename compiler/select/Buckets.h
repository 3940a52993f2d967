//===- Buckets.h - One program for few rows and for many --------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The number of a product's rows is usually known at run time alone: one while
// a language model writes, thousands while it reads. No single kernel suits
// all of them. A tile of 128 rows leaves 127 of them idle at the one end, a
// tile of 16 rows reads the weights eight times as often at the other; and a
// dynamic quantization that belongs into the product for few rows, where it
// saves a launch, may belong elsewhere for many, where the tile it needs costs
// more than a pass over the data.
//
// So the range of the symbol that gives the rows is parted into *buckets*, and
// the program is placed in each of them on its own, as if the others did not
// exist: with a schedule for at most so many rows, and costs for those sizes.
// Neighbours that come out alike are one bucket. What is left becomes one
// program again: launches happen for the sizes of their bucket (`when` of
// tile.launch), kernels that are the same in several buckets exist once, and
// inputs, weights, outputs and packed weights are everybody's. Temporaries are
// each bucket's own: two buckets never happen in one run, so that memory is not
// taken twice.
//
//     rows 1..16      quantize | product 16 rows high, absmax in it | product
//     rows 17..64     ...
//     rows 65..       quantize | product | quantize | product
//
// Which rows. The symbol that is the number of rows of most products, of the
// first where it is that of as many; not one that a weight has, which is the
// same in every run. A layer whose products have other numbers of rows, fixed
// ones or `M+1`, has one bucket. Where buckets may be parted the target says
// (`PlacementModel::bucketEnds`), or whoever compiles; a target that says
// nothing has one bucket whatever is asked for.
//
// A placement that was asked for by name is granted in every bucket where it is
// possible, and refused where it is in none.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_SELECT_BUCKETS_H
#define QUERN_COMPILER_SELECT_BUCKETS_H

#include "compiler/select/Placement.h"

namespace quern::select {

struct Bucket {
  /// The sizes it is for; all where it is the only one.
  std::optional<tile::SymbolRange> range;
  std::vector<SiteReport> sites;
};

struct BucketOptions {
  /// The last number of rows of every bucket but the last, ascending; absent:
  /// as the target says.
  std::optional<std::vector<int64_t>> ends;
};

/// The symbol that gives the rows of most of a program's products; none where
/// no product has a symbol's rows.
std::optional<unsigned> rowSymbol(tile::ProgramOp program);

/// Places every site of the module's program, for each bucket, and leaves one
/// program for all of them. Errors as of `placeQuantizations`.
Result<std::vector<Bucket>> placeInBuckets(mlir::ModuleOp module,
                                           const PlacementModel &model,
                                           const PlacementOptions &options,
                                           const BucketOptions &buckets = {});

} // namespace quern::select

#endif // QUERN_COMPILER_SELECT_BUCKETS_H
