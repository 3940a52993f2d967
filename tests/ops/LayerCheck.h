//===- LayerCheck.h - A layer on a target against the reference -*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// What the tests of whole layers share, beside compiler/verify: run a layer on
// drawn inputs, see that nothing beside the outputs was written, and compare
// with the reference by the class of the layer's operations.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_OPS_LAYERCHECK_H
#define QUERN_TESTS_OPS_LAYERCHECK_H

#include "compiler/pipelines/Oracle.h"
#include "compiler/verify/LayerCheck.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

namespace quern::test {

using LayerRun = verify::Setting;
using reference::Corner;
using verify::compileFor;
using verify::loadFor;

/// Runs the layer once and expects every output to pass, and nothing beside
/// them to be written; gives the checks, none when it could not run.
inline std::vector<OutputCheck>
expectAnswer(const Layer &layer, const Oracle &oracle,
             std::span<const TensorView> operands,
             std::span<const int64_t> symbols, const Oracle::Answer &answer) {
  verify::GuardedOutputs outputs;
  if (auto done = verify::runInto(layer, operands, symbols, outputs); !done) {
    ADD_FAILURE() << done.error().render();
    return {};
  }
  EXPECT_EQ(outputs.findDamage(), "");
  auto checks = oracle.check(answer, outputs.getViews());
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

/// What the reference's answer for a layer's code depends on; no test runs on a
/// GPU here.
inline std::string_view toleranceOf(const Layer &layer) {
  return layer.target().starts_with("cpu") ? Oracle::toleranceOf(layer.target())
                                           : std::string_view();
}

/// The same on inputs drawn from the seed, with a corner written over them.
inline std::vector<OutputCheck>
expectAgreement(const Layer &layer, const Oracle &oracle,
                const std::vector<int64_t> &symbols, uint64_t seed,
                Corner corner = Corner::None) {
  SCOPED_TRACE(fmt::format("symbols [{}], seed {}, {}",
                           fmt::join(symbols, ", "), seed,
                           reference::name(corner)));
  auto operands = oracle.drawInputs(symbols, seed, {}, corner);
  if (!operands) {
    ADD_FAILURE() << operands.error().render();
    return {};
  }
  std::vector<TensorView> views(operands->begin(), operands->end());
  auto answer = oracle.answer(views, 1, toleranceOf(layer));
  if (!answer) {
    ADD_FAILURE() << answer.error().render();
    return {};
  }
  return expectAnswer(layer, oracle, views, symbols, *answer);
}

} // namespace quern::test

#endif // QUERN_TESTS_OPS_LAYERCHECK_H
