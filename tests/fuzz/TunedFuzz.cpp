//===- TunedFuzz.cpp - Any bytes as a record of schedules -----------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Schedules.h"
#include "tests/fuzz/Fuzz.h"

using namespace quern;
using namespace quern::cpugen;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto record =
      Schedules::parse({reinterpret_cast<const char *>(data), size}, "fuzz");
  if (!record) {
    const Diagnostic &error = record.error();
    fuzz::require(error.code == Errc::InvalidFile, "nothing else is wrong");
    fuzz::require(error.line >= 1 && error.column >= 1, "an error has a place");
    fuzz::require(error.notes.size() == 1 && !error.notes[0].empty(),
                  "what is accepted is said");
    return 0;
  }
  auto target = CpuTarget::parse(record->target);
  fuzz::require(bool(target), "the level is known");
  for (const ScheduleEntry &entry : record->entries)
    fuzz::require(
        entry.blocking.problem(*target, entry.product.sizes()).empty(),
        "products can be cut so");
  std::string printed = record->print();
  auto again = Schedules::parse(printed, "fuzz");
  fuzz::require(bool(again), "what is printed is read");
  fuzz::require(again->print() == printed, "and is the same");
  return 0;
}
