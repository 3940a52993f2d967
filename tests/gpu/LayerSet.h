//===- LayerSet.h - The layers that are prepared for a GPU ------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Which layers go into a set, at which sizes, and which are timed:
//
//   golden   one of each operation and template, and the small examples: what
//            is committed and run on the simulator
//   small    a handful, for trying out the way itself
//   full     every operation at every type, the examples at their real sizes,
//            and the layers that are timed
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_GPU_LAYERSET_H
#define QUERN_TESTS_GPU_LAYERSET_H

#include "tests/gpu/ModuleSet.h"

#include <optional>

namespace quern::gputest {

struct LayerSource {
  std::string name;
  std::string text;
  /// Values of the symbols for each run; none: only timed.
  std::vector<std::vector<int64_t>> sizes;
  /// Whether one more run has NaN, infinities and the like.
  bool corners = false;
};

struct LayerSet {
  std::vector<LayerSource> layers;
  std::vector<TimedCase> timed;
};

/// Nothing if there is no set of that name. `examples` is the folder of the
/// example layers.
std::optional<LayerSet> layerSet(const std::string &name,
                                 const std::string &examples);

} // namespace quern::gputest

#endif // QUERN_TESTS_GPU_LAYERSET_H
