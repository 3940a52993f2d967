//===- CpuFeatures.cpp - What this machine can execute --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cpu/CpuFeatures.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

using namespace quern;

#if defined(__x86_64__)
namespace {

enum Register { Eax, Ebx, Ecx, Edx };
enum Leaf { Basic, Extended7, Extended7Sub1, Amd, LeafCount };

/// What the operating system must save for a feature to be usable.
enum class State { None, Ymm, Zmm };

struct Feature {
  const char *name;
  Leaf leaf;
  Register reg;
  unsigned bit;
  State state;
};

constexpr Feature features[] = {
    {"cmov", Basic, Edx, 15, State::None},
    {"mmx", Basic, Edx, 23, State::None},
    {"fxsr", Basic, Edx, 24, State::None},
    {"sse", Basic, Edx, 25, State::None},
    {"sse2", Basic, Edx, 26, State::None},
    {"sse3", Basic, Ecx, 0, State::None},
    {"pclmul", Basic, Ecx, 1, State::None},
    {"ssse3", Basic, Ecx, 9, State::None},
    {"fma", Basic, Ecx, 12, State::Ymm},
    {"cx16", Basic, Ecx, 13, State::None},
    {"sse4.1", Basic, Ecx, 19, State::None},
    {"sse4.2", Basic, Ecx, 20, State::None},
    {"movbe", Basic, Ecx, 22, State::None},
    {"popcnt", Basic, Ecx, 23, State::None},
    {"aes", Basic, Ecx, 25, State::None},
    {"xsave", Basic, Ecx, 27, State::None}, // OSXSAVE: usable, not just there.
    {"avx", Basic, Ecx, 28, State::Ymm},
    {"f16c", Basic, Ecx, 29, State::Ymm},
    {"fsgsbase", Extended7, Ebx, 0, State::None},
    {"bmi", Extended7, Ebx, 3, State::None},
    {"avx2", Extended7, Ebx, 5, State::Ymm},
    {"bmi2", Extended7, Ebx, 8, State::None},
    {"avx512f", Extended7, Ebx, 16, State::Zmm},
    {"avx512dq", Extended7, Ebx, 17, State::Zmm},
    {"adx", Extended7, Ebx, 19, State::None},
    {"avx512ifma", Extended7, Ebx, 21, State::Zmm},
    {"clflushopt", Extended7, Ebx, 23, State::None},
    {"avx512cd", Extended7, Ebx, 28, State::Zmm},
    {"sha", Extended7, Ebx, 29, State::None},
    {"avx512bw", Extended7, Ebx, 30, State::Zmm},
    {"avx512vl", Extended7, Ebx, 31, State::Zmm},
    {"avx512vbmi", Extended7, Ecx, 1, State::Zmm},
    {"avx512vbmi2", Extended7, Ecx, 6, State::Zmm},
    {"gfni", Extended7, Ecx, 8, State::None},
    {"vaes", Extended7, Ecx, 9, State::Ymm},
    {"vpclmulqdq", Extended7, Ecx, 10, State::Ymm},
    {"avx512vnni", Extended7, Ecx, 11, State::Zmm},
    {"avx512bitalg", Extended7, Ecx, 12, State::Zmm},
    {"avx512vpopcntdq", Extended7, Ecx, 14, State::Zmm},
    {"avx512vp2intersect", Extended7, Edx, 8, State::Zmm},
    {"avx512fp16", Extended7, Edx, 23, State::Zmm},
    {"avxvnni", Extended7Sub1, Eax, 4, State::Ymm},
    {"avx512bf16", Extended7Sub1, Eax, 5, State::Zmm},
    {"avxifma", Extended7Sub1, Eax, 23, State::Ymm},
    {"avxvnniint8", Extended7Sub1, Edx, 4, State::Ymm},
    {"avxneconvert", Extended7Sub1, Edx, 5, State::Ymm},
    {"avxvnniint16", Extended7Sub1, Edx, 10, State::Ymm},
    {"sahf", Amd, Ecx, 0, State::None},
    {"lzcnt", Amd, Ecx, 5, State::None},
    {"sse4a", Amd, Ecx, 6, State::None},
    {"prfchw", Amd, Ecx, 8, State::None},
    {"64bit", Amd, Edx, 29, State::None},
};

uint64_t enabledState() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

std::vector<std::string> detect() {
  uint32_t regs[LeafCount][4] = {};
  auto ask = [&](Leaf leaf, uint32_t number, uint32_t sub) {
    // Answers 0 for leaves above the highest, so that nothing is claimed.
    __get_cpuid_count(number, sub, &regs[leaf][Eax], &regs[leaf][Ebx],
                      &regs[leaf][Ecx], &regs[leaf][Edx]);
  };
  ask(Basic, 1, 0);
  ask(Extended7, 7, 0);
  if (regs[Extended7][Eax] >= 1)
    ask(Extended7Sub1, 7, 1);
  ask(Amd, 0x80000001u, 0);

  bool osxsave = regs[Basic][Ecx] & (1u << 27);
  uint64_t xcr0 = osxsave ? enabledState() : 0;
  // XMM and YMM; for AVX-512 also the mask registers and both ZMM halves.
  bool ymm = (xcr0 & 0x6) == 0x6;
  bool zmm = (xcr0 & 0xe6) == 0xe6;

  std::vector<std::string> found;
  for (const Feature &f : features)
    if ((regs[f.leaf][f.reg] >> f.bit & 1) &&
        (f.state == State::None || (f.state == State::Ymm ? ymm : zmm)))
      found.emplace_back(f.name);
  std::sort(found.begin(), found.end());
  return found;
}

} // namespace
#elif defined(__aarch64__)
namespace {

struct Feature {
  const char *name;
  unsigned long auxiliary; ///< AT_HWCAP or AT_HWCAP2.
  unsigned long bits;      ///< All of them.
};

constexpr Feature features[] = {
    {"fp-armv8", AT_HWCAP, 1ul << 0},
    {"neon", AT_HWCAP, 1ul << 1},
    {"crc", AT_HWCAP, 1ul << 7},
    {"lse", AT_HWCAP, 1ul << 8},
    {"fullfp16", AT_HWCAP, 1ul << 9 | 1ul << 10},
    {"rdm", AT_HWCAP, 1ul << 12},
    {"dotprod", AT_HWCAP, 1ul << 20},
    {"sve", AT_HWCAP, 1ul << 22},
    {"fp16fml", AT_HWCAP, 1ul << 23},
    {"sve2", AT_HWCAP2, 1ul << 1},
    {"i8mm", AT_HWCAP2, 1ul << 13},
    {"bf16", AT_HWCAP2, 1ul << 14},
};

std::vector<std::string> detect() {
  std::vector<std::string> found;
  for (const Feature &f : features)
    if ((getauxval(f.auxiliary) & f.bits) == f.bits)
      found.emplace_back(f.name);
  std::sort(found.begin(), found.end());
  return found;
}

} // namespace
#else
namespace {
struct Feature {
  const char *name;
};
constexpr std::span<const Feature> features;
std::vector<std::string> detect() { return {}; }
} // namespace
#endif

