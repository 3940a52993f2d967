//===- BenchCommand.cpp - quern bench -------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Bench.h"
#include "compiler/tools/quern/Html.h"
#include "compiler/tools/quern/Json.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::tool;

int quern::tool::bench(const BenchOptions &options) {
  auto measured = benchLayer(options);
  if (!measured)
    return report(measured.error());
  if (options.isGiven("--plot"))
    if (auto written = writePage(options.plot, toHtml(*measured, options));
        !written)
      return report(written.error());
  if (options.json) {
    fmt::print("{}\n", toText(toJson(*measured, options)));
    return Right;
  }
  printText(*measured);
  if (options.isGiven("--plot"))
    fmt::print("wrote {}\n", options.plot);
  return Right;
}
