//===- CpuTarget.cpp - What a CPU variant may use -------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/CpuTarget.h"

#include "runtime/device/cpu/CpuFeatures.h"

#include "llvm/TargetParser/Host.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::cpugen;

std::string CpuTarget::name() const {
  switch (level) {
  case CpuLevel::Generic:
    return "cpu:generic";
  case CpuLevel::Avx2:
    return "cpu:avx2";
  case CpuLevel::Avx512Vnni:
    return "cpu:avx512-vnni";
  }
  return "cpu";
}

CpuTarget CpuTarget::forLevel(CpuLevel level) {
  CpuTarget target;
  target.level = level;
  if (level == CpuLevel::Generic)
    return target;
  target.cpu = "x86-64-v3";
  target.features = {"avx",   "avx2",  "bmi",    "bmi2",   "f16c",   "fma",
                     "lzcnt", "movbe", "popcnt", "sse4.1", "sse4.2", "ssse3"};
  if (level == CpuLevel::Avx512Vnni) {
    target.cpu = "x86-64-v4";
    target.features.insert(target.features.end(),
                           {"avx512bw", "avx512cd", "avx512dq", "avx512f",
                            "avx512vl", "avx512vnni"});
  }
  return target;
}

CpuTarget CpuTarget::host() {
  CpuLevel best = CpuLevel::Generic;
  for (CpuLevel level : {CpuLevel::Avx2, CpuLevel::Avx512Vnni}) {
    bool all = true;
    for (const std::string &feature : forLevel(level).features)
      all &= cpu::hostHas(feature);
    if (all)
      best = level;
  }
  CpuTarget target = forLevel(best);
  llvm::StringRef cpu = llvm::sys::getHostCPUName();
  if (!cpu.empty())
    target.tuneCpu = cpu.str();
  return target;
}

Result<CpuTarget> CpuTarget::parse(std::string_view text) {
  if (text == "cpu") {
    if (Result<void> known = cpu::checkWithout(); !known)
      return known.error();
    return host();
  }
  for (CpuLevel level :
       {CpuLevel::Generic, CpuLevel::Avx2, CpuLevel::Avx512Vnni}) {
    CpuTarget target = forLevel(level);
    if (text == target.name())
      return target;
  }
  return fail(Errc::InvalidArgument,
              fmt::format("unknown CPU target '{}'", text),
              {"accepted: cpu (this machine), cpu:generic, cpu:avx2, "
               "cpu:avx512-vnni"});
}
