//===- CpuTarget.cpp - What a CPU variant may use -------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/CpuTarget.h"

#include "runtime/device/cpu/CpuFeatures.h"

#include "llvm/TargetParser/Host.h"

#include <fmt/format.h>

#include <charconv>
#include <fstream>

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
  case CpuLevel::Avx512Bf16:
    return "cpu:avx512-bf16";
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
  if (target.hasAvx512()) {
    target.cpu = "x86-64-v4";
    target.features.insert(target.features.end(),
                           {"avx512bw", "avx512cd", "avx512dq", "avx512f",
                            "avx512vl", "avx512vnni"});
  }
  if (target.hasBf16Dot())
    target.features.push_back("avx512bf16");
  return target;
}

/// The first line of a small file; empty without it.
static std::string lineOf(const std::string &path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

CpuCaches CpuCaches::host() {
  CpuCaches caches;
  for (int index = 0; index < 8; ++index) {
    std::string folder =
        fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/", index);
    if (lineOf(folder + "type") == "Instruction")
      continue;
    // "1024K", "32M"
    std::string size = lineOf(folder + "size");
    int64_t bytes = 0;
    auto [end, error] =
        std::from_chars(size.data(), size.data() + size.size(), bytes);
    if (error != std::errc() || bytes <= 0 || bytes > (int64_t(1) << 30))
      continue;
    char unit = end == size.data() + size.size() ? 0 : *end;
    bytes <<= unit == 'K' ? 10 : unit == 'M' ? 20 : 0;
    std::string level = lineOf(folder + "level");
    // A size of no processor is taken for none.
    if (level == "1" && bytes >= (8 << 10))
      caches.l1 = bytes;
    else if (level == "2" && bytes >= (128 << 10))
      caches.l2 = bytes;
    else if (level == "3" && bytes >= (1 << 20))
      caches.l3 = bytes;
  }
  return caches;
}

CpuTarget CpuTarget::host() {
  CpuLevel best = CpuLevel::Generic;
  for (CpuLevel level : allCpuLevels) {
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
  static const CpuCaches caches = CpuCaches::host();
  target.caches = caches;
  return target;
}

Result<CpuTarget> CpuTarget::parse(std::string_view text) {
  if (text == "cpu") {
    if (Result<void> known = cpu::checkWithout(); !known)
      return known.error();
    return host();
  }
  for (CpuLevel level : allCpuLevels) {
    CpuTarget target = forLevel(level);
    if (text == target.name())
      return target;
  }
  return fail(Errc::InvalidArgument,
              fmt::format("unknown CPU target '{}'", text),
              {"accepted: cpu (this machine), cpu:generic, cpu:avx2, "
               "cpu:avx512-vnni, cpu:avx512-bf16"});
}
