//===- ExplainCommand.cpp - quern explain ---------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Explanation.h"
#include "compiler/tools/quern/Html.h"
#include "compiler/tools/quern/Json.h"
#include "compiler/tools/quern/Operands.h"

#include <fmt/format.h>

#include <charconv>

using namespace quern;
using namespace quern::tool;

/// The values of `--set` by name, for predictions. What is wrong with one is
/// said once the layer's symbols are known.
static std::vector<std::pair<std::string, int64_t>>
valuesGiven(const ExplainOptions &options) {
  std::vector<std::pair<std::string, int64_t>> values;
  for (const std::string &setting : options.set) {
    size_t at = setting.find('=');
    int64_t value = 0;
    if (at == std::string::npos)
      continue;
    const char *end = setting.data() + setting.size();
    auto [stop, error] = std::from_chars(setting.data() + at + 1, end, value);
    if (error == std::errc() && stop == end && value >= 0)
      values.push_back({setting.substr(0, at), value});
  }
  return values;
}

int quern::tool::explain(const ExplainOptions &options) {
  if (options.isGiven("--html"))
    if (auto writable = checkWritable(options.html); !writable)
      return report(writable.error());
  auto file = compileOrRead(options, [&](CompileRequest &request) {
    request.predict = true;
    request.predictAt = valuesGiven(options);
  });
  if (!file)
    return report(file.error());
  auto variant = findVariant(file->compiled.module, options);
  if (!variant)
    return report(variant.error());
  auto given = parseSymbolValues(file->compiled.module.symbols, options.set);
  if (!given)
    return report(given.error());
  Explanation explanation = explainPlan(*file, **variant, options, *given);
  if (auto target = Target::parse(options.target);
      target && target->kind == Target::Kind::Sim) {
    auto counted = count(options, *file, *given);
    if (!counted)
      return report(counted.error());
    explanation.counted = std::move(*counted);
  }
  if (options.isGiven("--html"))
    if (auto written = writePage(options.html, toHtml(explanation)); !written)
      return report(written.error());
  if (options.json)
    fmt::print("{}\n", toText(toJson(explanation)));
  else if (!options.isGiven("--html"))
    printText(explanation);
  else
    fmt::print("wrote {}\n", options.html);
  return Right;
}
