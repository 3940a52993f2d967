//===- Tuned.cpp - The record that a compilation is given -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Tuned.h"

#include <fmt/format.h>

using namespace quern;

Result<void> pipelines::readTuned(const CompileRequest &request,
                                  std::string_view text,
                                  std::optional<cpugen::Schedules> &into) {
  if (request.target.kind != Target::Kind::Cpu)
    return fail(Errc::InvalidArgument,
                fmt::format("a record of schedules is about products on CPUs, "
                            "and the target is {}",
                            request.target.print()),
                {"leave it out, or give a CPU as the target"});
  if (into)
    return fail(Errc::InvalidArgument,
                "two records of schedules are given, where one layer takes one",
                {"put the \"product\" lines of both into one"});
  auto read = cpugen::Schedules::parse(text, request.tunedName);
  if (!read)
    return read.error();
  into = std::move(*read);
  return {};
}

std::vector<std::string>
pipelines::unusedOf(const cpugen::Schedules &record, const std::string &name,
                    const std::string &target,
                    const std::vector<cpugen::ScheduledProduct> &products) {
  if (record.target != target)
    return {fmt::format("{} is a record for {}, and is not used for {}", name,
                        record.target, target)};
  std::vector<std::string> unused;
  for (const cpugen::ScheduleEntry &entry : record.entries) {
    bool used = false;
    std::string why = "the layer has no such product with such rows";
    for (const cpugen::ScheduledProduct &product : products) {
      used |= product.line() == entry.line;
      if (product.entry == entry.line && !product.unused.empty())
        why = fmt::format("kernel {} needs {}", product.kernel, product.unused);
    }
    if (!used)
      unused.push_back(
          fmt::format("{}:{}: not used: {}", name, entry.line, why));
  }
  return unused;
}