static std::vector<std::string> knownFeatures() {
  std::vector<std::string> names;
  for (const Feature &f : features)
    names.emplace_back(f.name);
  return names;
}

std::string_view cpu::hostArchitecture() {
#if defined(__x86_64__)
  return "x86-64";
#elif defined(__aarch64__)
  return "AArch64";
#else
  return "unknown one";
#endif
}

std::string_view cpu::architectureOf(std::string_view target) {
  return target.starts_with("cpu:aarch64") ? "AArch64" : "x86-64";
}

/// What QUERN_CPU_WITHOUT names.
static std::vector<std::string> namesWithout() {
  std::vector<std::string> names;
  const char *list = secure_getenv("QUERN_CPU_WITHOUT");
  std::string_view left = list ? list : "";
  while (!left.empty()) {
    size_t comma = std::min(left.find(','), left.size());
    if (comma)
      names.emplace_back(left.substr(0, comma));
    left.remove_prefix(std::min(comma + 1, left.size()));
  }
  return names;
}

std::span<const std::string> cpu::hostFeatures() {
  static const std::vector<std::string> found = [] {
    std::vector<std::string> features = detect();
    for (const std::string &name : namesWithout())
      std::erase(features, name);
    return features;
  }();
  return found;
}

Result<void> cpu::checkWithout() {
  std::vector<std::string> known = knownFeatures();
  for (const std::string &name : namesWithout())
    if (std::find(known.begin(), known.end(), name) == known.end())
      return fail(Errc::InvalidArgument,
                  fmt::format("QUERN_CPU_WITHOUT names '{}', which is no CPU "
                              "feature",
                              name),
                  {fmt::format("accepted, with commas between, are {}",
                               fmt::join(known, ", "))});
  return {};
}

bool cpu::hostHas(std::string_view feature) {
  std::span<const std::string> found = hostFeatures();
  return std::binary_search(found.begin(), found.end(), feature);
}

std::string_view cpu::firstMissing(std::span<const std::string> required) {
  for (const std::string &feature : required)
    if (!hostHas(feature))
      return feature;
  return {};
}

std::string cpu::whyNotHere(std::string_view target,
                            std::span<const std::string> required) {
  if (architectureOf(target) != hostArchitecture())
    return fmt::format("is for {}, and this machine is an {}",
                       architectureOf(target), hostArchitecture());
  std::string_view missing = firstMissing(required);
  if (!missing.empty())
    return fmt::format("needs the CPU feature {}, which this machine lacks",
                       missing);
  return {};
}
