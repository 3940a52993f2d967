//===- DoctorCommand.cpp - quern doctor -----------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/CpuTarget.h"
#include "compiler/pipelines/Compiler.h"
#include "compiler/tools/quern/Commands.h"
#include "compiler/tools/quern/Json.h"
#include "runtime/cache/ModuleCache.h"
#include "runtime/device/cpu/CpuFeatures.h"
#include "runtime/device/cuda/DriverLoader.h"
#include "runtime/device/cuda/Nvrtc.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <thread>

using namespace quern;
using namespace quern::tool;

namespace {
/// One thing looked for: what was found, or what is missing and what to do.
struct Finding {
  std::string what;
  bool found = false;
  std::string text;
  std::vector<std::string> advice;
};
} // namespace

static Finding findCpu() {
  std::vector<std::string> useful;
  bool isX86 = cpu::hostArchitecture() == "x86-64";
  for (const char *feature : {"avx2", "fma", "f16c", "avx512f", "avx512vnni",
                              "avx512bf16", "avxvnni", "dotprod"})
    if (cpu::hostHas(feature))
      useful.push_back(feature);
  Finding finding{
      "CPU",
      true,
      fmt::format("{} threads; {}", std::thread::hardware_concurrency(),
                  useful.empty()
                      ? fmt::format("the {} baseline", cpu::hostArchitecture())
                      : fmt::format("{}", fmt::join(useful, ", "))),
      {}};
  if (const char *without = secure_getenv("QUERN_CPU_WITHOUT"))
    finding.text += fmt::format("; without {} (QUERN_CPU_WITHOUT)", without);
  if (auto known = cpu::checkWithout(); !known) {
    finding.found = false;
    finding.advice.push_back(known.error().message);
    for (const std::string &note : known.error().notes)
      finding.advice.push_back(note);
  }
  auto host = cpugen::CpuTarget::host();
  if (!host) {
    finding.found = false;
    finding.advice.push_back(host.error().message);
    for (const std::string &note : host.error().notes)
      finding.advice.push_back(note);
    return finding;
  }
  finding.text += fmt::format("; code is {}", host->name());
  if (!isX86)
    return finding;
  if (!cpu::hostHas("avx512vnni") && !cpu::hostHas("avxvnni"))
    finding.advice.push_back("without AVX-512 VNNI or AVX-VNNI int8 products "
                             "run on slower instructions; results are the "
                             "same");
  else if (!cpu::hostHas("avx512bf16"))
    finding.advice.push_back("without AVX-512 BF16 products of bf16 are "
                             "computed in f32, at half the speed");
  return finding;
}

static Finding findDriver() {
  auto driver = cuda::systemDriver();
  if (!driver)
    return {"CUDA driver",
            false,
            driver.error().message,
            {"needed only to run on a GPU (--target cuda); sim:sm_80 and the "
             "like run the same kernels without one"}};
  int version = 0, devices = 0;
  (*driver)->driverGetVersion(&version);
  (*driver)->deviceGetCount(&devices);
  return {"CUDA driver",
          true,
          fmt::format("CUDA {}.{}, {} device(s)", version / 1000,
                      version % 1000 / 10, devices),
          {}};
}

static Finding findCache() {
  std::string folder = ModuleCache::defaultFolder();
  if (folder.empty())
    return {"cache",
            false,
            "no folder",
            {"set QUERN_CACHE or HOME; without it every program compiles "
             "anew"}};
  auto entries = ModuleCache(folder).list();
  if (!entries)
    return {"cache", false, entries.error().message, entries.error().notes};
  return {"cache",
          true,
          fmt::format("{}, {} compiled layers", folder, entries->size()),
          {}};
}

static Finding findNvrtc() {
  auto nvrtc = cuda::Nvrtc::get();
  if (!nvrtc) {
    Finding finding{"NVRTC",
                    false,
                    nvrtc.error().message,
                    {"needed to compile for CUDA and the simulator; the CPU "
                     "needs none of it"}};
    for (const std::string &note : nvrtc.error().notes)
      finding.advice.push_back(note);
    return finding;
  }
  Finding finding{"NVRTC",
                  true,
                  fmt::format("{}.{} in {}", (*nvrtc)->versionMajor(),
                              (*nvrtc)->versionMinor(), (*nvrtc)->path()),
                  {}};
  if ((*nvrtc)->builtinsPath().empty()) {
    finding.found = false;
    finding.text += ", without its builtins library: it compiles nothing";
    finding.advice = {
        (*nvrtc)->builtinsFault(),
        fmt::format("put libnvrtc-builtins.so.{}.{} beside it, or let "
                    "QUERN_NVRTC name an NVRTC that has its own beside it",
                    (*nvrtc)->versionMajor(), (*nvrtc)->versionMinor())};
  }
  return finding;
}

int quern::tool::doctor(const DoctorOptions &options) {
  std::vector<Finding> findings = {
      {"compiler", true, std::string(compilerBuildId()), {}},
      findCpu(),
      findNvrtc(),
      findDriver(),
      findCache()};
  if (options.json) {
    nlohmann::ordered_json json = nlohmann::ordered_json::array();
    for (const Finding &finding : findings)
      json.push_back({{"what", finding.what},
                      {"found", finding.found},
                      {"text", finding.text},
                      {"advice", finding.advice}});
    fmt::print("{}\n", toText(json));
    return Right;
  }
  for (const Finding &finding : findings) {
    fmt::print("{:<12} {:<8} {}\n", finding.what,
               finding.found ? "found" : "missing", finding.text);
    for (const std::string &advice : finding.advice)
      fmt::print("{:<21} {}\n", "", advice);
  }
  return Right;
}
