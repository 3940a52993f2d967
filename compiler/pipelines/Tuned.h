//===- Tuned.h - The record that a compilation is given ---------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The setting `tuned` is a record of how products are cut (Schedules.h). Here
// is what a compilation makes of it before and after its code: who may be given
// one, and what of it was not used.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_PIPELINES_TUNED_H
#define QUERN_COMPILER_PIPELINES_TUNED_H

#include "compiler/pipelines/Compiler.h"

namespace quern::pipelines {

/// Reads the record into `into`, which is empty unless one was given before.
Result<void> readTuned(const CompileRequest &request, std::string_view text,
                       std::optional<cpugen::Schedules> &into);

/// What of the record a compilation for this level did not use, and why;
/// `name` is what messages call the record.
std::vector<std::string>
unusedOf(const cpugen::Schedules &record, const std::string &name,
         const std::string &target,
         const std::vector<cpugen::ScheduledProduct> &products);

} // namespace quern::pipelines

#endif // QUERN_COMPILER_PIPELINES_TUNED_H
