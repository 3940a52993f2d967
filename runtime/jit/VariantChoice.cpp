//===- VariantChoice.cpp - Which variant of a module to run ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/jit/VariantChoice.h"

#include "runtime/device/cpu/CpuFeatures.h"
#include "runtime/device/cuda/CudaProgram.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

using namespace quern;
using namespace quern::detail;

Result<size_t> detail::chooseForCpu(const ModuleDesc &module,
                                    const Target &target) {
  if (Result<void> known = cpu::checkWithout(); !known)
    return known.error();
  std::optional<size_t> best;
  std::vector<std::string> notes;
  for (size_t i = 0; i < module.variants.size(); ++i) {
    const VariantDesc &variant = module.variants[i];
    Result<Target> made = Target::parse(variant.target);
    if (!made || made->kind != Target::Kind::Cpu ||
        (!target.arch.empty() && target.arch != made->arch)) {
      notes.push_back(fmt::format("it has code for {}", variant.target));
      continue;
    }
    std::string why = cpu::whyNotHere(variant.target, variant.requiredFeatures);
    if (!why.empty()) {
      notes.push_back(fmt::format("its code for {} {}", variant.target, why));
      continue;
    }
    if (!best || variant.requiredFeatures.size() >
                     module.variants[*best].requiredFeatures.size())
      best = i;
  }
  if (best)
    return *best;
  return fail(Errc::Unsupported,
              fmt::format("module '{}' has no code that runs on target {}",
                          module.layer, target.print()),
              std::move(notes));
}

Result<size_t> detail::chooseForCuda(const ModuleDesc &module,
                                     const Target &target, int capability) {
  std::optional<size_t> best;
  std::string bestArch;
  std::vector<std::string> notes;
  // "sm_100" follows "sm_90a": compared by length of the number, then text.
  auto before = [](const std::string &a, const std::string &b) {
    auto digits = [](const std::string &arch) {
      return std::ranges::count_if(arch,
                                   [](char c) { return c >= '0' && c <= '9'; });
    };
    return digits(a) != digits(b) ? digits(a) < digits(b) : a < b;
  };
  for (size_t i = 0; i < module.variants.size(); ++i) {
    const VariantDesc &variant = module.variants[i];
    Result<Target> made = Target::parse(variant.target);
    // "cuda:sm_90a" asks for that code; "sim:sm_90a" names a device, which like
    // any other runs what was made for earlier ones.
    if (!made || made->kind != Target::Kind::Cuda || made->arch.empty() ||
        (target.kind == Target::Kind::Cuda && !target.arch.empty() &&
         target.arch != made->arch)) {
      notes.push_back(fmt::format("it has code for {}", variant.target));
      continue;
    }
    bool hasPtx = std::ranges::any_of(variant.code, [](const CodeDesc &code) {
      return code.kind == CodeKind::Ptx;
    });
    if (!cuda::canRun(made->arch, hasPtx, capability)) {
      notes.push_back(fmt::format("its code for {} does not run on a device of "
                                  "compute capability {}.{}",
                                  variant.target, capability / 10,
                                  capability % 10));
      continue;
    }
    if (!best || before(bestArch, made->arch)) {
      best = i;
      bestArch = made->arch;
    }
  }
  if (best)
    return *best;
  return fail(Errc::Unsupported,
              fmt::format("module '{}' has no code that runs on target {}",
                          module.layer, target.print()),
              std::move(notes));
}
