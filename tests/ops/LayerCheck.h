//===- LayerCheck.h - A layer on a target against the reference -*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What the tests of whole layers share: compile a text for a target, load it,
// run it on drawn inputs and compare with the reference by the class of the
// layer's operations.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_OPS_LAYERCHECK_H
#define QUERN_TESTS_OPS_LAYERCHECK_H

#include "compiler/pipelines/Compiler.h"
#include "compiler/pipelines/Oracle.h"
#include "quern/quern.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

namespace quern::test {

/// How a layer is compiled and run.
struct LayerRun {
  std::string target = "cpu";
  std::string fuse = "all";
  unsigned threads = 2;
};

/// The compiled module, or the compiler's refusal. `name` is what messages
/// call the text.
inline Result<CompileOutput> compileFor(const LayerRun &run,
                                        const std::string &text,
                                        const std::string &name) {
  auto target = Target::parse(run.target);
  if (!target)
    return target.error();
  CompileRequest request;
  request.source = text;
  request.name = name;
  request.target = *target;
  request.settings = {"fuse=" + run.fuse};
  return compileLayer(request);
}

inline Result<Layer> loadFor(const LayerRun &run,
                             const CompileOutput &compiled) {
  LoadOptions loading;
  loading.target = run.target;
  loading.executor = makeExecutor(run.threads);
  return load(compiled.module.serialize(), loading);
}

/// Runs the layer once on inputs drawn from the seed and expects every output
/// to pass; gives the checks, none when it could not run.
inline std::vector<OutputCheck>
expectAgreement(const Layer &layer, const Oracle &oracle,
                const std::vector<int64_t> &symbols, uint64_t seed) {
  SCOPED_TRACE(
      fmt::format("symbols [{}], seed {}", fmt::join(symbols, ", "), seed));
  auto operands = oracle.drawInputs(symbols, seed, {});
  if (!operands) {
    ADD_FAILURE() << operands.error().render();
    return {};
  }
  std::vector<TensorView> views(operands->begin(), operands->end());
  auto outputs = layer.call(views);
  if (!outputs) {
    ADD_FAILURE() << outputs.error().render();
    return {};
  }
  std::vector<TensorView> results(outputs->begin(), outputs->end());
  auto checks = oracle.check(views, results, 1);
  if (!checks) {
    ADD_FAILURE() << checks.error().render();
    return {};
  }
  EXPECT_FALSE(checks->empty());
  for (const OutputCheck &check : *checks)
    EXPECT_TRUE(check.passed)
        << check.name << ": " << check.requirement << "; " << check.worst;
  return *checks;
}

} // namespace quern::test

#endif // QUERN_TESTS_OPS_LAYERCHECK_H
