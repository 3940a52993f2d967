//===- SimCounters.h - What the simulator counted, in words -----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_SIMCOUNTERS_H
#define QUERN_TOOLS_QUERN_SIMCOUNTERS_H

#include "runtime/device/sim/SimOptions.h"

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace quern::tool {

/// A few lines, each after `indent`. `checked`: what only checks count is
/// known.
std::string describe(const sim::Counters &counters, bool checked,
                     const std::string &indent);

nlohmann::ordered_json toJson(const sim::Counters &counters, bool checked);

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_SIMCOUNTERS_H
