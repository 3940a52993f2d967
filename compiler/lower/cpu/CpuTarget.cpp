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
#include <optional>

using namespace quern;
using namespace quern::cpugen;

std::string CpuTarget::name() const {
  switch (level) {
  case CpuLevel::Generic:
    return "cpu:generic";
  case CpuLevel::Avx2:
    return "cpu:avx2";
  case CpuLevel::AvxVnni:
    return "cpu:avx-vnni";
  case CpuLevel::Avx512Vnni:
    return "cpu:avx512-vnni";
  case CpuLevel::Avx512Bf16:
    return "cpu:avx512-bf16";
  case CpuLevel::AArch64DotProd:
    return "cpu:aarch64-dotprod";
  }
  return "cpu";
}

CpuTarget CpuTarget::forLevel(CpuLevel level) {
  CpuTarget target;
  target.level = level;
  if (level == CpuLevel::Generic)
    return target;
  if (target.isAArch64()) {
    target.triple = "aarch64-unknown-linux-gnu";
    target.cpu = "generic";
    target.features = {"dotprod", "fp-armv8", "lse", "neon"};
    return target;
  }
  target.cpu = "x86-64-v3";
  target.features = {"avx",   "avx2",  "bmi",    "bmi2",   "f16c",   "fma",
                     "lzcnt", "movbe", "popcnt", "sse4.1", "sse4.2", "ssse3"};
  if (target.hasAvx512()) {
    target.cpu = "x86-64-v4";
    target.features.insert(target.features.end(),
                           {"avx512bw", "avx512cd", "avx512dq", "avx512f",
                            "avx512vl", "avx512vnni"});
  }
  if (target.hasAvxVnni())
    target.features.push_back("avxvnni");
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

Result<CpuTarget> CpuTarget::host() {
  std::optional<CpuTarget> best;
  for (CpuLevel level : allCpuLevels) {
    CpuTarget target = forLevel(level);
    if (cpu::architectureOf(target.name()) == cpu::hostArchitecture() &&
        cpu::firstMissing(target.features).empty())
      best = std::move(target);
  }
  if (!best)
    return fail(Errc::Unsupported,
                fmt::format("no code can be made for this machine, an {}",
                            cpu::hostArchitecture()),
                {"supported are x86-64, and AArch64 with the dot product "
                 "(Armv8.2-A and FEAT_DotProd)"});
  llvm::StringRef cpu = llvm::sys::getHostCPUName();
  if (!cpu.empty())
    best->tuneCpu = cpu.str();
  static const CpuCaches caches = CpuCaches::host();
  best->caches = caches;
  return *best;
}

namespace {
/// Instruction sets that people ask for and no code is made for.
struct NotLowered {
  const char *prefix; ///< Of a level's name.
  const char *name;
  const char *instead;
};
constexpr NotLowered notLowered[] = {
    {"amx", "AMX",
     "a machine with AMX has AVX-512 VNNI and BF16 too, and runs "
     "cpu:avx512-bf16, which is what \"cpu\" is there"},
    {"avx10", "AVX10",
     "a machine with AVX10 runs cpu:avx512-bf16, which is what \"cpu\" is "
     "there"},
    {"aarch64-sve", "SVE",
     "a machine with SVE runs cpu:aarch64-dotprod, which is what \"cpu\" is "
     "there"},
    {"aarch64-sme", "SME",
     "a machine with SME runs cpu:aarch64-dotprod, which is what \"cpu\" is "
     "there"},
    {"aarch64-i8mm", "I8MM",
     "a machine with I8MM runs cpu:aarch64-dotprod, which is what \"cpu\" is "
     "there"},
};
} // namespace

Result<CpuTarget> CpuTarget::parse(std::string_view text) {
  if (text == "cpu") {
    if (Result<void> known = cpu::checkWithout(); !known)
      return known.error();
    return host();
  }
  std::string names;
  for (CpuLevel level : allCpuLevels) {
    CpuTarget target = forLevel(level);
    if (text == target.name())
      return target;
    names += ", " + target.name();
  }
  for (const NotLowered &set : notLowered)
    if (text.starts_with(fmt::format("cpu:{}", set.prefix)))
      return fail(Errc::Unsupported,
                  fmt::format("there is no CPU target '{}': nothing is lowered "
                              "to {} instructions",
                              text, set.name),
                  {set.instead});
  return fail(Errc::InvalidArgument,
              fmt::format("unknown CPU target '{}'", text),
              {fmt::format("accepted: cpu (this machine){}", names)});
}
