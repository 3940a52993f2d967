//===- BenchSizes.cpp - The sizes that a layer is measured at ------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Bench.h"
#include "compiler/tools/quern/Operands.h"

#include <fmt/format.h>

#include <algorithm>

using namespace quern;
using namespace quern::tool;

Result<BenchSizes>
quern::tool::expandSizes(const std::vector<std::string> &settings) {
  constexpr size_t most = 64;
  BenchSizes sizes;
  sizes.cases.emplace_back();
  for (const std::string &setting : settings) {
    auto halves = splitAssignment(setting, "--set");
    if (!halves)
      return halves.error();
    std::vector<std::string> values;
    for (size_t at = 0; at <= halves->second.size();) {
      size_t comma =
          std::min(halves->second.find(',', at), halves->second.size());
      values.push_back(halves->second.substr(at, comma - at));
      at = comma + 1;
    }
    if (std::count(values.begin(), values.end(), std::string()) > 0)
      return fail(Errc::InvalidArgument,
                  fmt::format("--set {}: a value is missing", setting));
    for (const std::string &value : values)
      if (std::count(values.begin(), values.end(), value) > 1)
        return fail(Errc::InvalidArgument,
                    fmt::format("--set {} gives {} twice", setting, value));
    if (values.size() > 1 && !sizes.symbol.empty())
      return fail(Errc::InvalidArgument,
                  fmt::format("--set gives several values of {} and of {}",
                              sizes.symbol, halves->first),
                  {"one symbol may have several: they are the rows of the "
                   "table"});
    if (values.size() > most)
      return fail(Errc::InvalidArgument,
                  fmt::format("--set gives {} values of {}; at most {} are "
                              "measured at once",
                              values.size(), halves->first, most));
    if (values.size() > 1)
      sizes.symbol = halves->first;
    std::vector<std::vector<std::string>> expanded;
    for (const std::vector<std::string> &one : sizes.cases)
      for (const std::string &value : values) {
        expanded.push_back(one);
        expanded.back().push_back(halves->first + "=" + value);
      }
    sizes.cases = std::move(expanded);
  }
  return sizes;
}

Result<std::vector<int64_t>>
quern::tool::sizesOf(const std::vector<SymbolDesc> &symbols,
                     const std::vector<std::string> &settings) {
  auto values = parseSymbolValues(symbols, settings);
  if (!values)
    return values.error();
  std::vector<int64_t> sizes;
  for (size_t s = 0; s < symbols.size(); ++s) {
    if (!(*values)[s])
      return fail(Errc::InvalidArgument,
                  fmt::format("symbol {} has no value", symbols[s].name),
                  {fmt::format("give --set {}=N, or several values by commas",
                               symbols[s].name)});
    sizes.push_back(*(*values)[s]);
  }
  return sizes;
}
