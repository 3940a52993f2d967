//===- ScheduleCases.h - Layers whose products are cut anew -----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Layers of products with tails everywhere, and records in which each of their
// products has every candidate of `quern tune` once: what the tests on this
// machine and those under an emulator share.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_OPS_SCHEDULECASES_H
#define QUERN_TESTS_OPS_SCHEDULECASES_H

#include "compiler/lower/cpu/Candidates.h"
#include "compiler/pipelines/Compiler.h"

namespace quern::test {

struct ScheduledLayer {
  const char *name;
  const char *text;
  /// Respects that some candidates of its products differ in, at least.
  std::vector<cpugen::Respect> respects;
};
const std::vector<ScheduledLayer> &scheduledLayers();

/// Numbers of rows with which all candidates change something.
extern const std::vector<int64_t> scheduledRows;

/// With an entry for each product, as the model has it.
cpugen::Schedules recordOf(const CompileOutput &compiled);

/// Of every product every candidate, those of one module's products by turns;
/// and last all changes that go together.
std::vector<cpugen::Schedules> recordsOf(const CompileOutput &compiled);

/// Tiles of one row, of two, and of the most rows that a record is read with.
std::vector<cpugen::Schedules> extremesOf(const CompileOutput &compiled);

} // namespace quern::test

#endif // QUERN_TESTS_OPS_SCHEDULECASES_H
